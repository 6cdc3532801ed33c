"""What is registered with atexit is taken back with the version that did."""

from __future__ import annotations

import atexit

from pytest_hotplug.safety.check import Check
from pytest_hotplug.safety.evidence import Thing
from pytest_hotplug.safety.leftovers import leftovers
from pytest_hotplug.safety.subject import Subject

__all__ = ["CHECK"]


def _take(subject: Subject) -> dict[str, Thing]:
    # Nobody can see these holders: where they were registered was noted then. The first use of a library may
    # register one for good, whoever uses it; more with each reload are the plugin's.
    place = subject.places.at_exit[-1] if subject.places.at_exit else ""
    return {str(n): Thing(text="a function registered with atexit", place=place) for n in range(atexit._ncallbacks())}


CHECK = Check(
    id="no_atexit_growth",
    title="What is registered with atexit is taken back with the version that did",
    how=("`atexit._ncallbacks()`. Nobody can list who registered, so `atexit.register` is wrapped and notes the line."),
    remedy="Give atexit.unregister to context.register(), or do in on_unload what was to be done at exit.",
    take=_take,
    judge=leftovers,
)
