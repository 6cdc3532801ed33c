"""What there is outside the plugin at one moment, and what of it came between two."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_hotplug.safety.evidence import Phase, Thing

__all__ = ["came_between"]


def came_between(before: Phase, after: Phase) -> Iterator[Thing]:
    """Yield what is new, was set to something else, or is gone."""
    for check, things in after.items():
        known = before[check]
        for key, thing in things.items():
            if key not in known:
                yield thing
            elif thing.value != known[key].value:
                yield Thing(text=f"{thing.text}, which was {known[key].value}, as {thing.value}", place=thing.place)
        for key in known.keys() - things.keys():
            yield Thing(text=f"{known[key].text} gone", place=known[key].place)
