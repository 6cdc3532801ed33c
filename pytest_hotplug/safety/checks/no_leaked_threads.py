"""A thread ends with the version that started it."""

from __future__ import annotations

import _thread
import threading

from pytest_hotplug.safety.check import Check
from pytest_hotplug.safety.evidence import Thing
from pytest_hotplug.safety.identity import number_of
from pytest_hotplug.safety.leftovers import leftovers
from pytest_hotplug.safety.subject import Subject

__all__ = ["CHECK"]


def _take(subject: Subject) -> dict[str, Thing]:
    threads = [thread for thread in threading.enumerate() if not thread.name.startswith("hotplug-")]
    found = {f"{number_of(thread)}": _described(subject, thread) for thread in threads}
    bare = _thread._count() - len([t for t in threading.enumerate() if t is not threading.main_thread()])
    return found | {f"bare {n}": subject.thing("a thread started by _thread.start_new_thread") for n in range(bare)}


def _described(subject: Subject, thread: threading.Thread) -> Thing:
    target = getattr(thread, "_target", None) or type(thread)
    place = subject.places.threads.get(thread, "")
    return subject.thing(f"thread that runs {getattr(target, '__qualname__', target)}", target, place)


CHECK = Check(
    id="no_leaked_threads",
    title="A thread ends with the version that started it",
    how=(
        "`threading.enumerate()` and `_thread._count()`; `Thread.start` is wrapped and notes the line of the "
        "plugin's that called it."
    ),
    remedy="Start it with context.thread(), whose `stopping` event is set at unload, or end it in on_unload.",
    take=_take,
    judge=leftovers,
)
