"""Odd moments: things that vanish, end or raise while others are at work, each seen once by somebody."""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
import threading
from typing import Any

import pytest

from pytest_hotplug import KeptCurrent, PluginLoadError, Reloaded, Unloaded, UsageError
from pytest_hotplug.reloader import transaction
from tests.reloader.workshop import Workshop, eventually, gate, kinds, running

ONE = "def run():\n    return 1\n"


@pytest.mark.parametrize("edge", ["depends_on", "import"])
def test_a_plugin_heals_when_the_one_that_it_needs_is_mended(shop: Workshop, edge: str) -> None:
    """N12 R32: broken at the first load already, the dependency is mended: the next call of its user succeeds."""
    shop.plugin("base", "def run(:\n")
    code = f"import {shop.public('base', 'main')}\n{ONE}" if edge == "import" else ONE
    shop.plugin("user", code, {"depends_on": ["base"] if edge == "depends_on" else []})
    manager = shop.manager()
    for _ in range(2):
        with pytest.raises(PluginLoadError, match="base"):
            manager.execute("user")
    shop.write("base", "main.py", ONE)
    assert manager.execute("user") == 1


def test_a_plugin_heals_when_the_one_that_it_needs_was_loaded_by_itself(shop: Workshop) -> None:
    """N12: it does not matter who noticed that the dependency is well again."""
    shop.plugin("base", "def run(:\n")
    shop.plugin("user", ONE, {"depends_on": ["base"]})
    manager = shop.manager()
    with pytest.raises(PluginLoadError):
        manager.execute("user")
    shop.write("base", "main.py", ONE)
    assert manager.execute("base") == 1
    assert manager.execute("user") == 1


def test_a_plugin_heals_when_the_one_that_it_needs_is_enabled(shop: Workshop) -> None:
    """A dependency that was disabled and is enabled again is asked for at once, without any back-off."""
    shop.plugin("base", ONE, {"enabled": False})
    shop.plugin("user", ONE, {"depends_on": ["base"]})
    manager = shop.manager()
    with pytest.raises(PluginLoadError, match="disabled"):
        manager.execute("user")
    shop.write("base", "plugin.json", json.dumps({"enabled": True}))
    assert manager.execute("user") == 1


def test_a_broken_dependency_is_executed_once_however_often_its_user_asks(shop: Workshop) -> None:
    """F09: the user's calls do not try the same broken bytes again and again."""
    executions.clear()
    shop.plugin("base", f"from {__name__} import executions\nexecutions.append(1)\nraise RuntimeError\n")
    shop.plugin("user", ONE, {"depends_on": ["base"]})
    manager = shop.manager()
    for _ in range(5):
        with pytest.raises(PluginLoadError):
            manager.execute("user")
    assert executions == [1]


executions: list[int] = []


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_directory_hurts_no_other_plugin(shop: Workshop) -> None:
    """N15 R34: one plugin that can't be read fails by name; the others are found and served."""
    shop.plugin("well", ONE)
    shop.plugin("shut", ONE).chmod(0)
    manager = shop.manager()
    assert manager.discover() == ["shut", "well"]
    assert manager.execute("well") == 1
    with pytest.raises(PluginLoadError, match="unreadable"):
        manager.execute("shut")
    (shop.plugins / "shut").chmod(0o700)


def test_a_plugin_whose_entry_is_no_file_fails_by_name(shop: Workshop) -> None:
    """S7: a FIFO or a directory called main.py is told, not left out."""
    (shop.plugins / "odd" / "main.py").mkdir(parents=True)
    manager = shop.manager()
    assert manager.discover() == ["odd"]
    with pytest.raises(PluginLoadError, match=r"odd.*no entry module"):
        manager.execute("odd")


def test_a_directory_that_is_swapped_by_renames_never_fails_a_call(shop: Workshop) -> None:
    """D13 C05 N14: while the directory is renamed away and a new one in, calls are served by one or the other."""
    subject = shop.plugin("subject", {"main.py": ONE, "helper.py": "", "sub/deep.py": ""})
    manager = shop.manager()
    manager.execute("subject")
    over = threading.Event()

    def call() -> None:
        while not over.is_set():
            assert manager.execute("subject") in (1, 2)

    with running(*[call] * 4) as errors:
        for number in range(150):
            beside = shop.root / "beside"
            shutil.copytree(subject, beside)
            (beside / "main.py").write_text(f"def run():\n    return {1 + number % 2}\n")
            os.rename(subject, shop.root / "away")
            os.rename(beside, subject)
            shutil.rmtree(shop.root / "away")
        over.set()
    assert errors == []


@pytest.mark.parametrize("raised", ["KeyboardInterrupt", "GeneratorExit", "SystemExit"])
def test_an_end_that_raises_anything_still_ends(shop: Workshop, raised: str) -> None:
    """R8: whatever on_unload or an undo raises, the other undos run and the version retires."""
    undone.clear()
    code = (
        f"from {__name__} import undone\n"
        f"def stop(): raise {raised}\n"
        "def on_load(context):\n    context.register(undone.append, 1)\n    context.register(stop)\n"
        f"def on_unload(): raise {raised}\n{ONE}"
    )
    shop.plugin("subject", code)
    manager = shop.manager()
    events: list[Any] = []
    manager.subscribe(events.append)
    manager.execute("subject")
    manager.force_reload_plugin("subject")
    eventually(lambda: "retired" in kinds(events))
    assert undone == [1]
    assert kinds(events).count("error") == 2


