"""A report as Markdown: for the summary of a CI job, or a comment."""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Iterable, Iterator

from pytest_hotplug.safety.report.as_text import place_of
from pytest_hotplug.safety.report.record import Checked, Found, Report, Verified, grouped
from pytest_hotplug.safety.report.summary import summary

__all__ = ["as_markdown"]

_SPECIAL = re.compile(r"([\\`*_\[\]#|~])")


def as_markdown(report: Report) -> str:
    """Return the report: a line, a table of plugins, and what there is to say of each that doesn't just pass."""
    lines = ["## Reload safety", "", _text(summary(report)), "", *_table(report.plugins), *_told(report.plugins)]
    return "\n".join(lines) + "\n"


def _table(plugins: Iterable[Verified]) -> Iterator[str]:
    yield "| plugin | failed | passed | xfailed | skipped | |"
    yield "|---|--:|--:|--:|--:|---|"
    for plugin in plugins:
        number = Counter(check.outcome for check in plugin.checks)
        passed = number["passed"] + number["note"]
        mark = "❌" if number["failed"] else "✅"
        remarks = [f"{number['note']} with notes"] * bool(number["note"]) + ["no probe"] * (not plugin.has_probe)
        yield (
            f"| {mark} {_code(plugin.name)} | {number['failed']} | {passed} | {number['xfailed']} "
            f"| {number['skipped']} | {', '.join(remarks)} |"
        )


def _told(plugins: Iterable[Verified]) -> Iterator[str]:
    for plugin in plugins:
        told = [check for check in plugin.checks if check.outcome != "passed"]
        told.sort(key=lambda check: check.outcome != "failed")
        if told:
            yield from ("", f"### {_text(plugin.name)}", "")
        for alike in grouped(told):
            yield from _of(alike)


def _of(alike: list[Checked]) -> Iterator[str]:
    check = alike[0]
    ids = ", ".join(_code(check.id) for check in alike)
    title = f"{_text(check.title)} ({ids})" if len(alike) == 1 else f"{len(alike)} checks ({ids})"
    yield f"- **{check.outcome}**: {title}"
    if check.reason:
        yield f"  - {_text(check.reason)}"
    for finding in check.findings:
        yield from _finding(finding)


def _finding(finding: Found) -> Iterator[str]:
    place = f"{_code(place_of(finding))}: " if finding.path else ""
    yield f"  - {place}{'note: ' if finding.severity == 'note' else ''}{_text(finding.message)}"
    if finding.chain:
        yield f"    - held by {' → '.join(map(_code, finding.chain))}"
    if finding.remedy:
        yield f"    - {_text(finding.remedy)}"


def _text(text: str) -> str:
    """Return a text of which nothing is taken for Markdown, HTML or a mention."""
    escaped = _SPECIAL.sub(r"\\\1", html.escape(text, quote=False)).replace("@", "&#64;")
    return escaped.replace("\n", "<br>")


def _code(text: str) -> str:
    """Return a text as it is, in a code span that its own backticks don't end."""
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    room = " " if fence != "`" else ""
    return f"{fence}{room}{' '.join(text.split())}{room}{fence}"
