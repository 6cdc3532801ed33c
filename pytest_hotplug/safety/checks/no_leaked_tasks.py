"""A task ends with the version that began it."""

from __future__ import annotations

import sys

from pytest_hotplug.safety.check import Check
from pytest_hotplug.safety.evidence import Thing
from pytest_hotplug.safety.identity import number_of
from pytest_hotplug.safety.leftovers import leftovers
from pytest_hotplug.safety.subject import Subject

__all__ = ["CHECK"]


def _take(subject: Subject) -> dict[str, Thing]:
    asyncio = sys.modules.get("asyncio")
    if asyncio is None:
        return {}
    found = {}
    for loop in subject.loops():
        for task in asyncio.all_tasks(loop):
            coroutine = task.get_coro()
            frame = getattr(coroutine, "cr_frame", None)
            place = ""
            if frame is not None and subject.is_ours(frame.f_globals.get("__name__", "")):
                place = f"{subject.places.named(frame.f_code.co_filename)}:{frame.f_lineno}"
            found[str(number_of(task))] = subject.thing(f"task of {coroutine.__qualname__}", place=place)
    return found


CHECK = Check(
    id="no_leaked_tasks",
    title="A task ends with the version that began it",
    how="`asyncio.all_tasks` of every event loop that is not closed.",
    remedy="Cancel it, and await it, in on_unload, or give its cancel to context.register().",
    take=_take,
    judge=leftovers,
)
