"""The names that hosts rely on, one by one, and the rules behind each."""

from __future__ import annotations

import asyncio
import dataclasses
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import pytest_hotplug
from pytest_hotplug import (
    Generation,
    KeptCurrent,
    ParameterError,
    PluginDisabled,
    PluginLoadError,
    PluginManager,
    Reloaded,
    Unchanged,
    UnknownPlugin,
    Unloaded,
    UsageError,
    get_hot_loader,
    plugin_manager,
)
from pytest_hotplug.reloader.errors import InvalidPluginName
from tests.reloader.workshop import PATIENCE, Workshop, eventually, gate, kinds, running

CODE = "N = {n}\ndef run(x=0): return N + x\ndef other(a, *, b=1): return N, a, b\n"
INFO_KEYS = {
    "name",
    "version",
    "state",
    "loaded",
    "has_updates",
    "load_time",
    "digest",
    "generation",
    "reload_count",
    "error",
    "in_flight",
    "generations_alive",
    "depends_on",
    "path",
}


@pytest.fixture
def manager(shop: Workshop) -> PluginManager:
    shop.plugin("greeter", {"main.py": CODE.format(n=1), "helper.py": "def h(): return 'h'\n"}, {"version": "1.0"})
    return shop.manager()


def edit(shop: Workshop, number: int) -> None:
    shop.write("greeter", "main.py", CODE.format(n=number))


# -- what there is -------------------------------------------------------------------------------


def test_discover_lists_plugins_and_executes_nothing(shop: Workshop, manager: PluginManager) -> None:
    """`discover()` gives sorted names; hidden directories, plain ones and odd names are no plugins."""
    shop.plugin("another", "raise SystemExit('executed')\n")
    shop.plugin("bare", {"code.py": ""}, {"entry_point": "code.f"})
    for name in ("Upper", "with-dash", "1st", ".hidden", "con", "class"):
        shop.plugin(name, "def run(): pass\n")
    shop.write("no_plugin", "code.py", "")
    (shop.plugins / "file.py").touch()
    assert manager.discover() == ["another", "bare", "greeter"]
    assert manager.get_plugin_hot_info("another")["state"] == "not-loaded"


def test_exclude_leaves_plugins_out(shop: Workshop, manager: PluginManager) -> None:
    """`exclude` takes patterns of names."""
    shop.plugin("old_one", "def run(): pass\n")
    assert shop.manager(exclude=["old_*"]).discover() == ["greeter"]


def test_a_missing_plugin_dir_holds_no_plugins(shop: Workshop) -> None:
    """A plugin dir that isn't there yet is no error, and is found when it comes."""
    manager = shop.manager(plugin_dirs=[shop.root / "later"])
    assert manager.discover() == []
    (shop.root / "later" / "late").mkdir(parents=True)
    (shop.root / "later" / "late" / "main.py").write_text("def run(): return 1\n")
    assert manager.execute("late") == 1


def test_two_directories_with_one_name_are_a_configuration_error(shop: Workshop, manager: PluginManager) -> None:
    """`[duplicate-plugin]` names both."""
    twin = shop.root / "more" / "greeter"
    twin.mkdir(parents=True)
    (twin / "main.py").touch()
    both = shop.manager(plugin_dirs=[shop.plugins, shop.root / "more"])
    with pytest.raises(UsageError, match=r"\[duplicate-plugin\]") as caught:
        both.discover()
    assert str(twin) in str(caught.value)
    assert str(shop.plugins / "greeter") in str(caught.value)


