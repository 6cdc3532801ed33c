"""From things to findings: those that look the same are told once, with how many there were."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

import msgspec

from pytest_hotplug.safety.check import Check
from pytest_hotplug.safety.evidence import Attempts, Thing
from pytest_hotplug.safety.finding import Finding

__all__ = ["attempted", "place_in", "told_once"]


def place_in(place: str) -> tuple[str, int | None]:
    """Split `file:line`."""
    path, _, line = place.rpartition(":")
    return (path, int(line)) if line.isdigit() else (place, None)


def told_once(check: Check, things: Iterable[Thing]) -> Iterator[Finding]:
    """Make an error of each kind of thing."""
    for (text, place), count in Counter((thing.text, thing.place) for thing in things).items():
        path, line = place_in(place)
        times = f" ({count} times)" if count > 1 else ""
        yield Finding(message=f"{text}{times}", path=path, line=line, remedy=check.remedy)


def attempted(check: Check, attempts: Attempts) -> Iterator[Finding]:
    """Tell what the attempts of a check found, with its remedy where they have none of their own."""
    for finding in attempts.found.get(check.id, ()):
        yield finding if finding.remedy else msgspec.structs.replace(finding, remedy=check.remedy)
