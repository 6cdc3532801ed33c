"""A judgement in words for people: what, how much of it, who made it, what to do."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_hotplug.safety.check import Finding
from pytest_hotplug.safety.judging import Judged

__all__ = ["told"]


def told(plugin: str, judged: Judged) -> str:
    """Return everything that a judgement has to say, the finding first."""
    lines = [judged.reason] if judged.reason else []
    for finding in judged.findings:
        lines += _of(finding)
    return "\n".join([*lines, f"{plugin}: {judged.check.title} [{judged.check.id}]"])


def _of(finding: Finding) -> Iterator[str]:
    place = f"{finding.path}:{finding.line}: " if finding.line else f"{finding.path}: " if finding.path else ""
    yield f"{place}{'note: ' if finding.severity == 'note' else ''}{finding.message}"
    if finding.remedy:
        yield f"    {finding.remedy}"
