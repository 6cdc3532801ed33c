"""Reloads that nobody waits for."""

from __future__ import annotations

import threading

import pytest

from pytest_hotplug.reloader.background import Background
from tests.reloader.workshop import PATIENCE


@pytest.mark.parametrize("error", [RuntimeError, SystemExit, KeyboardInterrupt])
def test_a_reload_that_fails_is_told_and_the_next_one_runs(
    caplog: pytest.LogCaptureFixture, error: type[BaseException]
) -> None:
    """N01: whatever ends one background reload, the log says so, and those asked for later are not lost."""
    done = threading.Event()

    def reload(name: str) -> None:
        if name == "first":
            raise error(name)
        done.set()

    background = Background(reload)
    for name in ("first", "second"):
        background.reload(name)
    assert done.wait(PATIENCE)
    background.stop()
    (record,) = caplog.records
    assert (record.message, vars(record)["plugin"]) == ("hotplug.background_reload_failed", "first")
