"""Handlers of signals, and which ones are blocked, are as before."""

from __future__ import annotations

import signal

from pytest_hotplug.safety.check import Check
from pytest_hotplug.safety.evidence import Thing
from pytest_hotplug.safety.leftovers import leftovers
from pytest_hotplug.safety.subject import Subject, described

__all__ = ["CHECK"]


def _take(subject: Subject) -> dict[str, Thing]:
    found = {}
    for number in sorted(signal.valid_signals()):
        handler = signal.getsignal(number)
        name = getattr(number, "name", f"signal {int(number)}")
        place = subject.places.signals.get(int(number), "")
        found[name] = subject.thing(f"the handler of {name}", handler, place, described(handler))
    if hasattr(signal, "pthread_sigmask"):
        blocked = sorted(int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, []))
        found["mask"] = Thing(text="the set of blocked signals", value=str(blocked))
    return found


CHECK = Check(
    id="no_signal_handlers",
    title="Handlers of signals are as before",
    how="`signal.getsignal` of every signal, and the set of blocked ones.",
    remedy="Set the former handler again in on_unload; better, let the host handle signals.",
    take=_take,
    judge=leftovers,
)
