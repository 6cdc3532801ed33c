"""Bad input of every kind: a clear error with place, remedy and slug; the old version serves; nothing is lost."""

from __future__ import annotations

import json
import shutil
import sys
import threading
from pathlib import Path

import pytest

from pytest_hotplug import KeptCurrent, PluginLoadError, Reloaded, UnknownPlugin
from tests.promises.conftest import PluginDir

GOOD = "def run():\n    return 'good'\n"
MANIFEST = {"name": "shop", "version": "1.0"}


def manifest(**changes: object) -> str:
    """Return the manifest with some keys changed."""
    return json.dumps({**MANIFEST, **changes}, indent=1)


BAD_SOURCES = {
    "a syntax error": ("def run(:\n", "syntax-error", 1),
    "an exception at import": ("X = 1\nraise RuntimeError('no')\n", "import-error", 2),
    "sys.exit at import": ("import sys\nsys.exit(3)\n", "exit-at-import", 2),
    "a BaseException at import": ("class Odd(BaseException): pass\nraise Odd\n", "import-error", 2),
    "KeyboardInterrupt at import": ("raise KeyboardInterrupt\n", "import-error", 1),
    "a missing module": ("import no_such_module_anywhere\n", "missing-module", 1),
    "a lost entry": ("def walk():\n    return 1\n", "no-entry", None),
    "an entry that is no function": ("run = 3\n", "no-entry", None),
    "an entry that belongs to somebody else": ("from os import getcwd as run\n", "foreign-entry", None),
    "null bytes": ("def run():\n    return '\0'\n", "syntax-error", None),
}
BAD_MANIFESTS = {
    "no JSON": ("{", "bad-manifest", 1),
    "a duplicate key": ('{"version": "1",\n "version": "2"}', "duplicate-key", 2),
    "a wrong type": ('{"version": "1",\n "enabled": "yes"}', "bad-manifest", 2),
    "a wrong type deep inside": ('{"parameters": {"name":\n {"type": "text"}}}', "bad-manifest", 2),
    "a list at the top": ("[]", "bad-manifest", None),
    "another plugin's name": (manifest(name="shed"), "name-mismatch", 2),
    "an entry in a module that isn't there": (manifest(entry_point="min.run"), "bad-entry", None),
    "an entry outside the plugin": (manifest(entry_point="os:system"), "bad-entry", None),
    "a private entry": (manifest(entry_point="main:__builtins__"), "bad-entry", None),
    "a missing distribution": (manifest(dependencies=["no-such-distribution>=3"]), "missing-distribution", None),
    "an unknown dependency": (manifest(depends_on=["nobody"]), "unknown-dependency", None),
    "NaN": ('{"version": "1", "x": NaN}', "bad-manifest", None),
    "a byte order mark": ("\ufeff{}", "bad-manifest", None),
}


@pytest.mark.parametrize("case", BAD_SOURCES)
def test_bad_code_is_refused_with_its_place(plugins: PluginDir, case: str) -> None:
    """R31, F01-F07: file, line, the offending line, a remedy and a slug; the good version goes on."""
    text, slug, line = BAD_SOURCES[case]
    plugins.write("shop", main=GOOD, plugin_json=manifest())
    manager = plugins.manager()
    told: list[str] = []
    manager._hot_loader.register_callback("error", lambda name, message: told.append(message))
    assert manager.execute("shop") == "good"
    plugins.write("shop", main=text)
    outcome = manager.reload("shop")
    assert isinstance(outcome, KeptCurrent)
    assert outcome.error is not None
    assert outcome.error.slug == slug
    assert outcome.error.path == plugins.path / "shop" / "main.py"
    assert line is None or outcome.error.line == line
    assert "generation 1 keeps serving" in told[0]
    assert "main.py" in told[0]
    assert f"[{slug}]" in told[0]
    assert manager.execute("shop") == "good"
    assert manager.get_plugin_hot_info("shop")["state"] == "degraded"
    plugins.write("shop", main=GOOD)
    assert manager.execute("shop") == "good"
    assert manager.get_plugin_hot_info("shop")["state"] == "serving"


