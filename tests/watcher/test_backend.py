"""Which backend watches, and the reason it gives."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pytest_hotplug.watcher import Watching, events, watch
from pytest_hotplug.watcher.mounts import first_without_events
from pytest_hotplug.watcher.native import EventsUnavailable
from tests.watcher.listening import Listener


def test_native_events_are_the_first_choice(root: Path, watches: list[Watching]) -> None:
    """On my own disk nothing polls, and nobody bothers me about it."""
    notices: list[str] = []
    watches.append(watch([root], Listener(), on_notice=notices.append))
    assert (watches[0].backend, watches[0].reason, notices) == ("events", "native events", [])
    assert watches[0].restarts == 0


@pytest.mark.parametrize("options", [{"force_polling": True}, {"poll_interval": 5}], ids=str)
def test_polling_is_used_when_asked_for(root: Path, watches: list[Watching], options: dict[str, Any]) -> None:
    """I set `force_polling` or an interval: the reason names what I set, and no notice is needed."""
    notices: list[str] = []
    watches.append(watch([root], Listener(), on_notice=notices.append, **options))
    assert watches[0].backend == "polling"
    assert next(iter(options)) in watches[0].reason
    assert notices == []


@pytest.mark.parametrize(
    ("value", "backend"),
    [("1", "polling"), ("true", "polling"), ("", "events"), ("0", "events"), ("False", "events")],
)
def test_the_variable_of_watchfiles_is_honoured(
    root: Path, watches: list[Watching], monkeypatch: pytest.MonkeyPatch, value: str, backend: str
) -> None:
    """W3: WATCHFILES_FORCE_POLLING, which I set for other tools, works here too."""
    monkeypatch.setenv("WATCHFILES_FORCE_POLLING", value)
    watches.append(watch([root], Listener()))
    assert watches[0].backend == backend


def test_a_root_on_a_file_system_without_events_is_polled_and_said_so(
    root: Path, tmp_path: Path, watches: list[Watching], monkeypatch: pytest.MonkeyPatch
) -> None:
    """W1: My plugins lie on a Windows mount: polling begins at once, with one line that says why."""
    table = tmp_path / "mountinfo"
    table.write_text(f"1 1 0:1 / / rw - ext4 sda rw\n2 1 0:2 / {root} rw - 9p drvfs rw\n", encoding="utf-8")
    monkeypatch.setattr(events, "first_without_events", partial(first_without_events, table=table))
    notices: list[str] = []
    watches.append(watch([root], Listener(), on_notice=notices.append))
    assert watches[0].backend == "polling"
    assert watches[0].reason == f"{root} is 9p: events do not work there"
    assert notices == [f"watching by polling every 1 s: {watches[0].reason}"]


def test_without_anybody_to_notice_the_log_says_why(
    root: Path,
    watches: list[Watching],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A fallback is never silent."""

    def refuse(directories: object) -> None:
        raise EventsUnavailable("no events today")

    monkeypatch.setattr(events, "first_without_events", refuse)
    watches.append(watch([root], Listener()))
    assert [record.__dict__["reason"] for record in caplog.records] == ["no events today"]
    assert caplog.messages == ["hotplug.watch_polls"]


def test_a_notice_that_raises_hurts_nothing(
    root: Path,
    watches: list[Watching],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What I do with the notice is my own affair: the watch begins all the same."""

    def refuse(directories: object) -> None:
        raise EventsUnavailable("no events today")

    def complain(text: str) -> None:
        raise ValueError(text)

    monkeypatch.setattr(events, "first_without_events", refuse)
    watches.append(watch([root], Listener(), on_notice=complain))
    assert watches[0].alive
    assert "hotplug.watch_notice_failed" in caplog.messages


@pytest.mark.parametrize(
    "options",
    [{"debounce": -1}, {"settle_max": -0.1}, {"poll_interval": 0}, {"step": 0}, {"debounce": float("nan")}],
    ids=str,
)
def test_a_time_that_makes_no_sense_is_refused(root: Path, options: dict[str, Any]) -> None:
    """A typing error in the settings is told by name instead of spinning or sleeping for ever."""
    with pytest.raises(ValueError, match=next(iter(options))):
        watch([root], Listener(), **options)