undone: list[int] = []


@pytest.mark.parametrize("raised", ["SystemExit(3)", "KeyboardInterrupt()"])
def test_an_async_entry_that_exits_ends_its_call_alone(shop: Workshop, raised: str) -> None:
    """R29: the caller gets the exception; the manager's loop goes on, and so do later calls and the close."""
    shop.plugin("subject", f"async def run(end=False):\n    if end: raise {raised}\n    return 1\n")
    manager = shop.manager()
    with pytest.raises((SystemExit, KeyboardInterrupt)):
        manager.execute("subject", end=True)
    assert manager.execute("subject") == 1


def test_unloading_beside_a_load_that_takes_long_is_put_off(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """What can't be taken down while another load is under way goes on serving, and says so; nothing is raised."""
    monkeypatch.setattr(transaction, "GRACE", 0.1)
    shop.plugin("subject", ONE)
    manager = shop.manager(load_timeout=0.1)
    manager.load("subject")
    with gate("slow") as (opening, opened):
        shop.plugin("slow", opening + ONE, {"load_timeout": 60})
        with running(lambda: manager.load("slow")) as errors:
            eventually(lambda: manager._hot_loader._build is not None, "the slow load's begin")
            outcome = manager.unload("subject")
            assert (type(outcome), outcome.reason, outcome.serving) == (KeptCurrent, "loading", 1)
            shop.plugin("subject", ONE, {"enabled": False})
            outcome = manager.reload("subject")
            assert (type(outcome), outcome.reason, outcome.serving) == (KeptCurrent, "loading", 1)
            opened.set()
    assert errors == []
    assert isinstance(manager.unload("subject"), Unloaded)


def test_closing_while_calls_come_in_is_told_as_closed(shop: Workshop) -> None:
    """Calls that race with `close` either succeed or say that the manager is closed."""
    shop.plugin("base", ONE)
    shop.plugin("user", ONE, {"depends_on": ["base"]})
    for _ in range(20):
        manager = shop.manager()
        manager.execute("user")
        begun, answers = threading.Barrier(4), set[object]()

        def call(manager: Any = manager, begun: Any = begun, answers: Any = answers) -> None:
            begun.wait(10)
            while True:
                try:
                    answers.add(manager.execute("user"))
                except UsageError as error:
                    answers.add(error.slug)
                    return

        with running(*[call] * 3) as errors:
            begun.wait(10)
            manager.close()
        assert errors == []
        assert answers <= {1, "closed"}


def test_closing_from_inside_a_load_is_refused(shop: Workshop) -> None:
    """A plugin can't close the manager that is loading it; it is told so where it stands."""
    managers.clear()
    shop.plugin("subject", f"from {__name__} import managers\ndef on_load():\n    managers[0].close()\n{ONE}")
    managers.append(shop.manager())
    with pytest.raises(PluginLoadError, match=r"main\.py:3.*inside-load"):
        managers[0].load("subject")


managers: list[Any] = []


def test_a_plugin_that_another_thread_unloads_is_loaded_again(shop: Workshop) -> None:
    """`execute` loads what does not serve, also when somebody unloads it at the same moment."""
    shop.plugin("subject", ONE)
    manager = shop.manager()
    over = threading.Event()

    def unload() -> None:
        while not over.wait(0.002):
            manager.unload("subject")

    with running(unload) as errors:
        try:
            answers = {manager.execute("subject") for _ in range(200)}
        finally:
            over.set()
    assert (errors, answers) == ([], {1})


def test_a_module_that_replaces_itself_by_no_module_is_refused(shop: Workshop) -> None:
    """L06: `sys.modules[__name__] = 5` leaves no entry; the old version serves."""
    shop.plugin("subject", ONE)
    manager = shop.manager()
    manager.execute("subject")
    shop.write("subject", "main.py", "import sys\nsys.modules[__name__] = 5\n")
    assert manager.execute("subject") == 1
    assert "no-entry" in manager.get_plugin_hot_info("subject")["error"]


def test_a_callback_that_exits_hurts_nobody(shop: Workshop, caplog: Any) -> None:
    """R24: a subscriber's SystemExit is logged; the reload succeeds and the next subscriber hears of it."""
    shop.plugin("subject", ONE)
    manager = shop.manager()
    heard: list[str] = []
    loader = manager._hot_loader
    loader.register_callback("loaded", lambda name: sys.exit(3))
    loader.register_callback("loaded", heard.append)
    manager.load("subject")
    with caplog.at_level(logging.ERROR):
        assert manager.force_reload_plugin("subject")
    assert heard == ["subject", "subject"]
    assert "hotplug.callback_failed" in caplog.messages
    assert isinstance(manager.reload("subject"), object)
    shop.write("subject", "main.py", ONE + "# 2\n")
    assert isinstance(manager.reload("subject"), Reloaded)
