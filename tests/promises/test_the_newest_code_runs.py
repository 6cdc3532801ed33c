"""Content decides: every real change is served at the next execution, nothing else is loaded."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from pytest_hotplug import Reloaded, Unchanged
from tests.promises.conftest import PluginDir

MAIN = "VERSION = {v}\ndef run():\n    return VERSION\n"


def test_a_same_size_edit_within_one_second_is_served(plugins: PluginDir) -> None:
    """D01, D02, D05: neither size nor time tells; the old mtime put back changes nothing."""
    place = plugins.write("clock", main=MAIN.format(v=1)) / "main.py"
    manager = plugins.manager()
    assert manager.execute("clock") == 1
    stat = place.stat()
    for version in range(2, 8):
        place.write_text(MAIN.format(v=version))
        os.utime(place, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        assert manager.execute("clock") == version
    assert not list(place.parent.rglob("*.pyc"))


def test_a_stale_pyc_is_never_run(plugins: PluginDir) -> None:
    """S14, the .pyc trap: compiled code beside the source is neither read nor written."""
    import py_compile

    place = plugins.write("clock", main=MAIN.format(v=1)) / "main.py"
    py_compile.compile(str(place), invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    place.write_text(MAIN.format(v=2))
    assert plugins.manager().execute("clock") == 2


def test_the_same_content_is_not_loaded_again(plugins: PluginDir) -> None:
    """R4, R5, D03, D04: touch, rewrite, edit and undo: no module is executed."""
    place = plugins.write(
        "clock", main="import sys\nsys.clock_loads = getattr(sys, 'clock_loads', 0) + 1\n" + MAIN.format(v=1)
    )
    manager = plugins.manager()
    manager.execute("clock")
    os.utime(place / "main.py")
    manager.execute("clock")
    text = (place / "main.py").read_text()
    plugins.put("clock", "main.py", text + "# edited\n")
    plugins.put("clock", "main.py", text)
    assert isinstance(manager.reload("clock"), Unchanged)
    assert sys.clock_loads == 1  # type: ignore[attr-defined]
    del sys.clock_loads  # type: ignore[attr-defined]


def test_a_json_file_counts_as_code_does(plugins: PluginDir) -> None:
    """R2, D11: data that is read at import is served anew."""
    source = (
        "import json\nfrom importlib.resources import files\n"
        "D = json.loads(files(__package__).joinpath('data.json').read_text())\ndef run():\n    return D\n"
    )
    plugins.write("clock", main=source, data_json="[1]")
    manager = plugins.manager()
    assert manager.execute("clock") == [1]
    plugins.write("clock", data_json="[2]")
    assert manager.execute("clock") == [2]


def test_new_deleted_and_renamed_files_count(plugins: PluginDir) -> None:
    """D09, D10: a new module can be imported, a deleted one can't."""
    place = plugins.write("clock", main="from a import X\ndef run():\n    return X\n", a="X = 1\n")
    manager = plugins.manager()
    assert manager.execute("clock") == 1
    (place / "a.py").rename(place / "b.py")
    plugins.write("clock", main="from b import X\ndef run():\n    return X + 1\n")
    assert manager.execute("clock") == 2
    assert "plugs.clock.a" not in sys.modules
    assert "plugs.clock.b" in sys.modules


def test_a_symlink_swap_is_a_deployment(plugins: PluginDir, tmp_path: Path) -> None:
    """D13: the link points to another release: all its files at once."""
    for version in (1, 2):
        release = plugins.path / f".release-{version}"
        release.mkdir()
        (release / "main.py").write_text(MAIN.format(v=version))
    (plugins.path / "clock").symlink_to(".release-1")
    manager = plugins.manager()
    assert manager.execute("clock") == 1
    fresh = plugins.path / ".new"
    fresh.symlink_to(".release-2")
    os.replace(fresh, plugins.path / "clock")
    assert manager.execute("clock") == 2


def test_two_plugins_with_modules_of_one_name_never_meet(plugins: PluginDir) -> None:
    """L04: both import utils flat; each gets its own, sys.path and sys.modules know nothing of it."""
    for name in ("left", "right"):
        plugins.write(name, main="from utils import SIDE\ndef run():\n    import utils\n    return SIDE, utils.SIDE\n",
                      utils=f"SIDE = {name!r}\n")  # fmt: skip
    manager = plugins.manager()
    before = list(sys.path)
    assert manager.execute("left") == ("left", "left")
    assert manager.execute("right") == ("right", "right")
    plugins.write("left", utils="SIDE = 'new'\n")
    assert manager.execute("left") == ("new", "new")
    assert manager.execute("right") == ("right", "right")
    assert sys.path == before
    assert "utils" not in sys.modules


def test_the_background_watcher_reloads_too(plugins: PluginDir) -> None:
    """R1, R3: without any execution an edit is loaded soon after the save."""
    import threading

    plugins.write("clock", main=MAIN.format(v=1))
    manager = plugins.manager(debounce=0.02)
    manager.load("clock")
    loaded = threading.Event()
    manager._hot_loader.register_callback("loaded", lambda name: loaded.set())
    manager.start_watching()
    plugins.write("clock", main=MAIN.format(v=2))
    assert loaded.wait(10)
    manager.disable_hot_reload()
    assert manager.execute("clock") == 2
    manager.stop_watching()


def test_force_loads_the_same_bytes_again(plugins: PluginDir) -> None:
    """R22: force_reload_plugin answers whether a fresh generation serves."""
    plugins.write("clock", main=MAIN.format(v=1))
    manager = plugins.manager()
    manager.load("clock")
    assert manager.force_reload_plugin("clock") is True
    assert manager.get_plugin_hot_info("clock")["generation"] == 2
    assert isinstance(manager.reload("clock"), Unchanged)


def test_an_edit_while_disabled_is_applied_afterwards(plugins: PluginDir) -> None:
    """R14, R15, R36: disabled, nothing is checked; enabled, the pending edit is served."""
    plugins.write("clock", main=MAIN.format(v=1))
    manager = plugins.manager()
    manager.execute("clock")
    manager.disable_hot_reload()
    plugins.write("clock", main=MAIN.format(v=2))
    assert manager.execute("clock") == 1
    assert manager.get_plugin_hot_info("clock")["has_updates"] is True
    manager.enable_hot_reload()
    assert manager.execute("clock") == 2


def test_a_dependent_reloads_in_the_same_transaction(plugins: PluginDir) -> None:
    """L05, N12: the importing plugin serves the new code; when it breaks, neither is swapped."""
    plugins.write("base", main="def value():\n    return 1\ndef run():\n    return value()\n")
    plugins.write("user", main="from plugs.base.main import value\ndef run():\n    return value() * 10\n")
    manager = plugins.manager()
    assert manager.execute("user") == 10
    plugins.write("base", main="def value():\n    return 2\ndef run():\n    return value()\n")
    outcome = manager.reload("base")
    assert isinstance(outcome, Reloaded)
    assert outcome.also == ("user",)
    assert manager.execute("user") == 20
    plugins.write("base", main="def worth():\n    return 3\ndef run():\n    return worth()\n")
    outcome = manager.reload("base")
    assert "user" in outcome.reason
    assert (manager.execute("base"), manager.execute("user")) == (2, 20)
