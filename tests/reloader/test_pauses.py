"""Pauses that end by themselves: in a manager that runs, in one that starts later, and in a forked child."""

from __future__ import annotations

import json
import os
import threading
from typing import Any

import pytest

from pytest_hotplug import PluginManager, UsageError
from pytest_hotplug.reloader.pauses import duration
from tests.reloader.workshop import PATIENCE, Workshop, eventually

ONE, TWO, THREE = (f"def run():\n    return {number}\n" for number in (1, 2, 3))
HOUR = 3600.0


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.at = 1_800_000_000.0

    def time(self) -> float:
        return self.at


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Give pauses a clock of their own."""
    clock = Clock()
    monkeypatch.setattr("pytest_hotplug.reloader.kept.time", clock)
    monkeypatch.setattr("pytest_hotplug.reloader.pauses.time", clock)
    return clock


@pytest.fixture
def manager(shop: Workshop) -> PluginManager:
    """Give the test a manager that serves one version while the next one lies on disk."""
    shop.plugin("subject", ONE)
    manager = shop.manager()
    manager.load("subject")
    return manager


def test_a_plugin_is_checked_again_when_its_pause_is_over(
    shop: Workshop, manager: PluginManager, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Not a moment earlier, and by nobody's doing: the next call applies the edit that waited."""
    caplog.set_level("INFO", "hotplug")
    manager.pause("subject", "the release", lasts=2 * HOUR)
    shop.write("subject", "main.py", TWO)
    clock.at += 2 * HOUR - 0.001
    assert manager.execute("subject") == 1
    assert manager.get_plugin_hot_info("subject")["state"] == "paused"
    clock.at += 0.001
    assert manager.execute("subject") == 2
    assert manager.get_plugin_hot_info("subject")["state"] == "serving"
    assert [vars(record)["plugin"] for record in caplog.records if record.message == "hotplug.resumed"] == ["subject"]


def test_hot_reload_is_enabled_again_when_the_time_is_over(
    shop: Workshop, manager: PluginManager, clock: Clock
) -> None:
    """The same for all plugins at once."""
    manager.disable_hot_reload(lasts=HOUR)
    shop.write("subject", "main.py", TWO)
    clock.at += HOUR - 0.001
    assert (manager.execute("subject"), manager.hot_reload_enabled) == (1, False)
    clock.at += 0.001
    assert manager.execute("subject") == 2
    assert manager.hot_reload_enabled


def test_whoever_asks_first_sees_that_it_is_over(manager: PluginManager, clock: Clock) -> None:
    """No call has to come before: health, info, why and the switch itself look at the clock."""
    questions: dict[str, Any] = {
        "info": lambda: manager.get_plugin_hot_info("subject")["state"] == "serving",
        "why": lambda: manager.why("subject")["verdict"] == "current",
        "health": lambda: manager.health()["plugins"]["subject"] == "serving",
    }
    for name, is_over in questions.items():
        manager.pause("subject", lasts=HOUR)
        assert not is_over(), name
        clock.at += HOUR
        assert is_over(), name
    manager.disable_hot_reload(lasts=HOUR)
    clock.at += HOUR
    assert manager.hot_reload_enabled


def test_why_says_until_when(manager: PluginManager, clock: Clock) -> None:
    """In local time, for one plugin and for all; without an end nothing of it is said."""
    manager.pause("subject", "the release", lasts=HOUR)
    text = manager.why("subject")["text"]
    assert text.startswith("nothing is checked until 20")
    assert text.endswith(" (the release)")
    manager.pause("subject", "the release")
    assert manager.why("subject")["text"] == "nothing is checked (the release)"
    manager.resume("subject")
    manager.disable_hot_reload(lasts=HOUR)
    assert "until 20" in manager.why("subject")["text"]
    manager.disable_hot_reload()
    assert manager.why("subject")["text"] == "nothing is checked (hot reload is disabled)"


def test_a_pause_is_ended_earlier(shop: Workshop, manager: PluginManager, clock: Clock) -> None:
    """`resume` and `enable_hot_reload` end it; its end then means nothing for a pause that comes later."""
    manager.pause("subject", lasts=HOUR)
    manager.disable_hot_reload(lasts=HOUR)
    shop.write("subject", "main.py", TWO)
    manager.resume("subject")
    assert manager.execute("subject") == 1
    manager.enable_hot_reload()
    assert manager.execute("subject") == 2
    manager.pause("subject")
    manager.disable_hot_reload()
    shop.write("subject", "main.py", THREE)
    clock.at += 2 * HOUR
    assert manager.execute("subject") == 2
    manager.enable_hot_reload()
    assert manager.execute("subject") == 2
    assert manager.get_plugin_hot_info("subject")["state"] == "paused"


def test_a_dependency_is_checked_again_when_its_pause_is_over(shop: Workshop, clock: Clock) -> None:
    """A call of its user looks at it as well."""
    shop.plugin("used", ONE)
    shop.plugin("user", f"from {shop.package}.used import main\ndef run():\n    return main.run()\n")
    manager = shop.manager()
    assert manager.execute("user") == 1
    manager.pause("used", lasts=HOUR)
    shop.write("used", "main.py", TWO)
    assert manager.execute("user") == 1
    clock.at += HOUR
    assert manager.execute("user") == 2


