"""One life after another: load, use, reload with changed content, use, unload; and what there is in between.

The first life is the warm-up: what libraries set up once for all is there before the baseline is taken.
"""

from __future__ import annotations

import sys
import threading
import time
import warnings
from typing import Any

from pytest_hotplug.safety.checks import ALL
from pytest_hotplug.safety.evidence import Cycle, Phase, Thing
from pytest_hotplug.safety.places import Places
from pytest_hotplug.safety.stage import CannotPlay, Stage, settle
from pytest_hotplug.safety.subject import Subject

__all__ = ["play"]

_PATIENCE = 1.0  # seconds that threads get to come to their end


def play(stage: Stage) -> Cycle:
    """Play the scenario and return what was seen."""
    cycle = Cycle(reloads=stage.order.reloads)
    try:
        places = Places(stage.public, str(stage.directory))
        places.listen()
        subject = Subject(stage.public, places)
        _hear_what_nobody_catches(cycle, places)
        _take(cycle, "cold", subject)
        stage.load()
        stage.unload()
        _take(cycle, "baseline", subject)
        places.permanent.clear()
        _second_life(cycle, stage, subject)
        cycle.permanent = places.permanent
    except CannotPlay as error:
        cycle.failed = str(error)
    return cycle


def _second_life(cycle: Cycle, stage: Stage, subject: Subject) -> None:
    stage.load()
    _take(cycle, "loaded", subject)
    for number in range(1, cycle.reloads + 1):
        stage.tell(f"reload {number} of {cycle.reloads}")
        stage.reload()
        _take(cycle, f"reload {number}", subject)
    cycle.survivors += stage.survivors("reloads")
    stage.unload()
    _take(cycle, "unloaded", subject)
    after_reloads = {(survivor.generation, survivor.held) for survivor in cycle.survivors}
    cycle.survivors += [s for s in stage.survivors("unload") if (s.generation, s.held) not in after_reloads]


def _take(cycle: Cycle, phase: str, subject: Subject) -> None:
    """Look at everything that a check wants to see."""
    settle()
    _wait_for_threads(subject)
    seen: Phase = {check.id: dict(check.take(subject)) for check in ALL if check.take is not None}
    cycle.phases[phase] = seen


def _wait_for_threads(subject: Subject) -> None:
    """Give threads that were told to end a moment to do so."""
    deadline = time.monotonic() + _PATIENCE
    before = len(threading.enumerate())
    while time.monotonic() < deadline:
        if not any(thread in subject.places.threads for thread in threading.enumerate()):
            return
        time.sleep(0.01)
        if (now := len(threading.enumerate())) == before and time.monotonic() > deadline - 0.9 * _PATIENCE:
            return
        before = now


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
