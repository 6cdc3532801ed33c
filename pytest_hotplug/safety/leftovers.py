"""Judge what the phases of a cycle show of one kind of thing: what is left, what grows, what changed.

What grows with each reload, is of the plugin's making, or was set to something else or taken away, is an
error. What came once and can't be told to be the plugin's (a library set it up, say) is a note.
"""

from __future__ import annotations

from collections.abc import Iterator

from pytest_hotplug.safety.check import Check, Finding
from pytest_hotplug.safety.evidence import Cycle, Thing
from pytest_hotplug.safety.findings import place_in

__all__ = ["leftovers"]

_GROWS = 0.5  # per reload; less is a cache that fills, or chance


def leftovers(check: Check, cycle: Cycle) -> Iterator[Finding]:
    """Compare the second life with the time before it, and both lives with the time before the first."""
    phases = {phase: taken.get(check.id, {}) for phase, taken in cycle.phases.items()}
    cold, before, end = phases["cold"], phases["baseline"], phases["unloaded"]
    # What libraries set up in the first life stands in the baseline; what the plugin left there is no better for it.
    known = {key: thing for key, thing in before.items() if key in cold or not thing.own}
    yield from _new(check, cycle.reloads, phases, known)
    for key, thing in {**known, **cold}.items():
        if key not in end:
            yield _finding(check, thing, f"{thing.text} is gone", blamed=True)
        elif thing.value != end[key].value:
            what = f"{thing.text} was {thing.value} and is {end[key].value}"
            yield _finding(check, end[key], what, blamed=True)


def _new(
    check: Check, reloads: int, phases: dict[str, dict[str, Thing]], before: dict[str, Thing]
) -> Iterator[Finding]:
    """Tell of things that the baseline doesn't have, those that look the same as one finding."""
    counts = {phase: _by_look(taken, before) for phase, taken in phases.items()}
    looks = dict.fromkeys(look for count in counts.values() for look in count)
    for look in looks:
        first, last = (len(counts[phase].get(look, ())) for phase in ("loaded", f"reload {reloads}"))
        growth = (last - first) / reloads
        left = counts["unloaded"].get(look, [])
        if growth < _GROWS and not left:
            continue  # it came and went with the version that it belongs to
        thing = left[0] if left else counts[f"reload {reloads}"][look][0]
        said = f"{growth:g} more with each reload" if growth >= _GROWS else ""
        there = f"{len(left)} left after unload" if len(left) > 1 else "left after unload" if left else ""
        message = f"{thing.text}: {', '.join(filter(None, (said, there)))}"
        of_one_version = first - len(counts["baseline"].get(look, ()))
        yield _finding(check, thing, message, growth, count=max(of_one_version, round(growth), 1))


def _by_look(taken: dict[str, Thing], before: dict[str, Thing]) -> dict[tuple[str, str], list[Thing]]:
    found: dict[tuple[str, str], list[Thing]] = {}
    for key, thing in taken.items():
        if key not in before:
            found.setdefault((thing.text, thing.place), []).append(thing)
    return found


def _finding(
    check: Check, thing: Thing, message: str, growth: float = 0.0, *, blamed: bool = False, count: int = 1
) -> Finding:
    blamed = blamed or thing.own or growth >= _GROWS
    path, line = place_in(thing.place)
    return Finding(
        message=message,
        severity="error" if blamed else "note",
        path=path,
        line=line,
        remedy=check.remedy,
        growth=growth or None,
        count=count,
    )
