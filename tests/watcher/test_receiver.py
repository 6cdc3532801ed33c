"""A receiver that fails, stops the watch, or never returns."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import pytest

from pytest_hotplug.watcher import Batch, Watching, watch
from tests.watcher.listening import Listener, save, wait_until


@pytest.mark.parametrize("failure", [ValueError("broken"), SystemExit(3)], ids=["error", "exit"])
def test_a_receiver_that_raises_is_logged_and_hears_the_next_edit(
    root: Path, watches: list[Watching], caplog: pytest.LogCaptureFixture, failure: BaseException
) -> None:
    """A bug in what I do with a batch does not make the worker deaf."""
    listener = Listener()

    def fail_first(batch: Batch) -> None:
        listener(batch)
        if len(listener.batches) == 1:
            raise failure

    watches.append(watch([root], fail_first))
    save(root / "greeter" / "main.py", "A = 1\n")
    assert listener.hears(root / "greeter" / "main.py")
    save(root / "greeter" / "other.py", "A = 1\n")
    assert listener.hears(root / "greeter" / "other.py")
    logged = [record for record in caplog.records if record.message == "hotplug.watch_receiver_failed"]
    assert [record.levelno for record in logged] == [logging.ERROR]
    assert logged[0].exc_info is not None
    assert logged[0].exc_info[1] is failure
    assert watches[0].alive
    assert watches[0].restarts == 0


def test_the_receiver_may_stop_the_watch_itself(
    root: Path, watches: list[Watching], caplog: pytest.LogCaptureFixture
) -> None:
    """I stop watching at the first change, from the callback, without a deadlock."""
    listener = Listener()

    def stop_at_once(batch: Batch) -> None:
        listener(batch)
        watches[0].stop()

    watches.append(watch([root], stop_at_once))
    save(root / "greeter" / "main.py", "A = 1\n")
    assert listener.hears(root / "greeter" / "main.py")
    assert wait_until(lambda: not watches[0].alive)
    assert caplog.records == []


def test_the_receiver_is_called_on_the_watch_thread(root: Path, watches: list[Watching]) -> None:
    """I can tell by the thread's name who reloads."""
    names: list[str] = []
    listener = Listener()

    def who(batch: Batch) -> None:
        names.append(threading.current_thread().name)
        listener(batch)

    watches.append(watch([root], who))
    save(root / "greeter" / "main.py", "A = 1\n")
    assert listener.hears(root / "greeter" / "main.py")
    assert set(names) == {"hotplug-watch"}
