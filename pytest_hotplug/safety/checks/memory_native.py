"""A reload costs no memory that Python knows nothing of."""

from __future__ import annotations

from collections.abc import Iterable

from pytest_hotplug.safety.check import Check, Finding
from pytest_hotplug.safety.evidence import Memory
from pytest_hotplug.safety.slope import slope_of

__all__ = ["CHECK", "TOLERANCE"]

TOLERANCE = 64 * 1024  # bytes per reload; below it lies what the heap does by itself


def _judge(check: Check, memory: Memory) -> Iterable[Finding]:
    slope = slope_of(memory.rss)
    if slope > TOLERANCE:
        message = f"the process grows by {slope / 1024:,.0f} KiB with each reload"
        yield Finding(message=message, remedy=check.remedy, growth=slope)


CHECK = Check(
    id="memory_native",
    title="A reload costs no memory that Python knows nothing of",
    how=(
        "The same series of the resident size, at most 64 KiB per reload: what C code leaks is in no block of Python's."
    ),
    remedy="Free in on_unload what an extension module allocated; Python's own objects are memory_slope's.",
    scenario="memory",
    level="full",
    judge=_judge,
)
