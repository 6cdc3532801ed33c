"""Why a version serves, who keeps an old one alive, and which lines of a plugin are subject to a known limit."""

from __future__ import annotations

import functools
import gc
import os
import shutil
import time
from typing import Any

import pytest

from pytest_hotplug import PluginManager
from pytest_hotplug.reloader.why import VERDICTS
from tests.reloader.workshop import Workshop, eventually

THING = "class Thing:\n    def hello(self): return 1\ndef run(): return Thing()\n"
registry: dict[str, Any] = {}  # a host's registry


@functools.singledispatch
def render(value: object) -> str:
    """Stand for a host's function that plugins register their classes with."""
    return ""


@pytest.fixture
def manager(shop: Workshop) -> PluginManager:
    """Serve a plugin with a class."""
    shop.plugin("subject", THING)
    manager = shop.manager()
    manager.load("subject")
    return manager


def test_nobody_holds_a_clean_plugin(manager: PluginManager) -> None:
    """M01: after reloads of a plugin that leaves nothing behind there is nobody to name."""
    for _ in range(3):
        manager.force_reload_plugin("subject")
    told = manager.why("subject")
    assert (told["verdict"], told["holders"]) == ("current", [])
    assert manager.get_plugin_hot_info("subject")["generations_alive"] == 1


def test_a_registry_that_holds_an_old_instance_is_named(manager: PluginManager) -> None:
    """X07 X08: the chain begins at the module that holds it, and ends at the class with its line."""
    registry["handler"] = manager.execute("subject")
    manager.force_reload_plugin("subject")
    (holder,) = manager.why("subject")["holders"]
    assert holder["generation"] == 1
    assert holder["chain"] == [f"module {__name__}", "['registry']", "['handler']"]
    assert (holder["held"], holder["place"]) == ("an instance of Thing", "main.py:1")
    registry.clear()
    assert manager.why("subject")["holders"] == []


def test_what_was_frozen_is_searched_too(manager: PluginManager) -> None:
    """Watch mode forks its runs from a frozen heap: the answer is the same there."""
    registry["handler"] = manager.execute("subject")
    gc.collect()
    gc.freeze()
    manager.force_reload_plugin("subject")
    (holder,) = manager.why("subject")["holders"]
    assert holder["chain"] == [f"module {__name__}", "['registry']", "['handler']"]
    registry.clear()


def test_a_class_in_a_dispatch_registry_is_named(shop: Workshop) -> None:
    """X07: `singledispatch.register` of a host's function keeps the class; the answer says which and where."""
    code = f"from {__name__} import render\nclass Own: pass\nrender.register(Own, lambda value: 'x')\ndef run(): pass\n"
    shop.plugin("subject", code)
    manager = shop.manager()
    manager.load("subject")
    manager.force_reload_plugin("subject")
    told = manager.why("subject")
    assert [holder["generation"] for holder in told["holders"]] == [1]
    assert "main.py:" in told["lines"][0]
    assert f"module {__name__} -> ['render'] -> function render -> ['registry']" in told["lines"][0]
    manager.close()
    table = _dispatch_table()
    for kind in [kind for kind in table if kind is not object]:
        del table[kind]
    render._clear_cache()
    gc.collect()


def _dispatch_table() -> dict[Any, Any]:
    cells = dict(zip(render.dispatch.__code__.co_freevars, render.dispatch.__closure__ or (), strict=True))
    return cells["registry"].cell_contents


def test_a_class_without_any_code_is_named(shop: Workshop) -> None:
    """L09: a bare class or an enum member that the host kept holds no code of its version, and is found."""
    code = "import enum\nclass Bare: x = 1\nclass Colour(enum.Enum): RED = 1\ndef run(): return Bare, Colour.RED\n"
    shop.plugin("subject", code)
    manager = shop.manager()
    registry["kept"] = manager.execute("subject")
    manager.force_reload_plugin("subject")
    told = manager.why("subject")
    assert sorted(holder["held"] for holder in told["holders"]) == ["an instance of Colour", "class Bare"]
    assert all("['registry']" in holder["chain"] for holder in told["holders"])
    assert told["lines"][0].startswith("an older version: ")
    registry.clear()
    assert manager.why("subject")["holders"] == []


def test_what_a_refused_version_left_behind_is_named(shop: Workshop, manager: PluginManager) -> None:
    """F11: a function that a failed import had registered with the host keeps that version; it is told."""
    code = f"from {__name__} import registry\ndef late(): pass\nregistry['late'] = late\nraise RuntimeError\n"
    shop.write("subject", "main.py", code)
    manager.reload("subject")
    (holder,) = manager.why("subject")["holders"]
    assert (holder["generation"], holder["held"]) == (2, "function late")
    registry.clear()


