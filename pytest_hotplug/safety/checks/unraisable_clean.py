"""Nothing goes wrong where nobody could catch it: in a `__del__`, in a thread, in a coroutine nobody awaits."""

from __future__ import annotations

from collections.abc import Iterable

from pytest_hotplug.safety.check import Check, Finding
from pytest_hotplug.safety.evidence import Cycle
from pytest_hotplug.safety.findings import told_once

__all__ = ["CHECK"]


def _judge(check: Check, cycle: Cycle) -> Iterable[Finding]:
    return told_once(check, cycle.unraisable)


CHECK = Check(
    id="unraisable_clean",
    title="Nothing goes wrong where nobody could catch it",
    how="`sys.unraisablehook` and `threading.excepthook`; a coroutine that is never awaited is an error.",
    remedy="Catch the error where it arises, or await the coroutine; each retired version ends like this.",
    judge=_judge,
)
