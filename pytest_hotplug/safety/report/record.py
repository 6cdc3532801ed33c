"""What a report is made of: plain facts, in the shape that the JSON report promises.

`path` of a finding is relative to the project's root where it lies below it; times are `time.time()` seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal

import msgspec

from pytest_hotplug.safety.evidence import Span

__all__ = ["SCHEMA_VERSION", "Checked", "Found", "Outcome", "Report", "Series", "Span", "Verified", "grouped", "merged"]

SCHEMA_VERSION = 1
Outcome = Literal["passed", "failed", "note", "xfailed", "skipped"]


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """One finding, as told."""

    message: str
    severity: Literal["error", "note"] = "error"
    path: str = ""
    line: int | None = None
    chain: tuple[str, ...] = ()
    remedy: str = ""
    growth: float | None = None


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one check; `title` is the promise, `remedy` what to do when it isn't kept."""

    id: str
    outcome: Outcome
    reason: str = ""
    findings: tuple[Found, ...] = ()
    title: str = ""
    remedy: str = ""

    @property
    def errors(self) -> Iterator[Found]:
        """What makes it fail; a failure without a finding is told as one."""
        if self.outcome == "failed":
            errors = [finding for finding in self.findings if finding.severity == "error"]
            yield from errors or [Found(message=self.reason or self.title, remedy=self.remedy)]

    @property
    def notes(self) -> Iterator[Found]:
        """What is told beside it and makes nothing fail."""
        if self.outcome in ("failed", "note"):
            yield from (finding for finding in self.findings if finding.severity == "note")


class Series(msgspec.Struct, frozen=True, kw_only=True):
    """Something that was measured again and again: (x, y) in the order in which it was; y in `unit`.

    `step` is what lies between two points, where it is of interest how much y grows with it.
    """

    title: str
    unit: str
    points: tuple[tuple[float, float], ...]
    step: str = ""


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """One plugin: its manifest (relative as findings are), whether it has a probe, how many exceptions are in force."""

    name: str
    manifest: str
    has_probe: bool = True
    exceptions: int = 0
    checks: tuple[Checked, ...] = ()
    series: tuple[Series, ...] = ()
    timeline: tuple[Span, ...] = ()


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A verification of some plugins; `at` is when it ended, `version` that of this package."""

    schema_version: int = SCHEMA_VERSION
    at: float = 0.0
    version: str = ""
    plugins: tuple[Verified, ...] = ()


def grouped(checks: Iterable[Checked]) -> Iterator[list[Checked]]:
    """Yield the checks, those together that came to the same for the same reason alone: there it is told once."""
    groups: dict[tuple[str, ...], list[Checked]] = {}
    for check in checks:
        alone = (check.id,) if check.findings or not check.reason else ()
        groups.setdefault((check.outcome, check.reason, *alone), []).append(check)
    yield from groups.values()


def merged(parts: Iterable[Verified]) -> tuple[Verified, ...]:
    """Put together what came in parts, in the order of first sight; what is told twice counts as told last."""
    plugins: dict[str, Verified] = {}
    for part in parts:
        before = plugins.get(part.name)
        plugins[part.name] = part if before is None else _joined(before, part)
    return tuple(plugins.values())


def _joined(before: Verified, more: Verified) -> Verified:
    checks = {check.id: check for check in (*before.checks, *more.checks)}
    series = {one.title: one for one in (*before.series, *more.series)}
    timeline = dict.fromkeys((*before.timeline, *more.timeline))
    return msgspec.structs.replace(
        more, checks=tuple(checks.values()), series=tuple(series.values()), timeline=tuple(timeline)
    )