def test_a_manager_is_cheap_to_make(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Making one reads no settings file, imports nothing, starts no thread and writes nothing."""
    (shop.root / "pyproject.toml").write_text("[tool.hotplug]\nplugin_dirs = ['wrong']\nbad = 1\n")
    monkeypatch.chdir(shop.root)
    modules, threads = set(sys.modules), set(threading.enumerate())
    manager = PluginManager(plugin_dirs=[shop.package])
    assert manager.plugin_dirs == (shop.plugins,)
    assert set(sys.modules) == modules
    assert set(threading.enumerate()) <= threads  # one that was there may have ended meanwhile
    assert [path.name for path in shop.root.iterdir() if path.name.startswith(".hotplug")] == []


def test_an_unknown_setting_offers_the_near_one() -> None:
    """Settings are keywords; a misspelled one is told."""
    with pytest.raises(UsageError, match=r"did you mean 'debounce'\?.*\[bad-setting\]"):
        PluginManager(debunce=1)


# -- load, execute, call, module -----------------------------------------------------------------


def test_load_returns_a_frozen_generation(manager: PluginManager) -> None:
    """R6: name, number, version, digest, load time and modules are facts that nobody changes."""
    before = time.time()
    generation = manager.load("greeter")
    assert isinstance(generation, Generation)
    assert (generation.name, generation.number, generation.version) == ("greeter", 1, "1.0")
    assert len(generation.digest) == 32
    assert before <= generation.loaded_at <= time.time()
    assert any(name.endswith(".greeter.main") for name in generation.modules)
    assert manager.load("greeter") is generation
    with pytest.raises(dataclasses.FrozenInstanceError):
        generation.number = 2  # type: ignore[misc]
    with pytest.raises(TypeError):
        generation.modules["x"] = sys  # type: ignore[index]


def test_execute_runs_the_newest_code(shop: Workshop, manager: PluginManager) -> None:
    """R10 R11 R12 R20: the call after an edit runs the edit, without anything else being done."""
    assert manager.execute("greeter", x=1) == 2
    edit(shop, 5)
    assert manager.execute("greeter", x=1) == 6
    assert manager.get_plugin_hot_info("greeter")["reload_count"] == 1


def test_call_reaches_any_function(manager: PluginManager) -> None:
    """`call` takes a function of the entry module, or `module.function`, with any arguments."""
    assert manager.call("greeter", "other", 7, b=8) == (1, 7, 8)
    assert manager.call("greeter", "helper.h") == "h"
    assert manager.call("greeter", "helper:h") == "h"


@pytest.mark.parametrize("function", ["ohter", "helper.hh", "hepler.h", "N", "os.system"])
def test_calling_what_is_not_there_is_a_usage_error(manager: PluginManager, function: str) -> None:
    """`[unknown-function]`, and nothing stays leased."""
    with pytest.raises(UsageError, match=r"\[unknown-function\]"):
        manager.call("greeter", function)
    assert manager.get_plugin_hot_info("greeter")["in_flight"] == 0


def test_module_gives_the_current_object_without_a_check(shop: Workshop, manager: PluginManager) -> None:
    """`module()` follows reloads, but starts none; "" is the package itself."""
    first = manager.module("greeter", "main")
    assert manager.module("greeter").__name__ == shop.public("greeter")
    edit(shop, 2)
    assert manager.module("greeter", "main") is first
    manager.reload("greeter")
    assert manager.module("greeter", "main").N == 2
    with pytest.raises(ModuleNotFoundError, match="nothing"):
        manager.module("greeter", "nothing")


def test_a_plugin_without_an_entry_is_called_by_function(shop: Workshop) -> None:
    """`entry = ""`: `execute` is a usage error `[no-entry]`, `call` works."""
    shop.plugin("library", {"__init__.py": "def f(): return 1\n"}, {})
    manager = shop.manager(entry="")
    with pytest.raises(UsageError, match=r"\[no-entry\]"):
        manager.execute("library")
    assert manager.call("library", "f") == 1


@pytest.mark.parametrize("name", ["../greeter", "a/b", "/etc", "a.b", "", "x" * 65, "grüße", "greeter\n", "Greeter"])
def test_a_name_that_could_never_be_a_plugins_is_told_so(manager: PluginManager, name: str) -> None:
    """S1: no name is ever joined to a path."""
    for verb in (manager.execute, manager.load, manager.reload, manager.get_plugin_hot_info, manager.pause):
        with pytest.raises(InvalidPluginName, match=r"\[invalid-name\]"):
            verb(name)


def test_an_unknown_name_offers_the_near_one(manager: PluginManager) -> None:
    """UnknownPlugin is a LookupError that offers the nearest name, else lists what there is."""
    with pytest.raises(UnknownPlugin, match=r"did you mean 'greeter'\?") as caught:
        manager.execute("greter")
    assert isinstance(caught.value, LookupError)
    assert caught.value.near == ["greeter"]
    with pytest.raises(UnknownPlugin, match="Known plugins: greeter"):
        manager.reload("zzz")


def test_a_disabled_plugin_is_listed_and_not_loaded(shop: Workshop, manager: PluginManager) -> None:
    """`enabled: false`: PluginDisabled when asked for, unloaded when it is edited in, loaded when edited out."""
    shop.write("greeter", "plugin.json", '{"enabled": false}')
    with pytest.raises(PluginDisabled, match="greeter is disabled"):
        manager.execute("greeter")
    assert manager.discover() == ["greeter"]
    assert manager.get_plugin_hot_info("greeter")["state"] == "disabled"
    shop.write("greeter", "plugin.json", "{}")
    assert manager.execute("greeter") == 1
    shop.write("greeter", "plugin.json", '{"enabled": false}')
    outcome = manager.reload("greeter")
    assert (type(outcome), outcome.reason) == (Unloaded, "disabled")
    with pytest.raises(PluginDisabled):
        manager.execute("greeter")


def test_arguments_are_checked_before_the_entry_runs(shop: Workshop, manager: PluginManager) -> None:
    """ParameterError is a ValueError that names the parameter; the entry isn't called."""
    shop.write("greeter", "plugin.json", '{"parameters": {"x": {"type": "integer", "required": true}}}')
    with pytest.raises(ParameterError, match=r"'x' is required.*\[missing-parameter\]"):
        manager.execute("greeter")
    with pytest.raises(ValueError, match=r"'x' must be an integer, got str 'a'.*\[bad-parameter\]"):
        manager.execute("greeter", x="a")
    with pytest.raises(ParameterError, match=r"'y'.*\[unknown-parameter\]"):
        manager.execute("greeter", x=1, y=2)
    assert manager.get_plugin_hot_info("greeter")["in_flight"] == 0


# -- async ---------------------------------------------------------------------------------------

ASYNC = """
import asyncio, threading
async def run():
    await asyncio.sleep(0)
    return threading.current_thread().name
def sync(): return threading.current_thread().name
"""


def test_an_async_entry_runs_to_its_end_outside_a_loop(shop: Workshop) -> None:
    """`execute` of an async entry returns its result, run on the manager's own loop thread."""
    shop.plugin("waiter", ASYNC)
    manager = shop.manager()
    assert manager.execute("waiter") == "hotplug-loop"
    assert manager.execute("waiter") == "hotplug-loop"


def test_execute_of_an_async_entry_inside_a_loop_names_aexecute(shop: Workshop) -> None:
    """Inside a running loop it would block the loop: UsageError says what to await."""
    shop.plugin("waiter", ASYNC)
    manager = shop.manager()

    async def inside(verb: Any, *what: str) -> None:
        verb("waiter", *what)

    with pytest.raises(UsageError, match="aexecute"):
        asyncio.run(inside(manager.execute))
    with pytest.raises(UsageError, match="acall"):
        asyncio.run(inside(manager.call, "run"))
    assert manager.get_plugin_hot_info("waiter")["in_flight"] == 0


def test_aexecute_awaits_async_and_runs_sync_in_a_thread(shop: Workshop) -> None:
    """An async entry runs on the caller's loop, a sync one never holds the loop up; loads neither."""
    shop.plugin("waiter", ASYNC + "import threading\nLOADED_ON = threading.current_thread().name\n")
    manager = shop.manager()

    async def both() -> tuple[str, str]:
        return await manager.aexecute("waiter"), await manager.acall("waiter", "sync")

    main, other = asyncio.run(both())
    assert main == threading.current_thread().name
    assert other not in (main, "hotplug-loop")
    assert main != manager.module("waiter", "main").LOADED_ON


# -- check and on_change -------------------------------------------------------------------------


@contextmanager
def slow_edit(shop: Workshop) -> Iterator[threading.Event]:
    """Edit the greeter so that its import waits for the event."""
    with gate("greeter") as (waiting, go):
        shop.write("greeter", "main.py", waiting + CODE.format(n=2))
        yield go


def test_all_wait_lets_every_call_run_on_the_new_version(shop: Workshop, manager: PluginManager) -> None:
    """`on_change = "all-wait"`: what fixtures use; no call runs on old code once the edit is there."""
    waiting = shop.manager(on_change="all-wait")
    waiting.load("greeter")
    answers: list[int] = []
    with slow_edit(shop) as go, running(*[lambda: answers.append(waiting.execute("greeter"))] * 4) as errors:
        eventually(lambda: waiting._hot_loader._build is not None, "the load")
        assert answers == []
        go.set()
    assert (errors, answers) == ([], [2] * 4)


def test_serve_current_lets_nobody_wait(shop: Workshop) -> None:
    """`on_change = "serve-current"`: the call that notices runs on old code at once; the reload runs beside."""
    shop.plugin("greeter", CODE.format(n=1))
    manager = shop.manager(on_change="serve-current")
    manager.load("greeter")
    with slow_edit(shop) as go:
        assert [manager.execute("greeter") for _ in range(5)] == [1] * 5  # though the import waits for us
        go.set()
        eventually(lambda: manager.execute("greeter") == 2, "the new version")


def test_a_plugin_with_no_generation_makes_every_caller_wait(shop: Workshop) -> None:
    """The first load is waited for by all, and happens once."""
    shop.plugin("greeter", "")
    manager = shop.manager(on_change="serve-current")
    loads: list[str] = []
    manager._hot_loader.register_callback("loaded", loads.append)
    answers: list[int] = []
    with slow_edit(shop) as go, running(*[lambda: answers.append(manager.execute("greeter"))] * 4) as errors:
        eventually(lambda: manager._hot_loader._build is not None, "the load")
        go.set()
    assert (errors, answers, loads) == ([], [2] * 4, ["greeter"])


def test_disabled_hot_reload_checks_nothing_and_applies_the_edit_later(shop: Workshop, manager: PluginManager) -> None:
    """R13 R14 R15 R35: the pending edit is applied once hot reload is enabled again."""
    assert manager.hot_reload_enabled is True
    manager.execute("greeter")
    manager.disable_hot_reload()
    edit(shop, 2)
    assert manager.hot_reload_enabled is False
    assert manager.execute("greeter") == 1
    assert manager.get_plugin_hot_info("greeter")["has_updates"] is True
    manager.enable_hot_reload()
    assert manager.execute("greeter") == 2


def test_a_paused_plugin_is_not_checked_until_it_is_resumed(shop: Workshop, manager: PluginManager) -> None:
    """`pause(name, reason)` holds one plugin, others go on; `resume` applies the edit."""
    shop.plugin("free", CODE.format(n=1))
    manager.execute("greeter")
    manager.execute("free")
    manager.pause("greeter", "a release is under way")
    edit(shop, 2)
    shop.write("free", "main.py", CODE.format(n=2))
    assert (manager.execute("greeter"), manager.execute("free")) == (1, 2)
    assert manager.get_plugin_hot_info("greeter")["state"] == "paused"
    manager.resume("greeter")
    assert manager.execute("greeter") == 2


def test_a_paused_dependency_is_not_reloaded_by_its_user(shop: Workshop, manager: PluginManager) -> None:
    """A pause holds against the check of a plugin that depends on the paused one."""
    shop.plugin("user", f"from {shop.package}.greeter.main import N\ndef run(): return N\n")
    manager.execute("user")
    manager.pause("greeter")
    edit(shop, 2)
    shop.write("user", "main.py", f"from {shop.package}.greeter.main import N\ndef run(): return N, 'new'\n")
    assert manager.execute("user") == (1, "new")
    manager.resume("greeter")
    assert manager.execute("user") == (2, "new")


# -- reload, force, unload -----------------------------------------------------------------------


def test_reload_acts_on_changed_content_only(shop: Workshop, manager: PluginManager) -> None:
    """R5 R18: Unchanged with its reason, Reloaded with the number that serves."""
    manager.load("greeter")
    assert manager.reload("greeter") == Unchanged(name="greeter", serving=1, reason="same-content")
    edit(shop, 2)
    assert manager.reload("greeter") == Reloaded(name="greeter", serving=2)


def test_force_reload_makes_a_fresh_generation(shop: Workshop, manager: PluginManager) -> None:
    """R22: True when a fresh generation serves, even of the same content; False when it was refused."""
    manager.load("greeter")
    assert manager.force_reload_plugin("greeter") is True
    assert manager.get_plugin_hot_info("greeter")["generation"] == 2
    shop.write("greeter", "main.py", "def run(:\n")
    assert manager.force_reload_plugin("greeter") is False
    assert manager.execute("greeter") == 1


def test_unload_takes_a_plugin_out_of_service(shop: Workshop, manager: PluginManager) -> None:
    """R7 R8: nothing of it is left in sys.modules; the next execution loads it again."""
    manager.load("greeter")
    assert manager.unload("greeter") == Unloaded(name="greeter")
    assert shop.public("greeter", "main") not in sys.modules
    assert manager.get_plugin_hot_info("greeter")["loaded"] is False
    assert manager.unload("greeter") == Unloaded(name="greeter", reason="not-loaded")
    assert manager.execute("greeter") == 1


def test_the_hot_loader_checks_by_md5(shop: Workshop, manager: PluginManager) -> None:
    """R21 R4: `check_plugin_updates` on the manager's loader."""
    manager.load("greeter")
    check = manager._hot_loader.check_plugin_updates
    assert check("greeter") is False
    edit(shop, 2)
    assert check("greeter") is True
    with pytest.raises(UnknownPlugin):
        check("nobody")


# -- info and health -----------------------------------------------------------------------------


def test_info_tells_everything_about_a_plugin(shop: Workshop, manager: PluginManager) -> None:
    """R6 R16 R23 R37: the promised keys with plain values, before and after the load."""
    before = manager.get_plugin_hot_info("greeter")
    assert set(before) == INFO_KEYS
    assert (before["state"], before["loaded"], before["load_time"], before["generation"]) == (
        "not-loaded",
        False,
        None,
        None,
    )
    manager.load("greeter")
    info = manager.get_plugin_hot_info("greeter")
    assert set(info) == INFO_KEYS
    assert info["state"] == "serving"
    assert (info["version"], info["loaded"], info["has_updates"], info["generations_alive"]) == ("1.0", True, False, 1)
    assert info["path"] == str(shop.plugins / "greeter")
    edit(shop, 2)
    assert manager.get_plugin_hot_info("greeter")["has_updates"] is True


def test_health_is_ok_degraded_or_failed_with_reasons(shop: Workshop, manager: PluginManager) -> None:
    """R38: one word for everything, and the reasons in words."""
    manager.load("greeter")
    assert manager.health()["status"] == "ok"
    shop.write("greeter", "main.py", "def run(:\n")
    manager.reload("greeter")
    health = manager.health()
    assert health["status"] == "degraded"
    assert any("greeter" in reason and "[syntax-error]" in reason for reason in health["reasons"])
    shop.plugin("broken", "def run(:\n")
    with pytest.raises(PluginLoadError):
        manager.load("broken")
    health = manager.health()
    assert health["status"] == "failed"
    assert health["plugins"] == {"broken": "failed", "greeter": "degraded"}


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        ("True", "ok"),
        ("False", "degraded"),
        ("{'status': 'ok'}", "ok"),
        ("{'status': 'slow'}", "degraded"),
        ("1/0", "degraded"),
    ],
)
def test_a_plugins_own_health_counts(shop: Workshop, answer: str, status: str) -> None:
    """R38: the optional `health()` of a plugin is asked; False, another status or an error degrade."""
    shop.plugin("own", f"def run(): return 1\ndef health(): return {answer}\n")
    manager = shop.manager()
    manager.load("own")
    assert manager.health()["status"] == status
    assert manager.get_plugin_hot_info("own")["in_flight"] == 0


