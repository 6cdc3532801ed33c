"""A check that has something to say, in words for people: what, how much of it, who made it, what to do."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_hotplug.safety.report.record import Checked, Found

__all__ = ["place_of", "told"]


def told(plugin: str, checked: Checked) -> str:
    """Return everything that a check has to say, the reason first."""
    lines = [_of_one_piece(checked.reason)] if checked.reason else []
    for finding in checked.findings:
        lines += _of(finding)
    return "\n".join([*lines, f"{plugin}: {checked.title} [{checked.id}]"])


def _of(finding: Found) -> Iterator[str]:
    place = place_of(finding)
    yield f"{place}{': ' * bool(place)}{'note: ' if finding.severity == 'note' else ''}{_of_one_piece(finding.message)}"
    if finding.remedy:
        yield f"    {finding.remedy}"


def _of_one_piece(text: str) -> str:
    """Return a text whose further lines begin like no command to whoever reads along (`::error` in a CI job)."""
    return text.replace("\n", "\n    | ")


def place_of(finding: Found) -> str:
    """Return `file:line`, as far as it is known."""
    return f"{finding.path}:{finding.line}" if finding.path and finding.line else finding.path
