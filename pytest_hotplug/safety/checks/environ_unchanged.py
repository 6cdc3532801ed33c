"""The environment is as before."""

from __future__ import annotations

import os

from pytest_hotplug.safety.check import Check
from pytest_hotplug.safety.evidence import Thing
from pytest_hotplug.safety.leftovers import leftovers
from pytest_hotplug.safety.subject import Subject

__all__ = ["CHECK"]


def _take(subject: Subject) -> dict[str, Thing]:
    places = subject.places.variables
    return {
        name: subject.thing(f"os.environ[{name!r}]", place=places.get(name, ""), said=repr(value))
        for name, value in os.environ.items()
    }


CHECK = Check(
    id="environ_unchanged",
    title="The environment is as before",
    how="Every variable of `os.environ` with its value.",
    remedy="Hand values to whoever needs them; a variable that must be set is taken back in on_unload.",
    take=_take,
    judge=leftovers,
)
