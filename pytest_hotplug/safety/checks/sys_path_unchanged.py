"""Where Python looks for modules is as before."""

from __future__ import annotations

import sys

from pytest_hotplug.safety.check import Check
from pytest_hotplug.safety.evidence import Thing
from pytest_hotplug.safety.identity import number_of
from pytest_hotplug.safety.leftovers import leftovers
from pytest_hotplug.safety.subject import Subject

__all__ = ["CHECK"]


def _take(subject: Subject) -> dict[str, Thing]:
    found = {
        f"{number} {place}": Thing(text=f"sys.path entry {place!r}", own=True) for number, place in _numbered(sys.path)
    }
    for name in ("meta_path", "path_hooks"):
        for entry in getattr(sys, name):
            found[f"{name} {number_of(entry)}"] = subject.thing(f"an entry of sys.{name}", entry)
    return found


def _numbered(places: list[str]) -> list[tuple[int, str]]:
    """Return each entry with how often it came before: inserting one doesn't make others new."""
    return [(places[:index].count(place), place) for index, place in enumerate(places)]


CHECK = Check(
    id="sys_path_unchanged",
    title="Where Python looks for modules is as before",
    how="`sys.path`, `sys.meta_path` and `sys.path_hooks`, entry by entry.",
    remedy="Import the plugin's own modules relatively or by their flat names; nothing needs to be added.",
    take=_take,
    judge=leftovers,
)
