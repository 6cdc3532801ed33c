"""`handover: stop-first` when the old version does not let go: nobody waits for ever, and it is said."""

from __future__ import annotations

import json
import os
import threading
from typing import Any

import pytest

from pytest_hotplug import KeptCurrent, PluginLoadError, PluginManager, Reloaded
from pytest_hotplug.reloader import retirement, waiting
from tests.hazards.forking import statuses_of_children
from tests.reloader.workshop import PATIENCE, Workshop, eventually, gate, kinds, running

LIMITS = {"handover": "stop-first", "load_timeout": 0.3, "retire_timeout": 0.3}
STUCK = "def {hook}():\n    {wait}\ndef on_load(host): host.append(('load', {n}))\ndef run(): return {n}\n"


@pytest.fixture(autouse=True)
def little_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has run out of time is given up soon after."""
    monkeypatch.setattr(retirement, "GRACE", 0.1)


def served(manager: PluginManager, name: str = "subject") -> Any:
    """Return what a call on another thread answers, which must not wait."""
    answers: list[Any] = []
    with running(lambda: answers.append(manager.execute(name))) as errors:
        pass
    return errors or answers[0]


def stuck(hook: str, opening: str, n: int = 1) -> str:
    wait = "; ".join(opening.strip().splitlines())
    return STUCK.format(hook=hook, wait=wait, n=n)


def test_a_state_that_is_never_saved_leaves_the_old_version_serving(shop: Workshop) -> None:
    """A `save_state` that hangs costs `load_timeout` and its thread; calls are let in again, and are told why."""
    with gate("save") as (opening, _):
        shop.plugin("subject", stuck("save_state", opening), LIMITS)
        manager = shop.manager()
        said: list[Any] = []
        manager._host.set(said)
        manager.load("subject")
        events: list[Any] = []
        manager.subscribe(events.append)
        shop.write("subject", "main.py", stuck("save_state", opening, 2))
        outcome = manager.reload("subject")
        assert isinstance(outcome, KeptCurrent)
        assert outcome.error is not None
        assert (outcome.serving, outcome.error.slug) == (1, "load-timeout")
        assert "save_state" in outcome.error.message
        assert kinds(events) == ["kept", "error"]
        assert "[load-timeout]" in events[1].message
        manager.disable_hot_reload()
        assert served(manager) == 1
        assert said == [("load", 1)], "the old version was never taken down"
        assert manager.get_plugin_hot_info("subject")["state"] == "degraded"


def test_an_on_unload_that_never_ends_has_the_old_bytes_serve_again(shop: Workshop) -> None:
    """Once its end has begun a version is not called again: its bytes are loaded anew, and the hang is told."""
    with gate("unload") as (opening, _):
        shop.plugin("subject", stuck("on_unload", opening), LIMITS)
        manager = shop.manager()
        said: list[Any] = []
        manager._host.set(said)
        manager.load("subject")
        events: list[Any] = []
        manager.subscribe(events.append)
        waiting: list[Any] = []
        shop.write("subject", "main.py", stuck("on_unload", opening, 2))
        manager.disable_hot_reload()
        outcomes: list[Any] = []
        with running(lambda: outcomes.append(manager.reload("subject"))):
            eventually(lambda: "subject" in manager._leases._gated, "the gate")
            with running(lambda: waiting.append(manager.execute("subject"))) as errors:
                pass
        assert (errors, waiting) == ([], [1]), "a call that came meanwhile is let in"
        (outcome,) = outcomes
        assert isinstance(outcome, KeptCurrent)
        assert outcome.error is not None
        assert (outcome.serving, outcome.error.slug) == (2, "unload-timeout")
        assert "generation 1" in outcome.error.message
        assert said == [("load", 1), ("load", 1)]
        assert kinds(events)[:3] == ["kept", "error", "loaded"]
        assert "[unload-timeout]" in events[1].message


def test_a_version_whose_end_hangs_serves_on_when_its_bytes_cannot_be_loaded_again(shop: Workshop) -> None:
    """What it still holds keeps its own successor out; then it is better than nothing, and that is said."""
    with gate("unload") as (opening, _):
        main = "def on_load(host):\n    assert not host, 'taken'\n    host.append(1)\n"
        main += stuck("on_unload", opening).replace("def on_load", "def unused")
        shop.plugin("subject", main, LIMITS)
        manager = shop.manager()
        manager._host.set([])
        manager.load("subject")
        shop.write("subject", "main.py", main + "# edited\n")
        outcome = manager.reload("subject")
        assert outcome.error is not None
        assert (outcome.serving, outcome.error.slug) == (1, "unload-timeout")
        manager.disable_hot_reload()
        assert served(manager) == 1
        manager._host.get().clear()
        assert manager.force_reload_plugin("subject"), "its on_unload is not begun a second time"
        assert manager.get_plugin_hot_info("subject")["generation"] == 2


def test_a_dependency_is_not_loaded_again_for_a_dependent_that_hangs(shop: Workshop) -> None:
    """Only what was taken down is set up again: a plugin whose turn never came serves on as it is."""
    with gate("unload") as (opening, _):
        base = "def on_load(host): host.append('load base')\ndef on_unload(host): host.append('unload base')\n"
        shop.plugin("base", base + "def run(): return 'base'\n", LIMITS)
        shop.plugin("user", stuck("on_unload", opening), {**LIMITS, "depends_on": ["base"]})
        manager = shop.manager()
        said: list[Any] = []
        manager._host.set(said)
        manager.load("user")
        shop.write("base", "main.py", base + "def run(): return 'new'\n")
        outcome = manager.reload("base")
        assert outcome.error is not None
        assert (outcome.error.plugin, outcome.error.slug) == ("user", "unload-timeout")
        assert said == ["load base", ("load", 1), ("load", 1)]
        manager.disable_hot_reload()
        assert (served(manager, "base"), served(manager, "user")) == ("base", 1)


def test_two_handovers_that_meet_take_each_version_down_once(shop: Workshop) -> None:
    """A plugin and its dependent that both change at once: the one waits for the other, and nothing ends twice."""
    main = "N = {n}\ndef on_unload(host, context): host.append((context.name, context.generation))\n"
    inside, opened = threading.Event(), threading.Event()
    wait = "def hold(inside, opened):\n    inside.set()\n    opened.wait(10)\n"
    manifest = {"handover": "stop-first", "retire_timeout": PATIENCE}
    shop.plugin("base", main.format(n=1) + "def run(): return 1\n" + wait, manifest)
    shop.plugin("user", main.format(n=1) + "def run(): return 1\n", {**manifest, "depends_on": ["base"]})
    manager = shop.manager()
    said: list[Any] = []
    manager._host.set(said)
    manager.load("user")
    outcomes: dict[str, Any] = {}
    with running(lambda: manager.call("base", "hold", inside, opened)) as errors:
        assert inside.wait(PATIENCE)
        shop.write("base", "main.py", main.format(n=2) + "def run(): return 2\n")
        with running(lambda: outcomes.update(base=manager.reload("base"))):
            eventually(lambda: {"base", "user"} <= set(manager._leases._gated), "the first one's gate")
            shop.write("user", "main.py", main.format(n=2) + "def run(): return 2\n")
            with running(lambda: outcomes.update(user=manager.reload("user"))):
                opened.set()
    assert errors == []
    assert all(isinstance(outcome, Reloaded) for outcome in outcomes.values()), outcomes
    assert len(said) > 2
    assert len(said) == len(set(said)), "nothing ends twice"
    assert (served(manager, "base"), served(manager, "user")) == (2, 2)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_that_is_forked_during_a_handover_finds_the_gate_open(shop: Workshop) -> None:
    """N10: the thread that would open it exists in the parent alone; calls in the child must not wait for it."""
    with gate("unload") as (opening, opened):
        shop.plugin("subject", stuck("on_unload", opening), {**LIMITS, "retire_timeout": 60})
        manager = shop.manager()
        manager._host.set([])
        manager.load("subject")
        shop.write("subject", "main.py", "def run(): return 2\n")
        with running(lambda: manager.reload("subject")):
            eventually(lambda: manager._leases._gated, "the gate")
            manager.disable_hot_reload()
            statuses = statuses_of_children(lambda: manager.execute("subject") == 1, 1)
            manager.enable_hot_reload()
            opened.set()
        assert statuses == [0]
        assert manager.execute("subject") == 2


def test_an_on_unload_that_never_ends_is_told_where_nobody_waits_for_it_too(shop: Workshop) -> None:
    """With `handover: beside` the new version serves at once; past `retire_timeout` it is said who does not end."""
    with gate("unload") as (opening, _):
        shop.plugin("subject", stuck("on_unload", opening), {"retire_timeout": 0.2})
        manager = shop.manager()
        manager._host.set([])
        manager.load("subject")
        told = threading.Event()
        texts: list[str] = []

        def hear(name: str, text: str) -> None:
            texts.append(text)
            told.set()

        manager._hot_loader.register_callback("error", hear)
        shop.write("subject", "main.py", "def run(): return 2\n")
        assert manager.execute("subject") == 2
        assert told.wait(PATIENCE)
        assert "[retire-problem]" in texts[0]
        assert "has not ended within 0.2 s" in texts[0]


def test_an_old_version_that_refuses_its_own_state_serves_on_without_it(shop: Workshop) -> None:
    """X04 R31: when the new version fails the old one serves again, whatever it makes of the state that it saved."""
    main = "N = {n}\nHAD = []\ndef save_state(): return 'saved'\ndef run(): return N, HAD\n"
    strict = (
        main + "def load_state(state, from_version):\n    HAD.append(state)\n    raise ValueError('not this one')\n"
    )
    shop.plugin("base", strict.format(n=1), {"handover": "stop-first"})
    shop.plugin("user", main.format(n=1) + "def load_state(s, v): HAD.append(s)\n", {"depends_on": ["base"]})
    manager = shop.manager()
    manager.load("user")
    events: list[Any] = []
    manager.subscribe(events.append)
    shop.write("base", "main.py", "def run(:\n")
    assert isinstance(manager.reload("base"), KeptCurrent), "a version that doesn't even compile stops nothing"
    assert served(manager, "base") == (1, [])
    shop.write("base", "main.py", "raise RuntimeError(2)\n")
    outcome = manager.reload("base")
    assert isinstance(outcome, KeptCurrent)
    assert outcome.serving == manager.get_plugin_hot_info("base")["generation"] == 2
    assert served(manager, "base") == (1, []), "a fresh one, without anything of the state"
    assert served(manager, "user") == (1, ["saved"]), "the others have theirs"
    (lost,) = [event for event in events if event.error is not None and event.error.slug == "state-lost"]
    assert lost.plugin == "base"
    assert "not this one" in lost.message


def test_a_gate_opens_as_soon_as_the_last_call_ends(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """X04: also where other plugins go on using the generation on which that call ran; nobody looks at a clock."""
    monkeypatch.setattr(waiting, "SLICE", 10 * PATIENCE)
    main = "N = {n}\ndef run(): return N\ndef stream(): yield N\n"
    shop.plugin("base", main.format(n=1), {"handover": "stop-first", "retire_timeout": 10 * PATIENCE})
    shop.plugin("user", "from ..base import main\ndef run(): pass\n", {"depends_on": ["base"]})
    manager = shop.manager()
    manager.load("user")
    stream = manager.call("base", "stream")
    assert next(stream) == 1
    shop.write("base", "main.py", main.format(n=2))
    outcomes: list[Any] = []
    with running(lambda: outcomes.append(manager.reload("base"))):
        eventually(lambda: manager._leases._gated and manager._leases._changed._waiters, "a handover that waits")
        stream.close()
    assert isinstance(outcomes[0], Reloaded)


ALONE = """
N = {n}
def on_load(host):
    assert not host, f'{{N}} meets {{host}}'
    host.append(N)
