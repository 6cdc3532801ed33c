"""From judgements to what the report says of them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from pytest_hotplug.reloader.discovery import Found as Plugin
from pytest_hotplug.reloader.errors import visible
from pytest_hotplug.safety.check import Finding
from pytest_hotplug.safety.checks import ALL
from pytest_hotplug.safety.evidence import Memory
from pytest_hotplug.safety.judging import Evidence, Judged
from pytest_hotplug.safety.report.record import Checked, Found, Report, Series, Verified, merged

__all__ = ["checked", "relative", "report_of", "series_of"]

_MIB = 1024 * 1024


def checked(judged: Judged, plugin: Plugin, root: Path) -> Checked:
    """Return what the report says of one check; what could not be judged has failed."""
    return Checked(
        id=judged.check.id,
        outcome="failed" if judged.outcome == "error" else judged.outcome,
        reason=_shown(judged.reason),
        findings=tuple(_found(finding, plugin, root) for finding in judged.findings),
        title=judged.check.title,
        remedy=judged.check.remedy,
    )


def report_of(parts: Iterable[Verified], version: str) -> Report:
    """Put a report together from parts that came in any order; it ends now."""
    order = {check.id: place for place, check in enumerate(ALL)}
    plugins = [
        msgspec.structs.replace(plugin, checks=tuple(sorted(plugin.checks, key=lambda check: order[check.id])))
        for plugin in sorted(merged(parts), key=lambda plugin: plugin.name)
    ]
    return Report(at=time.time(), version=version, plugins=tuple(plugins))


def _found(finding: Finding, plugin: Plugin, root: Path) -> Found:
    return Found(
        message=_shown(finding.message),
        severity=finding.severity,
        path=relative(plugin.path / finding.path, root) if finding.path else "",
        line=finding.line,
        chain=tuple(map(_shown, finding.chain)),
        remedy=finding.remedy,
        growth=finding.growth,
    )


def _shown(text: str) -> str:
    """Return a text of lines in which nothing else than line ends has an effect."""
    return "\n".join(map(visible, text.splitlines()))


def relative(path: Path, root: Path) -> str:
    """Return a path as a report names it: from the project's root if it lies below it, with slashes."""
    for place, above in ((path, root), (path.resolve(), root.resolve())):
        if place.is_relative_to(above):
            return place.relative_to(above).as_posix()
    return path.as_posix()


def series_of(evidence: Evidence) -> tuple[Series, ...]:
    """Return what was measured with each reload."""
    if not isinstance(evidence, Memory) or not evidence.blocks:
        return ()
    return (
        _series("Memory", "blocks", evidence.blocks),
        _series("Objects", "objects", evidence.objects),
        _series("Resident memory", "MiB", [size / _MIB for size in evidence.rss]),
    )


def _series(title: str, unit: str, values: Sequence[float]) -> Series:
    points = tuple((float(n), float(y)) for n, y in enumerate(values, 1))
    return Series(title=title, unit=unit, points=points, step="reload")
