"""Who asked: every event and every line of the history says it, whichever thread did the work."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from typing import Any

import pytest

from pytest_hotplug import PluginManager, Reloaded
from pytest_hotplug.reloader.asking import asked_by, asking, on_behalf
from pytest_hotplug.reloader.events import Event
from tests.reloader.workshop import Workshop, eventually, gate, running

ONE, TWO, BROKEN = "def run():\n    return 1\n", "def run():\n    return 2\n", "def run(:\n"


def heard(manager: PluginManager) -> list[Event]:
    """Return a list to which each event of a manager is added."""
    events: list[Event] = []
    manager.subscribe(events.append)
    return events


def who(events: list[Event], kind: str) -> list[str]:
    return [event.asked_by for event in events if event.kind == kind]


def test_a_block_says_who_asks_and_nobody_after_it_does() -> None:
    """Nested ones put back what was said before; also when the block raises."""
    assert asked_by() == ""
    with asking("outer"):
        with suppress(ValueError), asking("inner"):
            assert asked_by() == "inner"
            raise ValueError("in the block")
        assert asked_by() == "outer"
    assert asked_by() == ""


def test_what_is_done_later_is_done_for_the_one_who_asked() -> None:
    """On another thread, inside another one's request: it counts for the first one, and only it."""
    said: list[str] = []
    with asking("first"):
        later = on_behalf(lambda: said.append(asked_by()))
    with asking("second"):
        later()
        said.append(asked_by())
    with running(later):
        pass
    assert said == ["first", "second", "first"]


def test_what_the_host_says_stands_in_events_and_history(shop: Workshop) -> None:
    """Loads run on a thread of their own, and old versions end on another one: both are told of the host's words."""
    shop.plugin("subject", "def on_unload():\n    pass\n" + ONE)
    manager = shop.manager()
    events = heard(manager)
    manager.load("subject")
    shop.write("subject", "main.py", TWO)
    with asking("reload by uid 1000 (pid 4242)"):
        assert isinstance(manager.reload("subject"), Reloaded)
    shop.write("subject", "main.py", BROKEN)
    with asking("reload by uid 0"):
        manager.reload("subject")
    with asking("rollback by uid 0"):
        manager.rollback("subject")
    with asking("stop"):
        manager.unload("subject")
    host = ["start", "reload by uid 1000 (pid 4242)", "rollback by uid 0"]
    assert who(events, "loaded") == host
    assert who(events, "kept") == who(events, "error") == ["reload by uid 0"]
    assert who(events, "retired") == [*host[1:], "stop"]
    records = [(record["kind"], record["asked_by"]) for record in manager.history("subject")]
    assert records == [
        ("loaded", host[0]), ("loaded", host[1]), ("refused", "reload by uid 0"), ("rolled-back", host[2]),
        ("unloaded", "stop"),
    ]  # fmt: skip


@pytest.mark.parametrize("on_change", ["first-waits", "all-wait", "serve-current"])
def test_a_check_before_an_execution_asks_as_a_call(shop: Workshop, on_change: str) -> None:
    """Also when nobody waits for the reload, and whatever the host says of the call itself."""
    shop.plugin("subject", ONE)
    manager = shop.manager(on_change=on_change)
    events = heard(manager)
    with asking("run by uid 1000"):
        manager.execute("subject")
        shop.write("subject", "main.py", TWO)
        manager.execute("subject")
        eventually(lambda: who(events, "loaded") == ["start", "call"], "the reload")
        shop.write("subject", "main.py", BROKEN)
        manager.execute("subject")
        eventually(lambda: who(events, "error") == ["call"], "the refusal")
        assert asked_by() == "run by uid 1000"


def test_a_check_before_an_awaited_execution_asks_as_a_call(shop: Workshop) -> None:
    """It looks on a thread beside the event loop."""
    shop.plugin("subject", "async def run():\n    return 1\n")
    manager = shop.manager()
    events = heard(manager)
    assert asyncio.run(manager.aexecute("subject")) == 1
    shop.write("subject", "main.py", "async def run():\n    return 2\n")
    assert asyncio.run(manager.aexecute("subject")) == 2
    assert who(events, "loaded") == ["start", "call"]


