"""A watch that has nothing to tell sleeps; where nothing can wake it, it looks for news less and less often."""

from __future__ import annotations

import errno
import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from pytest_hotplug.watcher import bell, watch
from pytest_hotplug.watcher.native import Drowsy, StopEvent
from tests.watcher.listening import Listener, run_script, save

linux = pytest.mark.skipif(sys.platform != "linux", reason="only inotify wakes a watch up")


def threads() -> set[str]:
    """Return the threads of this process, those that Python doesn't know of included."""
    return set(os.listdir("/proc/self/task"))


def wake_ups(of: set[str]) -> int:
    """Return how often these threads were woken up so far."""
    count = 0
    for thread in of:
        status = Path("/proc/self/task", thread, "status").read_text()
        count += int(status.partition("\nvoluntary_ctxt_switches:")[2].split()[0])
    return count


@linux
def test_a_watch_at_rest_sleeps_until_something_happens(root: Path) -> None:
    """The battery lasts, from the first second on; a save wakes it up."""
    others = threads()
    listener = Listener()
    with watch([root], listener, debounce=0.0, step=0.001):
        save(root / "greeter" / "main.py", "A = 1\n")
        assert listener.hears(root / "greeter" / "main.py")
        pause = threading.Event()
        pause.wait(1.0)  # the look that follows an event is over
        watching = threads() - others
        before = wake_ups(watching)
        pause.wait(0.5)
        assert wake_ups(watching) - before < 20  # one every millisecond are 500
        listener.forget()
        save(root / "greeter" / "main.py", "A = 2\n")
        assert listener.hears(root / "greeter" / "main.py")


@linux
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EMFILE])
def test_without_room_for_what_wakes_it_a_watch_looks_for_news(
    root: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last watches of the machine went to the native watcher: edits are told all the same."""

    def refuse(directories: Sequence[str]) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(bell, "_listen_to", refuse)
    listener = Listener()
    with watch([root], listener) as watching:
        assert watching.backend == "events"
        save(root / "greeter" / "main.py", "A = 1\n")
        assert listener.hears(root / "greeter" / "main.py")


NOWHERE_TO_LISTEN = """
import sys
from pytest_hotplug.watcher import bell, native
from tests.watcher.listening import inotify_instances, wait_until

for listen in (bell.Bell, native.open_notifier):
    try:
        listen(sys.argv[1:])
    except FileNotFoundError as error:
        assert "gone" in str(error)
    else:
        raise AssertionError(f"{listen} raised nothing")
assert wait_until(lambda: inotify_instances() == 0)  # the native watcher ends in its own time
"""


@linux
def test_a_directory_that_cannot_be_listened_to_takes_no_descriptor_along(root: Path) -> None:
    """A bell that fails leaves nothing behind."""
    run_script(NOWHERE_TO_LISTEN, root, root / "gone")


class Day:
    """What watchfiles has, with a clock of its own: time passes while it waits, and nowhere else."""

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


def test_a_watch_that_nothing_wakes_looks_less_often_after_a_while_and_is_quick_again_after_an_event() -> None:
    """While I work saves are seen within a millisecond; while I sleep the battery lasts."""
    day = Day()
    notifier = Drowsy(day, lambda: day.now)
    assert notifier.watch(1, 1, 3_600_000, None) == "timeout"
    assert day.now == 3600
    assert day.steps == [1, 10]  # it changed its pace on the way
    day.event = "main.py"
    assert notifier.watch(1, 1, 3_600_000, None) == {(1, "main.py")}
    assert notifier.watch(1, 1, 30_000, None) == "timeout"
    assert day.steps == [1, 10, 10, 1]
    assert day.now == 3630
