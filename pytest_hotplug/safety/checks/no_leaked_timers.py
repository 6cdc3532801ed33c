"""A timer, or a callback that waits for its time, ends with the version that set it."""

from __future__ import annotations

import signal
import threading

from pytest_hotplug.safety.check import Check
from pytest_hotplug.safety.evidence import Thing
from pytest_hotplug.safety.identity import number_of
from pytest_hotplug.safety.leftovers import leftovers
from pytest_hotplug.safety.subject import Subject

__all__ = ["CHECK"]


def _take(subject: Subject) -> dict[str, Thing]:
    timers = [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]
    found = {
        f"{number_of(timer)}": subject.thing(
            f"timer that will call {getattr(timer.function, '__qualname__', timer.function)}",
            timer.function,
            subject.places.threads.get(timer, ""),
        )
        for timer in timers
    }
    for name in ("ITIMER_REAL", "ITIMER_VIRTUAL", "ITIMER_PROF"):
        if hasattr(signal, name):
            runs = signal.getitimer(getattr(signal, name))[0] > 0
            found[name] = Thing(text=f"signal.{name}", value="running" if runs else "stopped")
    for number, loop in enumerate(subject.loops()):
        for handle in list(getattr(loop, "_scheduled", ())):
            callback = getattr(handle, "_callback", None)
            if callback is not None and subject.owns(callback):
                found[f"loop {number} {number_of(handle)}"] = subject.thing(
                    "a callback that an event loop will call", callback
                )
    return found


CHECK = Check(
    id="no_leaked_timers",
    title="A timer ends with the version that set it",
    how=(
        "`threading.Timer`s that run, the kernel's interval timers, and what of the plugin's is scheduled in "
        "event loops."
    ),
    remedy="Cancel it in on_unload, or give its cancel to context.register().",
    take=_take,
    judge=leftovers,
)