def test_the_watch_asks_as_the_watcher(shop: Workshop) -> None:
    """For what it reloads, and for what it is refused."""
    shop.plugin("subject", ONE)
    manager = shop.manager()
    events = heard(manager)
    manager.load("subject")
    manager.start_watching()
    shop.write("subject", "main.py", TWO)
    eventually(lambda: who(events, "loaded") == ["start", "watcher"], "the reload")
    shop.write("subject", "main.py", BROKEN)
    eventually(lambda: who(events, "error") == ["watcher"], "the refusal")
    manager.stop_watching()


def test_a_plugin_that_another_one_imports_starts(shop: Workshop) -> None:
    """Nobody asked for the second one by name: a lazy import did, in the middle of a call."""
    shop.plugin("used", ONE)
    shop.plugin("user", f"def run():\n    from {shop.package}.used.main import run\n    return run()\n")
    manager = shop.manager()
    events = heard(manager)
    manager.discover()
    assert manager.execute("user") == 1
    assert [(event.plugin, event.asked_by) for event in events] == [("user", "start"), ("used", "start")]


def test_what_ends_late_is_told_of_whoever_began_it(shop: Workshop) -> None:
    """An old version ends when its last call does, long after the reload and on the call's thread."""
    with gate("asking-late") as (waits, opened):
        shop.plugin("subject", "def run():\n    " + waits.strip().replace("\n", "\n    ") + "\n")
        manager = shop.manager()
        events = heard(manager)
        manager.load("subject")

        def call() -> None:
            with asking("a caller"):
                manager.execute("subject")

        with running(call) as errors:
            eventually(lambda: manager.get_plugin_hot_info("subject")["in_flight"] == 1, "the call")
            shop.write("subject", "main.py", TWO)
            with asking("reload by uid 1000"):
                manager.reload("subject")
            assert who(events, "retired") == []
            opened.set()
        assert errors == []
        eventually(lambda: who(events, "retired") == ["reload by uid 1000"], "the end of the old version")


@pytest.mark.parametrize("on_change", ["first-waits", "all-wait", "serve-current"])
def test_an_event_says_how_long_ago_it_was_asked_for(shop: Workshop, on_change: str) -> None:
    """From the request to the swap, or to the refusal, all waiting included; an old version's end ends no request."""
    shop.plugin("subject", ONE)
    manager = shop.manager(on_change=on_change, debounce=0.05)
    events = heard(manager)
    manager.load("subject")
    shop.write("subject", "main.py", TWO)
    manager.execute("subject")
    eventually(lambda: who(events, "loaded") == ["start", "call"], "the reload")
    shop.write("subject", "main.py", BROKEN)
    manager.execute("subject")
    eventually(lambda: who(events, "error") == ["call"], "the refusal")
    manager.rollback("subject")
    eventually(lambda: len(who(events, "retired")) == 2, "the end of the old versions")
    for event in events:
        if event.kind == "retired":
            assert event.seconds is None
        else:
            assert event.seconds is not None, event
            assert event.seconds > 0.0
    settled = [event.seconds for event in events if event.kind in ("loaded", "error")][:3]
    assert all(seconds is not None and 0.05 <= seconds < 60 for seconds in settled), settled


def test_the_history_names_the_worker_that_was_given_a_name(shop: Workshop) -> None:
    """`{pid}` becomes the number of the process that did it; without a name nothing is said."""
    shop.plugin("subject", ONE)
    with_name: dict[str, Any] = {"worker_name": "web-{pid}", "state_dir": shop.root / "state"}
    with shop.manager(**with_name) as manager:
        manager.load("subject")
        assert manager.history("subject")[0]["worker"] == f"web-{os.getpid()}"
    with shop.manager() as manager:
        manager.load("subject")
        assert "worker" not in manager.history("subject")[0]
    again = shop.manager(**with_name)
    records = [(record["kind"], record.get("asked_by")) for record in again.history("subject")]
    assert records == [("loaded", "start"), ("unloaded", None)], "nobody said who closed it"
