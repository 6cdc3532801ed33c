"""A child process ends with the version that started it."""

from __future__ import annotations

import psutil

from pytest_hotplug.safety.check import Check
from pytest_hotplug.safety.evidence import Thing
from pytest_hotplug.safety.leftovers import leftovers
from pytest_hotplug.safety.subject import Subject

__all__ = ["CHECK"]

_ONE_FOR_ALL = ("multiprocessing.resource_tracker", "multiprocessing.forkserver")  # of the interpreter, for good


def _take(subject: Subject) -> dict[str, Thing]:
    found = {}
    for child in psutil.Process().children():
        try:
            command = " ".join(child.cmdline()) or child.name()
        except psutil.Error:  # it ended meanwhile
            continue
        if not any(name in command for name in _ONE_FOR_ALL):
            found[str(child.pid)] = subject.thing(
                f"process {child.name()}", place=subject.places.processes.get(child.pid, "")
            )
    return found


CHECK = Check(
    id="no_leaked_processes",
    title="A child process ends with the version that started it",
    how=(
        "The process's children, without the resource tracker and the fork server that Python starts once for "
        "all; `Popen` and `Process.start` are wrapped and note the line."
    ),
    remedy="End it, and wait for it, in on_unload or in an undo that you give to context.register().",
    take=_take,
    judge=leftovers,
)