# -- events --------------------------------------------------------------------------------------


def test_events_come_in_order_before_reload_returns(shop: Workshop, manager: PluginManager) -> None:
    """R24 R25: loaded, then retired of the old; kept, then error; unloaded, then retired."""
    heard: list[Any] = []
    manager.subscribe(heard.append)
    manager.load("greeter")
    edit(shop, 2)
    manager.reload("greeter")
    assert [(e.kind, e.generation) for e in heard] == [("loaded", 1), ("loaded", 2), ("retired", 1)]
    heard.clear()
    shop.write("greeter", "main.py", "def run(:\n")
    manager.reload("greeter")
    assert kinds(heard) == ["kept", "error"]
    heard.clear()
    manager.unload("greeter")
    assert kinds(heard) == ["unloaded", "retired"]
    assert all(event.plugin == "greeter" for event in heard)


def test_callbacks_get_what_their_kind_promises(shop: Workshop, manager: PluginManager) -> None:
    """R24 R25: `f(name)`, for errors `f(name, message)`; what register returns ends it."""
    loader = manager._hot_loader
    said: list[Any] = []
    ends = [loader.register_callback(kind, lambda *a, k=kind: said.append((k, *a))) for kind in ("loaded", "unloaded")]
    loader.register_callback("error", lambda name, message: said.append(("error", name, "[syntax-error]" in message)))
    manager.load("greeter")
    shop.write("greeter", "main.py", "def run(:\n")
    manager.reload("greeter")
    assert said == [("loaded", "greeter"), ("error", "greeter", True)]
    for end in ends:
        end()
        end()
    manager.unload("greeter")
    assert len(said) == 2