def test_a_variable_of_a_running_function_is_named(manager: PluginManager) -> None:
    """What a function of the host holds in a variable is found although the collector doesn't tell of it."""
    thing = manager.execute("subject")
    manager.force_reload_plugin("subject")
    (holder,) = manager.why("subject")["holders"]
    assert "variable 'thing' of test_a_variable_of_a_running_function_is_named" in holder["chain"][0]
    assert thing.hello() == 1


def test_every_verdict_says_why_in_a_word(shop: Workshop, manager: PluginManager) -> None:
    """R34 R36: nothing new, same content, an ignored file, paused, rolled back, refused, root missing."""
    subject = shop.plugins / "subject"

    def verdict(wanted: str) -> str:
        told = manager.why("subject")
        assert told["verdict"] == wanted, told
        assert told["verdict"] in VERDICTS
        return str(told["text"])

    verdict("current")
    os.utime(subject / "main.py", (time.time() + 5, time.time() + 5))
    manager.reload("subject")
    verdict("same-content")
    (subject / "test_own.py").write_text("")
    os.utime(subject / "test_own.py", (time.time() + 5, time.time() + 5))
    assert "test_own.py" in verdict("ignored-file")
    manager.pause("subject", "release freeze")
    assert "release freeze" in verdict("paused")
    manager.resume("subject")
    shop.write("subject", "main.py", THING + "# 2\n")
    manager.execute("subject")
    manager.rollback("subject")
    verdict("rolled-back")
    shop.write("subject", "main.py", "def run(:\n")
    manager.reload("subject")
    assert "syntax-error" in verdict("refused")
    shop.write("subject", "main.py", THING)
    manager.reload("subject")
    shutil.move(shop.plugins, shop.root / "away")
    verdict("root-missing")
    shutil.move(shop.root / "away", shop.plugins)
    manager.disable_hot_reload()
    assert "disabled" in verdict("paused")


def test_a_refusal_through_a_dependency_and_the_next_try_are_told(shop: Workshop) -> None:
    """N12 R31: which plugin is to blame, and when it is tried again."""
    shop.plugin("base", "VALUE = 1\ndef run(): pass\n")
    shop.plugin("user", "from ..base.main import VALUE\ndef run(): return VALUE\n", {"depends_on": ["base"]})
    manager = shop.manager()
    manager.execute("user")
    shop.write("base", "main.py", "def run(): pass\n")
    manager.reload("base")
    told = manager.why("base")
    assert told["verdict"] == "dependency-refused"
    assert 0 < told["next_try"] <= 1


def test_a_dead_watcher_is_told(manager: PluginManager) -> None:
    """R36: when the watcher has ended, the verdict says that calls still check."""
    manager.start_watching()
    watching = manager._watched.running
    assert watching is not None
    watching.stop()
    eventually(lambda: not watching.alive)
    assert manager.why("subject")["verdict"] == "watcher-down"


def test_lines_subject_to_a_known_limit_are_named(shop: Workshop) -> None:
    """N08: what old code does by name, and what leaves its snapshot, is found at load with file and line."""
    code = (
        "import pickle, sys, typing\nfrom pathlib import Path\nfrom concurrent.futures import ProcessPoolExecutor\n"
        "AT_IMPORT = Path(__file__), sys.modules\n"
        "def run():\n"
        "    sys.modules[__name__]\n"
        "    typing.get_type_hints(dict)\n"
        "    pickle.dumps(1)\n"
        "    Path(__file__)\n"
        "def pool():\n"
        "    return ProcessPoolExecutor()\n"
    )
    shop.plugin("subject", code)
    manager = shop.manager()
    manager.load("subject")
    limits = manager.why("subject")["limits"]
    assert sorted(line.split(": ")[0] for line in limits) == sorted(f"main.py:{n}" for n in (6, 7, 8, 9, 11))


def test_asking_keeps_nothing_alive(manager: PluginManager) -> None:
    """Asking who holds an old generation does not hold it: afterwards it is freed as ever."""
    registry["handler"] = manager.execute("subject")
    manager.force_reload_plugin("subject")
    assert manager.why("subject")["holders"] != []
    registry.clear()
    gc.collect()
    assert manager.get_plugin_hot_info("subject")["generations_alive"] == 1
