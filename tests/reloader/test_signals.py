"""An exception that a signal handler raises may come up anywhere in a call; whatever it hits, nothing stays locked.

CPython runs signal handlers where a Python function begins and where a call into C returns. A
profiler hears of exactly these places: each is hit once, in its turn.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from tests.reloader.workshop import Workshop, eventually, running


class Interrupted(KeyboardInterrupt):
    """What the handler raises."""


OURS = ("reloader/", "/contextlib.py", "/threading.py")
HARMLESS = ("fingerprint.py", "manifest.py", "check.py", "build.py", "limits.py", "discovery.py", "store.py")


def interrupted_at(place: int, work: Callable[[], object]) -> bool:
    """Do `work` and raise at its n-th place; tell whether it has that many."""
    seen = 0

    def hear(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal seen
        file = frame.f_code.co_filename
        if event not in ("call", "c_return") or not any(part in file for part in OURS) or file.endswith(HARMLESS):
            return
        if frame.f_code.co_name == "__del__":  # what is raised there, nobody gets
            return
        seen += 1
        if seen == place:
            sys.setprofile(None)
            raise Interrupted

    before = sys.getprofile()
    sys.setprofile(hear)
    try:
        work()
    except Interrupted:
        return True
    finally:
        sys.setprofile(before)
    return seen >= place


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Python drops what hits a finalizer
@pytest.mark.parametrize("on_change", ["all-wait", "first-waits"])
def test_a_call_that_a_signal_interrupts_leaves_nothing_locked(shop: Workshop, on_change: str) -> None:
    """Wherever Ctrl-C or a timeout hits a reload, the next calls of other threads are served, and no lease is lost."""
    manager = shop.manager(on_change=on_change, load_timeout=60)
    versions = iter(range(10**6))
    shop.plugin("other", "def run():\n    return 1\n")
    manager.execute("other")

    def edit(name: str) -> int:
        shop.plugin(name, f"def run():\n    return {(version := next(versions))}\n")
        return version

    place, more = 1, True
    while more:
        edit("subject")
        more = interrupted_at(place, lambda: manager.execute("subject"))
        wanted = {name: edit(name) for name in ("other", "subject")}
        answers: dict[str, Any] = {}
        with running(lambda: answers.update({name: manager.execute(name) for name in wanted})) as errors:  # noqa: B023
            pass
        assert (errors, answers) == ([], wanted), f"interrupted at place {place}"
        eventually(lambda: manager.health()["calls_in_flight"] == 0, f"the leases, interrupted at place {place}")
        place += 1
    assert place > 100