def test_an_unknown_kind_of_event_is_told(manager: PluginManager) -> None:
    """R24: a misspelled kind would never be heard; it is a usage error."""
    with pytest.raises(UsageError, match=r"did you mean 'loaded'\?"):
        manager._hot_loader.register_callback("load", print)


def test_a_callback_that_raises_hurts_nobody(manager: PluginManager, caplog: pytest.LogCaptureFixture) -> None:
    """R9: it is logged; the others hear, and the load succeeds."""
    said: list[str] = []
    manager._hot_loader.register_callback("loaded", lambda name: 1 / 0)
    manager._hot_loader.register_callback("loaded", said.append)
    assert manager.execute("greeter") == 1
    assert said == ["greeter"]
    assert [record.message for record in caplog.records] == ["hotplug.callback_failed"]


# -- watching ------------------------------------------------------------------------------------


def test_watching_reloads_in_the_background(shop: Workshop) -> None:
    """R1 R2 R35: edits are loaded without any execution; stop ends it, start begins again."""
    shop.plugin("greeter", CODE.format(n=1))
    manager = shop.manager(poll_interval=0.02, debounce=0.01)
    manager.load("greeter")
    loaded: list[str] = []
    manager._hot_loader.register_callback("loaded", loaded.append)
    manager.start_watching()
    manager.start_watching()
    edit(shop, 2)
    eventually(lambda: manager.module("greeter", "main").N == 2, "the background reload")
    shop.write("greeter", "main.py", "def run(:\n")
    eventually(lambda: manager.get_plugin_hot_info("greeter")["state"] == "degraded", "the refusal")
    edit(shop, 3)
    eventually(lambda: manager.module("greeter", "main").N == 3, "the recovery")
    manager.stop_watching()
    edit(shop, 4)
    assert manager.module("greeter", "main").N == 3
    manager.start_watching()
    edit(shop, 5)
    eventually(lambda: manager.module("greeter", "main").N == 5, "the second watch")


