"""When a batch is due, shown on a clock that stands still."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_hotplug.watcher import Batch
from pytest_hotplug.watcher.debounce import Debounce


class Clock:
    def __init__(self) -> None:
        self.now = 10.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def _debounce(clock: Clock, quiet: float = 0.05, longest: float = 2.0) -> Debounce:
    return Debounce(quiet, longest, clock=clock, wall=lambda: clock.now + 1000)


def test_nothing_is_due_without_a_hint(clock: Clock) -> None:
    """Silence makes no batches, however long it lasts."""
    debounce = _debounce(clock)
    debounce.add([])
    clock.now += 100
    assert debounce.remaining() is None
    assert debounce.take() is None


def test_a_batch_is_due_after_the_quiet(clock: Clock) -> None:
    """One save waits for the debounce and no longer."""
    debounce = _debounce(clock)
    debounce.add(["/a"])
    assert debounce.remaining() == pytest.approx(0.05)
    assert debounce.take() is None
    clock.now += 0.06
    assert debounce.take() == Batch(frozenset({Path("/a")}), first_seen=1010.0)
    assert debounce.take() is None


def test_each_hint_extends_the_quiet_up_to_the_longest(clock: Clock) -> None:
    """While files keep changing the batch waits, but not for ever."""
    debounce = _debounce(clock, quiet=1.0, longest=2.5)
    for path in ("/a", "/b", "/c"):
        debounce.add([path])
        assert debounce.take() is None
        clock.now += 0.9
    assert debounce.take() == Batch(frozenset(map(Path, ("/a", "/b", "/c"))), first_seen=1010.0)


def test_without_quiet_a_hint_is_due_at_once(clock: Clock) -> None:
    """A debounce of 0 passes everything on."""
    debounce = _debounce(clock, quiet=0.0)
    debounce.add(["/a"])
    assert debounce.remaining() == 0.0
    assert debounce.take() is not None


def test_an_overflow_marks_its_batch_and_no_other(clock: Clock) -> None:
    """ "Look at everything" is said once."""
    debounce = _debounce(clock, quiet=0.0)
    debounce.add(["/a"])
    debounce.add(["/root"], overflow=True)
    first = debounce.take()
    debounce.add(["/b"])
    second = debounce.take()
    assert first == Batch(frozenset(map(Path, ("/a", "/root"))), 1010.0, overflow=True)
    assert second == Batch(frozenset({Path("/b")}), 1010.0)
