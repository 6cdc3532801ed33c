"""The garbage collector works as before."""

from __future__ import annotations

import gc

from pytest_hotplug.safety.check import Check
from pytest_hotplug.safety.evidence import Thing
from pytest_hotplug.safety.identity import number_of
from pytest_hotplug.safety.leftovers import leftovers
from pytest_hotplug.safety.subject import Subject

__all__ = ["CHECK"]


def _take(subject: Subject) -> dict[str, Thing]:
    state = {
        "threshold": gc.get_threshold(),
        "enabled": gc.isenabled(),
        "debug": gc.get_debug(),
        "frozen objects": gc.get_freeze_count(),
    }
    found = {name: Thing(text=f"gc: {name}", value=str(value)) for name, value in state.items()}
    return found | {str(number_of(c)): subject.thing("an entry of gc.callbacks", c) for c in gc.callbacks}


CHECK = Check(
    id="gc_state_unchanged",
    title="The garbage collector works as before",
    how="Thresholds, switch, debug flags, frozen objects and callbacks of the garbage collector.",
    remedy="Leave it to the host; what must be changed is put back in on_unload.",
    take=_take,
    judge=leftovers,
)