def test_watching_mends_a_plugin_that_never_loaded(shop: Workshop) -> None:
    """R32: a plugin that was asked for and failed is loaded when its file is mended; others stay unloaded."""
    shop.plugin("greeter", "def run(:\n")
    shop.plugin("idle", CODE.format(n=1))
    manager = shop.manager(poll_interval=0.02, debounce=0.01)
    with pytest.raises(PluginLoadError):
        manager.load("greeter")
    manager.start_watching()
    edit(shop, 2)
    shop.write("idle", "main.py", CODE.format(n=2))
    eventually(lambda: manager.get_plugin_hot_info("greeter")["state"] == "serving", "the load")
    assert manager.get_plugin_hot_info("idle")["loaded"] is False


# -- the end, the default, the front door --------------------------------------------------------


def test_a_closed_manager_says_so(manager: PluginManager) -> None:
    """After `close()` every verb is a usage error `[closed]`."""
    manager.load("greeter")
    with manager:
        pass
    for verb in (manager.execute, manager.load, manager.reload, manager.unload, manager.get_plugin_hot_info):
        with pytest.raises(UsageError, match=r"\[closed\]"):
            verb("greeter")
    with pytest.raises(UsageError, match=r"\[closed\]"):
        manager.discover()


def test_the_default_manager_is_built_from_the_project_when_it_is_used(shop: Workshop) -> None:
    """R21 R24: `plugin_manager` and `get_hot_loader()` are the project's, made at first use."""
    shop.plugin("greeter", CODE.format(n=1))
    (shop.root / "hotplug.toml").write_text(f'plugin_dirs = ["{shop.package}"]\ndebounce = 0\n')
    program = (
        "from pytest_hotplug import plugin_manager, get_hot_loader\n"
        "assert 'not made yet' in repr(plugin_manager)\n"
        "names = []\n"
        "get_hot_loader().register_callback('loaded', names.append)\n"
        "assert get_hot_loader() is plugin_manager._hot_loader\n"
        "assert plugin_manager.execute('greeter') == 1\n"
        "assert plugin_manager._hot_loader.check_plugin_updates('greeter') is False\n"
        "assert plugin_manager.force_reload_plugin('greeter') is True\n"
        "print(names, plugin_manager.discover())\n"
    )
    assert run_python(program, shop.root) == "['greeter', 'greeter'] ['greeter']\n"
    assert isinstance(plugin_manager, object)
    assert callable(get_hot_loader)