@pytest.mark.parametrize("case", BAD_MANIFESTS)
def test_a_bad_manifest_is_refused_with_its_place(plugins: PluginDir, case: str) -> None:
    """F05, S17-S26: the old version serves with its old manifest; putting the file back is enough."""
    text, slug, line = BAD_MANIFESTS[case]
    plugins.write("shop", main=GOOD, plugin_json=manifest())
    manager = plugins.manager()
    manager.execute("shop")
    plugins.write("shop", plugin_json=text)
    outcome = manager.reload("shop")
    assert isinstance(outcome, KeptCurrent)
    assert outcome.error is not None
    assert outcome.error.slug == slug
    assert outcome.error.path == plugins.path / "shop" / "plugin.json"
    assert line is None or outcome.error.line == line
    assert manager.execute("shop") == "good"
    plugins.write("shop", plugin_json=manifest())
    assert manager.get_plugin_hot_info("shop")["version"] == "1.0"
    assert manager.execute("shop") == "good"
    assert manager.get_plugin_hot_info("shop")["error"] is None


def test_a_first_version_that_is_broken_raises(plugins: PluginDir) -> None:
    """Nothing can serve, so the caller is told with everything that the author needs."""
    plugins.write("shop", main="raise RuntimeError('no')\n")
    with pytest.raises(PluginLoadError) as caught:
        plugins.manager().execute("shop")
    assert "RuntimeError: no" in str(caught.value)
    assert "main.py:1" in str(caught.value)
    assert "[import-error]" in str(caught.value)


def test_a_deleted_directory_keeps_serving_and_recovers(plugins: PluginDir, tmp_path: Path) -> None:
    """N14: the old version serves, the error says what is gone; put it back and it is current again."""
    place = plugins.write("shop", main=GOOD)
    manager = plugins.manager()
    manager.execute("shop")
    shutil.move(place, tmp_path / "away")
    outcome = manager.reload("shop")
    assert isinstance(outcome, KeptCurrent)
    assert outcome.error is not None
    assert outcome.error.slug == "plugin-missing"
    assert manager.execute("shop") == "good"
    shutil.move(tmp_path / "away", place)
    plugins.write("shop", main=GOOD.replace("good", "back"))
    assert manager.execute("shop") == "back"


def test_an_unknown_plugin_is_met_with_the_nearest_name(plugins: PluginDir) -> None:
    """Did you mean?"""
    plugins.write("shop", main=GOOD)
    with pytest.raises(UnknownPlugin, match="did you mean 'shop'"):
        plugins.manager().execute("shpo")


def test_broken_bytes_are_executed_once(plugins: PluginDir, tmp_path: Path) -> None:
    """F09: five looks at the same broken version execute it one time."""
    counted = tmp_path / "count"
    plugins.write("shop", main=GOOD)
    manager = plugins.manager()
    manager.execute("shop")
    count = f"with open({str(counted)!r}, 'a') as file:\n    file.write('x')\n"
    plugins.write("shop", main=f"{count}raise RuntimeError\n")
    for _ in range(5):
        assert manager.execute("shop") == "good"
        manager.reload("shop")
    assert counted.read_text() == "x"


def test_two_new_files_one_broken_is_all_or_nothing(plugins: PluginDir) -> None:
    """F03, F10: a helper's new half is never served, not even in part."""
    plugins.write("shop", main="from price import of\ndef run():\n    return of()\n", price="def of():\n    return 1\n")
    manager = plugins.manager()
    assert manager.execute("shop") == 1
    plugins.write("shop", price="def of():\n    return 2\n", main="from price import of\nraise RuntimeError\n")
    assert manager.execute("shop") == 1
    assert manager.module("shop", "price").of() == 1


def test_a_broken_lazily_imported_file_is_refused_too(plugins: PluginDir) -> None:
    """A file that no import reached yet is compiled all the same: it would fail in a call."""
    plugins.write("shop", main="def run():\n    import later\n    return later.X\n", later="X = 1\n")
    manager = plugins.manager()
    manager.load("shop")
    plugins.write("shop", later="X = = 2\n")
    outcome = manager.reload("shop")
    assert isinstance(outcome, KeptCurrent)
    assert manager.execute("shop") == 1


def test_an_import_that_never_ends_costs_one_thread(plugins: PluginDir) -> None:
    """N01: it is given up and said so, the old version serves, the next edit loads."""
    plugins.write("shop", main=GOOD)
    manager = plugins.manager(load_timeout=0.5)
    sys.shop_may_end = threading.Event()  # type: ignore[attr-defined]
    manager.execute("shop")
    plugins.write("shop", main="import sys\nsys.shop_may_end.wait(30)\n")
    outcome = manager.reload("shop")
    assert isinstance(outcome, KeptCurrent)
    assert outcome.error is not None
    assert outcome.error.slug == "load-timeout"
    assert manager.execute("shop") == "good"
    plugins.write("shop", main=GOOD.replace("good", "better"))
    assert isinstance(manager.reload("shop"), Reloaded)
    assert manager.execute("shop") == "better"
    sys.shop_may_end.set()  # type: ignore[attr-defined]
    for thread in threading.enumerate():
        if thread.name == "hotplug-reload":
            thread.join(10)
    del sys.shop_may_end  # type: ignore[attr-defined]


