"""A reload costs no memory: not an object more with each."""

from __future__ import annotations

from collections.abc import Iterable

from pytest_hotplug.safety.check import Check, Finding
from pytest_hotplug.safety.evidence import Memory
from pytest_hotplug.safety.slope import slope_of

__all__ = ["CHECK", "TOLERANCE"]

TOLERANCE = 0.5  # blocks per reload


def _judge(check: Check, memory: Memory) -> Iterable[Finding]:
    slope = slope_of(memory.blocks)
    if slope > TOLERANCE:
        objects = slope_of(memory.objects)
        yield Finding(
            message=f"{slope:g} blocks of memory more with each reload ({objects:g} objects that the collector knows)",
            remedy=check.remedy,
            growth=slope,
        )


CHECK = Check(
    id="memory_slope",
    title="A reload costs no memory",
    how=(
        "`sys.getallocatedblocks()` after each of 12 reloads, once garbage is collected, after 5 warm-ups. "
        "The slope is the median of those between all pairs (Theil-Sen), at most half a block per reload. "
        "What grows is measured once more, 24 reloads after 60."
    ),
    remedy="See old_modules_die for who holds what; else look for caches and lists outside the plugin that it fills.",
    scenario="memory",
    level="full",
    judge=_judge,
)
