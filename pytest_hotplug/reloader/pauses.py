"""Pauses that end by themselves: how long one may last, and the first moment at which it is over.

Nobody waits for that moment: whoever would have heeded a pause looks at the clock, so that no thread has
to live for it, in no process and no fork, and a plugin that isn't paused pays nothing.
"""

from __future__ import annotations

import logging
import math
import re
import time
from datetime import datetime

from pytest_hotplug.reloader.errors import UsageError
from pytest_hotplug.reloader.kept import is_over
from pytest_hotplug.reloader.registry import Registry, Slot

__all__ = ["duration", "end_of", "is_paused", "lift", "pause", "spoken", "switch"]

LOG = logging.getLogger("hotplug")
LONGEST = 3650 * 86400.0  # seconds
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_PARTS = re.compile(r"(\d+(?:\.\d+)?)([smhd])", re.ASCII)
_REMEDY = "write a number and a unit, e.g. 90s, 30m, 2h or 7d"


# -- how long -----------------------------------------------------------------------------------


def duration(text: str) -> float:
    """Return the seconds that `90s`, `30m`, `2h`, `1h30m` or `7d` means; raises UsageError `[bad-duration]`."""
    parts = _PARTS.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise UsageError(f"{text!r} is no duration; {_REMEDY}", "bad-duration")
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    _check(seconds, text)
    return seconds


def end_of(lasts: float | None) -> float | None:
    """Return when (`time.time()`) a pause is over that begins now; None for one without an end.

    Raises UsageError `[bad-duration]` unless `lasts` are seconds between 0 and ten years.
    """
    if lasts is None:
        return None
    _check(lasts, f"{lasts:g} s")
    return time.time() + lasts


def _check(seconds: float, said: str) -> None:
    if not seconds > 0 or not math.isfinite(seconds):
        raise UsageError(f"a pause of {said} ends before it begins; {_REMEDY}", "bad-duration")
    if seconds > LONGEST:
        without = "leave it out for a pause that lasts until it is ended"
        raise UsageError(f"a pause of {said} is longer than ten years; {without}", "bad-duration")


def spoken(until: float | None) -> str:
    """Return ` until` and the local time, an empty text for a pause without an end."""
    if until is None:
        return ""
    try:
        return f" until {datetime.fromtimestamp(until):%Y-%m-%d %H:%M:%S}"
    except (OverflowError, OSError, ValueError):  # a time of no calendar, from a file that somebody wrote by hand
        return f" until {until:g}"


# -- begin and end ------------------------------------------------------------------------------


def pause(registry: Registry, slot: Slot, reason: str | None, until: float | None) -> None:
    """Check a plugin no more until then (None: until it is said otherwise), or again when `reason` is None."""
    with registry.lock:
        slot.paused, slot.paused_until = reason, until


def switch(registry: Registry, enabled: bool, until: float | None) -> None:
    """Check every plugin, or none until then (None: until it is said otherwise)."""
    with registry.lock:
        registry.hot_reload, registry.off_until = enabled, until


def lift(registry: Registry) -> None:
    """Let everything be checked again whose pause is over."""
    with registry.lock:
        if is_over(registry.off_until):
            registry.hot_reload, registry.off_until = True, None
            LOG.info("hotplug.enabled_again", extra={"text": "the time is over for which hot reload was disabled"})
        for slot in list(registry.slots.values()):  # close() takes them away at any moment
            if is_over(slot.paused_until):
                slot.paused = slot.paused_until = None
                LOG.info("hotplug.resumed", extra={"plugin": slot.name, "text": f"{slot.name}: its pause is over"})


def is_paused(registry: Registry, slot: Slot) -> bool:
    """Tell whether a plugin that was paused still is; one whose time is over is lifted, and all others with it."""
    if is_over(slot.paused_until):
        lift(registry)
    return slot.paused is not None
