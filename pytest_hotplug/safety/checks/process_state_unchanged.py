"""What belongs to the whole process is as before: its directory, limits, locale, streams."""

from __future__ import annotations

import decimal
import faulthandler
import locale
import os
import random
import socket
import sys
from collections.abc import Iterable

from pytest_hotplug.safety.check import Check, Finding
from pytest_hotplug.safety.evidence import Cycle, Thing
from pytest_hotplug.safety.leftovers import leftovers
from pytest_hotplug.safety.subject import Subject, described

__all__ = ["CHECK"]

_LEFT_TO_CHANCE = "the state of random"


def _take(subject: Subject) -> dict[str, Thing]:
    mask = os.umask(0o077)
    os.umask(mask)
    state = {
        "the working directory": os.getcwd(),
        "the umask": oct(mask),
        "the locale": locale.setlocale(locale.LC_ALL),
        "the recursion limit": sys.getrecursionlimit(),
        "the switch interval": sys.getswitchinterval(),
        "the default timeout of sockets": socket.getdefaulttimeout(),
        "the decimal context": _decimals(),
        "faulthandler": "enabled" if faulthandler.is_enabled() else "disabled",
        _LEFT_TO_CHANCE: hash(random.getstate()),
        **{f"sys.{name}": described(getattr(sys, name)) for name in ("stdin", "stdout", "stderr")},
    }
    if hasattr(os, "getpriority"):
        state["the priority"] = os.getpriority(os.PRIO_PROCESS, 0)
    return {name: Thing(text=name, value=str(value)) for name, value in {**state, **_limits()}.items()}


def _decimals() -> object:
    """Return what is set; the flags tell only what was computed."""
    context = decimal.getcontext()
    return context.prec, context.rounding, sorted(trap.__name__ for trap, on in context.traps.items() if on)


def _limits() -> dict[str, object]:
    if os.name != "posix":
        return {}
    import resource

    names = [name for name in dir(resource) if name.startswith("RLIMIT_")]
    return {f"the limit {name}": resource.getrlimit(getattr(resource, name)) for name in names}


def _judge(check: Check, cycle: Cycle) -> Iterable[Finding]:
    """What was drawn from random is told, and no fault."""
    for finding in leftovers(check, cycle):
        if finding.message.startswith(_LEFT_TO_CHANCE):
            yield Finding(message="random numbers were drawn, or its seed was set", severity="note")
        else:
            yield finding


CHECK = Check(
    id="process_state_unchanged",
    title="What belongs to the whole process is as before",
    how=(
        "Working directory, umask, locale, limits, priority, recursion limit, switch interval, socket "
        "timeout, decimal context, faulthandler and the standard streams; drawn random numbers are a note."
    ),
    remedy="Leave it to the host; what must be changed is put back in on_unload.",
    take=_take,
    judge=_judge,
)
