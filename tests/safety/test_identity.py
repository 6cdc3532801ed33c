"""Objects are told apart, dead ones from those that took their place in memory as well."""

from __future__ import annotations

import gc
import weakref

from pytest_hotplug.safety.identity import number_of


class Thing:
    """Anything."""


def test_what_takes_the_place_of_a_dead_object_has_another_number() -> None:
    """A module that replaces another one in each reload is not taken for the first because it lies where that lay."""
    numbers: dict[int, set[int]] = {}
    for _ in range(1000):
        thing = Thing()
        numbers.setdefault(id(thing), set()).add(number_of(thing))
        assert number_of(thing) == number_of(thing)
        del thing
    reused = [found for found in numbers.values() if len(found) > 1]
    assert reused, "no place was used twice, so nothing is shown"
    assert sum(map(len, numbers.values())) == 1000


def test_a_number_keeps_nothing_alive() -> None:
    """To look at a plugin's object is no reason for it to live on."""
    thing = Thing()
    number_of(thing)
    alive = weakref.ref(thing)
    del thing
    gc.collect()
    assert alive() is None


def test_what_knows_no_weak_reference_is_told_by_its_place() -> None:
    """And has no number of another's."""
    assert number_of((1, 2)) < 0 < number_of(Thing)
