"""One life after another: load, use, reload with changed content, use, unload; and what there is in between.

The first life is the warm-up: what libraries set up once for all is there before the baseline is taken.
"""

from __future__ import annotations

import sys
import threading
import warnings
from typing import Any

from pytest_hotplug.safety.evidence import Cycle, Thing
from pytest_hotplug.safety.places import Places
from pytest_hotplug.safety.stage import CannotPlay, NoTool, Stage

__all__ = ["play"]


def play(stage: Stage) -> Cycle:
    """Play the scenario and return what was seen."""
    cycle = Cycle(reloads=stage.order.reloads)
    try:
        places = stage.places
        places.listen()
        _hear_what_nobody_catches(cycle, places)
        cycle.phases["cold"] = stage.snapshot()
        stage.load()
        stage.unload()
        cycle.phases["baseline"] = stage.snapshot()
        places.permanent.clear()
        _second_life(cycle, stage)
        cycle.permanent, cycle.broken = places.permanent, stage.failing
        for check, reason in stage.not_seen.items():
            cycle.skipped[check] = str(reason)
            cycle.without_tool += [check] * isinstance(reason, NoTool)
    except CannotPlay as error:
        cycle.failed = stage.by_name(str(error))
    return cycle


def _second_life(cycle: Cycle, stage: Stage) -> None:
    stage.load()
    cycle.phases["loaded"] = stage.snapshot()
    for number in range(1, cycle.reloads + 1):
        stage.tell(f"reload {number} of {cycle.reloads}")
        stage.reload()
        cycle.phases[f"reload {number}"] = stage.snapshot()
    cycle.survivors += stage.survivors("reloads")
    stage.unload()
    cycle.phases["unloaded"] = stage.snapshot()
    after_reloads = {(survivor.generation, survivor.held) for survivor in cycle.survivors}
    cycle.survivors += [s for s in stage.survivors("unload") if (s.generation, s.held) not in after_reloads]


def _hear_what_nobody_catches(cycle: Cycle, places: Places) -> None:
    """Write down errors in `__del__`, in threads and of coroutines that nobody awaited."""
    warnings.filterwarnings("error", ".* was never awaited", RuntimeWarning)

    def hear(unraisable: Any) -> None:
        error = unraisable.exc_value
        where = getattr(unraisable, "object", None)
        of = f" in {getattr(where, '__qualname__', where)}" if where is not None else ""
        place = _place_of(error, places)
        cycle.unraisable.append(Thing(text=f"{type(error).__name__}: {error}{of}", place=place, own=True))

    sys.unraisablehook = hear
    threading.excepthook = hear


def _place_of(error: BaseException | None, places: Places) -> str:
    """Return the innermost line of the plugin's that an error went through."""
    trace, place = error.__traceback__ if error is not None else None, ""
    while trace is not None:
        named = places.named(trace.tb_frame.f_code.co_filename)
        if named != trace.tb_frame.f_code.co_filename:
            place = f"{named}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place