def test_the_watch_reloads_again_when_a_pause_is_over(shop: Workshop, manager: PluginManager, clock: Clock) -> None:
    """Without any call, at the next save."""
    looked = threading.Event()
    manager.pause("subject", lasts=HOUR)
    manager.start_watching(tell=lambda outcome: looked.set())
    clock.at += HOUR
    shop.write("subject", "main.py", TWO)
    eventually(lambda: manager.get_plugin_hot_info("subject")["generation"] == 2, "the reload")
    assert looked.wait(PATIENCE)
    manager.stop_watching()


def test_a_pause_lasts_over_restarts_and_no_longer(shop: Workshop, clock: Clock) -> None:
    """Who starts before its end heeds what is left of it; who starts after it finds no pause."""
    shop.plugin("subject", ONE)
    kept = {"state_dir": shop.root / "state"}
    with shop.manager(**kept) as first:
        first.load("subject")
        first.pause("subject", "the release", lasts=2 * HOUR)
        first.disable_hot_reload(lasts=HOUR)
    clock.at += HOUR / 2
    with shop.manager(**kept) as second:
        assert second.execute("subject") == 1
        shop.write("subject", "main.py", TWO)
        clock.at += HOUR / 2
        assert second.hot_reload_enabled
        assert second.execute("subject") == 1
        clock.at += HOUR
        assert second.execute("subject") == 2
    with shop.manager(**kept) as third:
        assert third.hot_reload_enabled
        third.load("subject")
        assert third.get_plugin_hot_info("subject")["state"] == "serving"
        third.pause("subject")
    with shop.manager(**kept) as fourth:
        fourth.load("subject")
        assert fourth.get_plugin_hot_info("subject")["state"] == "paused", "the old end is forgotten"


def test_pauses_of_before_have_no_end(shop: Workshop) -> None:
    """A state directory that an older version wrote is read as it was meant."""
    shop.plugin("subject", ONE)
    state = shop.root / "state"
    (state / "plugins" / "subject").mkdir(parents=True)
    (state / "plugins" / "subject" / "notes.json").write_text(json.dumps({"paused": "the release"}))
    (state / "state.json").write_text(json.dumps({"enabled": False}))
    manager = shop.manager(state_dir=state)
    manager.load("subject")
    assert manager.why("subject")["text"] == "nothing is checked (the release)"
    assert not manager.hot_reload_enabled


def test_an_end_that_no_calendar_has_is_no_traceback(shop: Workshop) -> None:
    """Somebody wrote it by hand."""
    shop.plugin("subject", ONE)
    state = shop.root / "state"
    state.mkdir()
    (state / "state.json").write_text(json.dumps({"enabled": False, "until": 1e300}))
    manager = shop.manager(state_dir=state)
    manager.load("subject")
    assert "until 1e+300" in manager.why("subject")["text"]


def test_no_thread_waits_for_the_end(manager: PluginManager) -> None:
    """A pause costs no thread, so that a manager that is closed leaves none and a fork loses none."""
    before = set(threading.enumerate())
    manager.pause("subject", lasts=HOUR)
    manager.disable_hot_reload(lasts=HOUR)
    assert set(threading.enumerate()) == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_pause_ends_in_a_forked_child_as_well(shop: Workshop, manager: PluginManager, clock: Clock) -> None:
    """The child has none of its parent's threads, and needs none."""
    manager.pause("subject", lasts=HOUR)
    shop.write("subject", "main.py", TWO)
    child = os.fork()
    if not child:
        code = 99
        try:
            early = manager.execute("subject")
            clock.at += HOUR
            code = 10 * early + manager.execute("subject")
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 12
    assert manager.execute("subject") == 1, "the parent's clock stands"


def test_a_pause_that_begins_while_another_one_ends_is_kept(
    manager: PluginManager, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who ends what is over looks under the lock: a pause that was asked for meanwhile stays."""
    from pytest_hotplug.reloader import newest, pauses

    manager.pause("subject", "first", lasts=HOUR)
    clock.at += HOUR

    def late(registry: Any, slot: Any) -> bool:
        manager.pause("subject", "second", lasts=HOUR)
        pauses.lift(registry)
        return slot.paused is not None

    monkeypatch.setattr(newest, "is_paused", late)
    manager.execute("subject")
    assert "second" in manager.why("subject")["text"]


@pytest.mark.parametrize("lasts", [0, -1, float("nan"), float("inf"), 11 * 365 * 86400])
def test_a_pause_lasts_for_a_time_that_can_be(manager: PluginManager, lasts: float) -> None:
    """Anything else is a usage error, and pauses nothing."""
    for pause in (lambda: manager.pause("subject", lasts=lasts), lambda: manager.disable_hot_reload(lasts)):
        with pytest.raises(UsageError, match="bad-duration"):
            pause()
    assert manager.hot_reload_enabled
    assert manager.get_plugin_hot_info("subject")["state"] == "serving"


def test_units_of_time_are_read() -> None:
    """Seconds, minutes, hours, days, parts of them, and several one after the other."""
    texts = {"90s": 90, "30m": 1800, "2h": 7200, "7d": 604800, "0.5h": 1800, "1h30m": 5400, "1d12h": 129600}
    assert {text: duration(text) for text in texts} == texts
