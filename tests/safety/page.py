"""Writes the list of docs/reference/safety-checks.md: each check with what a failure of it looks like.

python -m tests.safety.page

The failures are those of the first unsafe plugin that the check must catch.
"""

from __future__ import annotations

import re
import sys
import tempfile
import textwrap
from pathlib import Path

from pytest_hotplug.safety.check import Check
from pytest_hotplug.safety.checks import ALL
from pytest_hotplug.safety.judging import Judged, judge
from pytest_hotplug.safety.runner import play
from tests.safety.corpus import PLUGINS, subjects_in, write
from tests.safety.corpus_upgrade import BAD, released

__all__ = ["PAGE", "failure_of", "is_shown_as", "looks", "section_of"]

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "safety-checks.md"
_WRITTEN_WITH = (3, 11)
_BEGIN = "<!-- the checks: written by tests/safety/page.py -->\n"


def looks(text: str) -> str:
    """Return a text without the numbers that differ from run to run."""
    return re.sub(r"\d+(\.\d+)?", "0", text)


def is_shown_as(check: Check) -> bool:
    """Tell whether this Python fails as the page shows: each words its errors anew, and calls meet what they meet."""
    return check.scenario != "calls" and sys.version_info[:2] == _WRITTEN_WITH


def failure_of(judged: Judged) -> str:
    """Return the first finding as people read it."""
    finding = judged.findings[0]
    place = f"{finding.path}:{finding.line}: " if finding.line else f"{finding.path}: " if finding.path else ""
    return f"{place}{finding.message}"


def section_of(check: Check, failure: str) -> str:
    """Return what the page says of a check."""
    level = ", left out by `--hotplug-level=fast`" if check.level == "full" else ""
    proves = textwrap.fill(f"{check.title} (scenario {check.scenario}{level}).", 118)
    how = textwrap.fill(check.how, 118, break_long_words=False, break_on_hyphens=False)
    return f"### `{check.id}`\n\n{proves}\n\n{how}\n\n```text\n{failure}\n```\n\n{check.remedy}\n"


def _failure(check: Check) -> str:
    with tempfile.TemporaryDirectory() as directory:
        if check.id in BAD:
            subjects, plugin = released(Path(directory), next(iter(BAD[check.id].values()))), "subject"
        else:
            subjects = subjects_in(Path(directory))
            plugin = write(subjects, next(iter(PLUGINS[check.id].values())))
        return failure_of(judge(check, play(subjects, plugin, check.scenario, checks=[check])))


def main() -> None:
    """Write the list anew."""
    head = PAGE.read_text(encoding="utf-8").partition(_BEGIN)[0]
    sections = [section_of(check, _failure(check)) for check in ALL]
    PAGE.write_text(head + _BEGIN + "\n" + "\n".join(sections), encoding="utf-8")


if __name__ == "__main__":
    main()
