"""From things to findings: those that look the same are told once, with how many there were."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from pytest_hotplug.safety.check import Check, Finding
from pytest_hotplug.safety.evidence import Thing

__all__ = ["place_in", "told_once"]


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