def on_unload(host): host.remove(N)
def run(): return N
def stream():
    while True: yield N
"""


@pytest.mark.parametrize("asked", ["alone", "user", "importer"])
@pytest.mark.parametrize("away", ["unload", "disable"])
def test_a_plugin_that_comes_back_waits_for_the_calls_of_before(shop: Workshop, away: str, asked: str) -> None:
    """X04: two generations that must not overlap don't, also where nothing served in between, and whoever needs it."""
    manifest = {"handover": "stop-first", "retire_timeout": PATIENCE}
    shop.plugin("alone", ALONE.format(n=1), manifest)
    shop.plugin("user", "def run():\n    from ..alone import main\n    return main.N\n", {"depends_on": ["alone"]})
    shop.plugin("importer", "from ..alone import main\ndef run(): return main.N\n")
    manager = shop.manager()
    manager._host.set([])
    stream = manager.call("alone", "stream")
    assert next(stream) == 1
    if away == "unload":
        manager.unload("alone")
    else:
        shop.write("alone", "plugin.json", json.dumps({**manifest, "enabled": False}))
        manager.reload("alone")
    shop.plugin("alone", ALONE.format(n=2), manifest)
    answers: list[Any] = []
    with running(lambda: answers.append(manager.execute(asked))) as errors:
        eventually(lambda: manager._hot_loader._retirement._gone._waiters, "a load that waits")
        assert (next(stream), answers) == (1, [])
        stream.close()
    assert (errors, answers) == ([], [2])


def test_a_plugin_that_comes_back_while_calls_of_before_do_not_end_is_told_so(shop: Workshop) -> None:
    """X04: past retire_timeout the first load is refused; it is tried again once they have ended."""
    shop.plugin("alone", ALONE.format(n=1), {"handover": "stop-first", "retire_timeout": 0.05})
    manager = shop.manager()
    manager._host.set([])
    stream = manager.call("alone", "stream")
    assert next(stream) == 1
    manager.unload("alone")
    with pytest.raises(PluginLoadError, match="calls-in-flight"):
        manager.execute("alone")
    stream.close()
    assert manager.execute("alone") == 1


def test_a_plugin_that_comes_back_waits_no_longer_than_an_end_may_take(shop: Workshop) -> None:
    """X04: an `on_unload` that hangs, of a version that was unloaded, does not keep the plugin away for ever."""
    with gate("unload") as (opening, _):
        shop.plugin("subject", stuck("on_unload", opening), LIMITS)
        manager = shop.manager()
        manager._host.set([])
        manager.load("subject")
        manager.unload("subject")
        assert manager.execute("subject") == 1