def test_an_entry_module_that_replaces_itself_serves_and_can_be_edited(plugins: PluginDir) -> None:
    """A module may put an object of its own into sys.modules, even one that has no attribute of a module."""
    plugins.write("shop", main=GOOD)
    manager = plugins.manager()
    assert manager.execute("shop") == "good"
    plugins.write(
        "shop",
        main="import sys\ndef run():\n    return 'replaced'\nclass Odd:\n    pass\n"
        "odd = Odd()\nodd.run = run\nsys.modules[__name__] = odd\n",
    )
    assert manager.execute("shop") == "replaced"
    plugins.write("shop", main=GOOD)
    assert manager.execute("shop") == "good"


def test_a_parameter_may_be_called_self(plugins: PluginDir) -> None:
    """No name that a plugin gives its parameters collides with one of ours."""
    plugins.write("shop", main="def run(**given):\n    return given\n")
    given = {"self": 1, "generation": 2, "function": 3, "name": 4, "plugin": 5}
    assert plugins.manager().execute("shop", **given) == given


def test_an_own_module_imported_by_its_flat_name_at_run_time_gets_the_right_remedy(plugins: PluginDir) -> None:
    """`importlib.import_module("helper")` knows no flat names; nobody should install a package for that."""
    plugins.write("shop", main="import importlib\nimportlib.import_module('helper')\ndef run(): pass\n", helper="")
    with pytest.raises(PluginLoadError, match=r"the plugin's own module.*import_module\('\.helper', __package__\)"):
        plugins.manager().load("shop")


def test_a_callback_that_unloads_is_named_as_the_cause(plugins: PluginDir) -> None:
    """Nothing serves, but not because files move."""
    plugins.write("shop", main=GOOD)
    manager = plugins.manager()
    manager._hot_loader.register_callback("loaded", manager.unload)
    with pytest.raises(PluginLoadError, match="unloaded as soon as it was loaded"):
        manager.execute("shop")


def test_a_plugin_needed_at_import_is_told_to_be_declared(plugins: PluginDir) -> None:
    """Executing another plugin at import time is refused with the way out."""
    plugins.write("leaf", main=GOOD)
    plugins.write("shop", main="import sys\nX = sys.shop_manager.execute('leaf')\ndef run(): return X\n")
    manager = plugins.manager()
    sys.shop_manager = manager  # type: ignore[attr-defined]
    try:
        with pytest.raises(PluginLoadError, match="depends_on"):
            manager.load("shop")
    finally:
        del sys.shop_manager  # type: ignore[attr-defined]


def test_a_stop_first_plugin_that_reloads_itself_is_told_why_not(plugins: PluginDir) -> None:
    """The call that asks is the call in flight: waiting for it would never end."""
    main = "import sys\nN = {n}\ndef run(): return sys.shop_manager.reload('shop')\n"
    plugins.write("shop", main=main.format(n=1), plugin_json=manifest(handover="stop-first"))
    manager = plugins.manager()
    manager.load("shop")
    manager.disable_hot_reload()
    sys.shop_manager = manager  # type: ignore[attr-defined]
    try:
        plugins.write("shop", main=main.format(n=2))
        outcome = manager.execute("shop")
    finally:
        del sys.shop_manager  # type: ignore[attr-defined]
    assert isinstance(outcome, KeptCurrent)
    assert outcome.reason == "calls in flight"
    assert "asked for this reload itself" in str(outcome.error)


def test_one_answer_never_contradicts_itself(plugins: PluginDir) -> None:
    """Right after the good file is back, the info says serving, without an error."""
    plugins.write("shop", main=GOOD)
    manager = plugins.manager()
    manager.execute("shop")
    plugins.write("shop", main="(")
    manager.reload("shop")
    plugins.write("shop", main=GOOD)
    info = manager.get_plugin_hot_info("shop")
    assert (info["state"], info["error"]) == ("serving", None)


def test_a_disabled_plugin_says_so_before_anybody_loads_it(plugins: PluginDir) -> None:
    """R16: listed, not loaded."""
    plugins.write("shop", main=GOOD, plugin_json=manifest(enabled=False))
    assert plugins.manager().get_plugin_hot_info("shop")["state"] == "disabled"
