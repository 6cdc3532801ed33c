"""Who has nothing to tell for a while wakes up less often."""

from __future__ import annotations

import threading
from pathlib import Path

from pytest_hotplug.watcher.events import EventSource
from pytest_hotplug.watcher.native import StopEvent


class Day:
    """A native watcher with a clock of its own: time passes while it waits, and nowhere else."""

    def __init__(self) -> None:
        self.now = 0.0
        self.steps: list[int] = []
        self.event: str = ""

    def watch(
        self, debounce_ms: int, step_ms: int, timeout_ms: int, stop_event: StopEvent | None
    ) -> set[tuple[int, str]] | str:
        self.steps.append(step_ms)
        if self.event:
            told, self.event = self.event, ""
            return {(1, told)}
        self.now += timeout_ms / 1000
        return "timeout"

    def close(self) -> None:
        """Nothing runs."""


def test_a_watch_at_rest_wakes_up_less_often_and_is_quick_again_after_an_event(tmp_path: Path) -> None:
    """While I work saves are seen within a millisecond; while I sleep the battery lasts."""
    day = Day()
    source = EventSource([str(tmp_path)], lambda directories: day, 0.001, threading.Event(), lambda: day.now)
    source.arm()
    source.wait(3600.0)
    assert day.now < 3600  # it came back to change its pace
    source.wait(3600.0)
    source.wait(3600.0)
    assert (day.steps[0], day.steps[-1]) == (1, 10)
    day.event = str(tmp_path / "main.py")
    source.wait(3600.0)
    source.wait(3600.0)
    assert day.steps[-1] == 1
    source.close()
