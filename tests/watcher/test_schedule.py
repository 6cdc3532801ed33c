"""When the tree is looked at although events are heard, shown on a clock that stands still."""

from __future__ import annotations

import pytest

from pytest_hotplug.watcher.schedule import LookSchedule


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def schedule(clock: Clock) -> LookSchedule:
    return LookSchedule(clock)


def test_while_nothing_happens_nobody_looks(clock: Clock, schedule: LookSchedule) -> None:
    """A watch over a quiet tree costs nothing, for days."""
    clock.now += 100_000
    assert schedule.remaining(blind=False) is None


def test_events_are_followed_by_one_look(clock: Clock, schedule: LookSchedule) -> None:
    """Whatever got lost in a burst is found soon after it."""
    schedule.heard()
    clock.now += 0.1
    schedule.heard()
    assert schedule.remaining(blind=False) == pytest.approx(0.2)
    clock.now += 0.25
    assert schedule.remaining(blind=False) == 0.0
    schedule.looked(clock.now)
    assert schedule.remaining(blind=False) is None


def test_endless_events_do_not_put_the_look_off_for_ever(clock: Clock, schedule: LookSchedule) -> None:
    """A log that is written all day hides no lost edit."""
    for _ in range(21):
        schedule.heard()
        clock.now += 0.1
    assert schedule.remaining(blind=False) == 0.0


def test_changed_directories_are_looked_at_at_once(schedule: LookSchedule) -> None:
    """A new directory is listened to before anybody can write much into it."""
    schedule.heard(directories_changed=True)
    assert schedule.remaining(blind=False) == 0.0


def test_looks_take_a_bounded_part_of_the_time(clock: Clock, schedule: LookSchedule) -> None:
    """The checkout of a large tree is not slowed down by being watched."""
    began = clock.now
    clock.now += 0.5
    schedule.looked(began)
    schedule.heard(directories_changed=True)
    assert schedule.remaining(blind=False) == pytest.approx(1.5)
    schedule.looked(clock.now - 0.5)
    for _ in range(99):
        schedule.heard()
        clock.now += 0.1
    assert schedule.remaining(blind=False) == pytest.approx(0.1)


def test_what_cannot_be_listened_to_is_looked_at_now_and_then(clock: Clock, schedule: LookSchedule) -> None:
    """A directory that is closed to me is no hole in the watch."""
    assert schedule.remaining(blind=True) == pytest.approx(2.0)
    clock.now += 2.5
    assert schedule.remaining(blind=True) == 0.0
    schedule.looked(clock.now)
    assert schedule.remaining(blind=True) == pytest.approx(2.0)