def test_importing_the_package_imports_nothing_heavy(shop: Workshop) -> None:
    """R28: a program that has the package installed pays for nothing until it uses something."""
    heavy = "('msgspec', 'watchfiles', 'asyncio', 'pytest', 'coverage', 'json', 'sqlite3', 'logging')"
    program = f"import sys; import pytest_hotplug; print([n for n in {heavy} if n in sys.modules])"
    assert run_python(program, shop.root) == "[]\n"
    heavy = "('watchfiles', 'asyncio', 'pytest', '_pytest', 'coverage', 'xdist', 'sqlite3')"
    program = "import sys; from pytest_hotplug import PluginManager; PluginManager(); "
    program += f"print([n for n in {heavy} if n in sys.modules])"
    assert run_python(program, shop.root) == "[]\n"


def test_every_name_of_the_front_door_exists() -> None:
    """What `__all__` lists can be imported, and nothing else answers."""
    for name in pytest_hotplug.__all__:
        assert getattr(pytest_hotplug, name) is not None
    assert set(pytest_hotplug.__all__) <= set(dir(pytest_hotplug))
    with pytest.raises(AttributeError):
        _ = pytest_hotplug.no_such_name


def run_python(program: str, cwd: Path) -> str:
    """Run a program in a fresh interpreter that finds what this one finds, and return what it printed."""
    import os

    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    environment.pop("HOTPLUG_PLUGIN_DIRS", None)
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=cwd, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_first_load_that_cannot_settle_is_a_load_error(shop: Workshop) -> None:
    """A plugin whose files never rest, and of which nothing serves, is a PluginLoadError that says why."""
    shop.plugin("greeter", CODE.format(n=1))
    manager = shop.manager(debounce=0.05, settle_max=0.2)
    over = threading.Event()

    def scribble() -> None:
        number = 1
        while not over.is_set():
            number += 1
            edit(shop, number)

    with running(scribble):
        eventually(lambda: "N = 3" in (shop.plugins / "greeter" / "main.py").read_text(), "edits", PATIENCE)
        with pytest.raises(PluginLoadError, match=r"unsettled.*\n.*\[not-loaded\]"):
            manager.load("greeter")
        over.set()
    assert isinstance(manager.reload("greeter"), Reloaded)
    assert not isinstance(manager.reload("greeter"), KeptCurrent)
