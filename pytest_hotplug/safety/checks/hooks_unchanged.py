"""The interpreter's hooks are as before."""

from __future__ import annotations

import builtins
import sys
import threading

from pytest_hotplug.safety.check import Check
from pytest_hotplug.safety.evidence import Thing
from pytest_hotplug.safety.leftovers import leftovers
from pytest_hotplug.safety.subject import Subject, described

__all__ = ["CHECK"]

_HOOKS = ("excepthook", "displayhook", "breakpointhook")


def _take(subject: Subject) -> dict[str, Thing]:
    hooks = {f"sys.{name}": getattr(sys, name) for name in _HOOKS}
    hooks["threading.excepthook"] = threading.excepthook
    hooks["sys.unraisablehook"] = sys.unraisablehook
    hooks["builtins.__import__"] = builtins.__import__
    hooks["sys.settrace"], hooks["sys.setprofile"] = sys.gettrace(), sys.getprofile()
    found = {name: subject.thing(name, hook, said=described(hook)) for name, hook in hooks.items()}
    if hasattr(sys, "monitoring"):
        for number in range(6):
            found[f"tool {number}"] = Thing(
                text=f"tool {number} of sys.monitoring", value=str(sys.monitoring.get_tool(number))
            )
    return found


CHECK = Check(
    id="hooks_unchanged",
    title="The interpreter's hooks are as before",
    how=(
        "The hooks for exceptions, display and breakpoints of `sys` and `threading`, `builtins.__import__`, "
        "trace and profile functions, and the tools of `sys.monitoring`."
    ),
    remedy="Set the former hook again in on_unload, or give that to context.register().",
    take=_take,
    judge=leftovers,
)
