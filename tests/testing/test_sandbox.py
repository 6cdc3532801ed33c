"""The sandbox: private copies, the production reloader, everything undone."""

from __future__ import annotations

import asyncio
import builtins
import importlib
import sys
import threading
from pathlib import Path
from types import ModuleType
from unittest import mock

import pytest

from pytest_hotplug import KeptCurrent, PluginLoadError, Reloaded, Unchanged, UnknownPlugin, UsageError
from pytest_hotplug.testing import Hotplug, SandboxedPlugin

EXAMPLES = Path(__file__).parents[2] / "example_plugins"
HELLO = {"main.py": "def run(name='you'):\n    return f'hello {name}'\n"}


def content_and_times(root: Path) -> dict[str, tuple[bytes, int]]:
    """Return bytes and mtime of every file."""
    return {str(p): (p.read_bytes(), p.stat().st_mtime_ns) for p in root.rglob("*") if p.is_file()}


def plugin_modules() -> set[str]:
    """Return what of the examples stands in sys.modules."""
    return {name for name in list(sys.modules) if name.split(".")[0] in ("example_plugins", "plugins")}


def test_a_plugin_is_copied_with_what_it_depends_on(hotplug: Hotplug) -> None:
    """Loading pipeline brings greeter along; both lie below tmp_path, under the plugin dir's own name."""
    pipeline = hotplug.load("pipeline")
    assert pipeline.path == hotplug.plugin_dir / "pipeline"
    assert hotplug.plugin_dir.name == "example_plugins"
    assert (hotplug.plugin_dir / "greeter" / "catalogue.json").is_file()
    assert pipeline.info["depends_on"] == ["greeter"]


def test_the_contracts_own_example_holds(hotplug: Hotplug) -> None:
    """R20: load, execute 1.0, edit, execute 2.0; the last event is the reload."""
    demo = hotplug.load("hot_reload_demo")
    assert demo.execute(message="hi")["version"] == "1.0"
    demo.edit("main.py", '"1.0"', '"2.0"')
    assert demo.execute(message="hi")["version"] == "2.0"
    assert hotplug.events[-1].kind == "loaded"
    assert demo.generation.number == 2


def test_the_originals_are_never_touched(tmp_path: Path) -> None:
    """Content and mtimes of the real plugins, sys.modules and threads are as before, also after a failing test."""
    from pytest_hotplug.reloader.settings import layouts, read_settings
    from pytest_hotplug.testing.project import TestProject

    settings = read_settings(EXAMPLES.parent)
    project = TestProject(settings.root, settings.settings, layouts(settings.settings, settings.root))
    files, modules, threads = content_and_times(EXAMPLES), plugin_modules(), set(threading.enumerate())

    def failing_test() -> None:
        with Hotplug(tmp_path, project) as hotplug:
            ticker = hotplug.load("ticker")
            ticker.edit("main.py", "INTERVAL = 0.01", "INTERVAL = 0.02")
            ticker.execute()
            hotplug.load("pipeline").execute()
            raise AssertionError("as a test fails")

    with pytest.raises(AssertionError, match="as a test fails"):
        failing_test()
    assert content_and_times(EXAMPLES) == files
    assert plugin_modules() == modules
    assert set(threading.enumerate()) <= threads  # one that was there may have ended meanwhile


def test_no_parent_is_left_beside_a_collected_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plugin's test that pytest has collected stands in sys.modules without the packages above it."""
    name = "plugins.made.test_made"
    monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.delitem(sys.modules, "plugins", raising=False)
    with Hotplug(tmp_path) as hotplug:
        hotplug.create("made", {"main.py": "from plugins.made import word\n\n\ndef run():\n    return word.WORD\n",
                                "word.py": "WORD = 'w'\n"})  # fmt: skip
        assert hotplug.load("made").execute() == "w"
    assert "plugins" not in sys.modules


def test_public_names_are_kept(hotplug: Hotplug) -> None:
    """`mock.patch` by the public name and an import by the public name reach the sandbox's plugin."""
    greeter = hotplug.load("greeter")
    with mock.patch("example_plugins.greeter.text.greeting", return_value="patched"):
        assert greeter.module("text").greeting("x", "y") == "patched"
    assert importlib.import_module("example_plugins.greeter.text") is greeter.module("text")


def test_patched_builtins_reach_the_plugin(hotplug: Hotplug, monkeypatch: pytest.MonkeyPatch) -> None:
    """`monkeypatch` on builtins is seen by plugin code, and gone from it afterwards."""
    plugin = hotplug.create("peek", {"main.py": "def run():\n    return ascii('x')\n"})
    assert plugin.execute() == "'x'"
    with monkeypatch.context() as patch:
        patch.setattr(builtins, "ascii", lambda value: "patched")
        assert plugin.execute() == "patched"
    assert plugin.execute() == "'x'"


def test_a_test_that_patches_open_does_not_blind_the_reloader(hotplug: Hotplug) -> None:
    """An edit is seen although builtins.open is a mock."""
    plugin = hotplug.create("hello", HELLO)
    plugin.execute()
    with mock.patch("builtins.open", side_effect=OSError("patched")):
        plugin.path.joinpath("main.py").rename(plugin.path / "moved")
        (plugin.path / "moved").rename(plugin.path / "main.py")
        assert plugin.execute() == "hello you"


def test_a_plugin_can_be_made_of_texts(hotplug: Hotplug) -> None:
    """`create` writes files and manifest; nothing runs before it is used."""
    plugin = hotplug.create(
        "made",
        {"main.py": "raise SystemExit(3)"},
        manifest={"version": "3.1", "parameters": {"name": {"type": "string", "default": "Ada"}}},
    )
    assert isinstance(plugin, SandboxedPlugin)
    with pytest.raises(PluginLoadError, match=r"exit-at-import"):
        plugin.execute()
    plugin.write("main.py", HELLO["main.py"])
    assert plugin.execute() == "hello Ada"
    assert plugin.info["version"] == "3.1"


def test_every_kind_of_edit_is_served(hotplug: Hotplug) -> None:
    """write, rename, delete, restore one file, restore all: each is in place at the next call."""
    plugin = hotplug.create(
        "edits", {"main.py": "from words import WORD\ndef run():\n    return WORD\n", "words.py": "WORD = 1\n"}
    )
    assert plugin.execute() == 1
    plugin.write("words.py", "WORD = 2\n")
    assert plugin.execute() == 2
    plugin.edit("main.py", "from words", "from terms")
    plugin.rename("words.py", "terms.py")
    assert plugin.execute() == 2
    plugin.delete("terms.py")
    assert isinstance(plugin.reload(), KeptCurrent)
    assert plugin.execute() == 2
    plugin.restore()
    assert plugin.execute() == 1
    plugin.write("words.py", "WORD = 5\n")
    plugin.restore("words.py")
    assert plugin.execute() == 1


def test_no_reader_sees_half_an_edit(hotplug: Hotplug) -> None:
    """W16: the sandbox writes beside and renames: whoever reads meanwhile finds the old file or the new one, whole."""
    plugin = hotplug.create("whole", {"main.py": "x" * 300_000})
    over = threading.Event()
    seen: set[bytes] = set()

    def read() -> None:
        while not over.is_set():
            seen.add((plugin.path / "main.py").read_bytes())

    reader = threading.Thread(target=read)
    reader.start()
    for letter in "ab" * 50:
        plugin.write("main.py", letter * 300_000)
    over.set()
    reader.join()
    assert seen <= {letter.encode() * 300_000 for letter in "xab"}


def test_an_edit_must_find_its_text(hotplug: Hotplug) -> None:
    """A misspelt edit fails the test instead of silently changing nothing."""
    with pytest.raises(ValueError, match="does not contain 'helo'"):
        hotplug.create("hello", HELLO).edit("main.py", "helo", "x")


def test_an_edit_stays_inside_the_plugin(hotplug: Hotplug) -> None:
    """No edit reaches a file outside the copy."""
    with pytest.raises(ValueError, match="outside the plugin"):
        hotplug.create("hello", HELLO).write("../escaped.py", "")


def test_a_wrong_edit_changes_nothing_and_says_so(hotplug: Hotplug) -> None:
    """A misspelt file, an empty text, a name that is taken, a directory, a wrong argument."""
    plugin = hotplug.create("wrong", {**HELLO, "words/__init__.py": "", "other.py": "x = 1\n"})
    before = content_and_times(plugin.path)
    with pytest.raises(FileNotFoundError):
        plugin.touch("nofile.py")
    with pytest.raises(ValueError, match="is empty"):
        plugin.edit("main.py", "", "x")
    with pytest.raises(FileExistsError, match=r"has a 'other\.py' already"):
        plugin.rename("main.py", "other.py")
    with pytest.raises(FileNotFoundError, match=r"no 'nofile\.py'"):
        plugin.rename("nofile.py", "new/place.py")
    for directory in (".", "", "words"):
        with pytest.raises(ValueError, match="directory; name a file in it"):
            plugin.write(directory, "x")
    with pytest.raises(TypeError, match="restore takes what snapshot\\(\\) returned, or a file's name, not dict"):
        plugin.restore({"main.py": b""})  # type: ignore[arg-type]
    with pytest.raises(LookupError, match=r"did you mean 'main\.py'"):
        plugin.restore("mein.py")
    assert content_and_times(plugin.path) == before
    assert not (plugin.path / "new").exists()


def test_an_unknown_event_is_not_waited_for(hotplug: Hotplug) -> None:
    """A misspelt kind is an error at once, with the nearest one."""
    with pytest.raises(UsageError, match=r"did you mean 'loaded'.*\[unknown-event\]"):
        hotplug.wait_for("loadet", timeout=600)


def test_touch_changes_nothing(hotplug: Hotplug) -> None:
    """R5: a new time and the same content is no reload."""
    plugin = hotplug.create("hello", HELLO)
    plugin.execute()
    plugin.touch()
    assert isinstance(plugin.reload(), Unchanged)


def test_a_broken_version_never_runs(hotplug: Hotplug) -> None:
    """R31, R32: the old version serves; putting the file back is enough."""
    plugin = hotplug.create("hello", HELLO)
    plugin.execute()
    plugin.break_syntax()
    assert plugin.execute() == "hello you"
    assert [event.kind for event in hotplug.events] == ["loaded", "kept", "error"]
    assert plugin.info["state"] == "degraded"
    plugin.restore()
    assert plugin.execute() == "hello you"
    assert plugin.info["state"] == "serving"


def test_a_snapshot_can_be_gone_back_to(hotplug: Hotplug) -> None:
    """`restore` goes back to the last snapshot, or to the one that is given."""
    plugin = hotplug.create("hello", HELLO)
    first = plugin.snapshot()
    plugin.edit("main.py", "hello", "good day")
    plugin.snapshot()
    plugin.edit("main.py", "good day", "ahoy")
    plugin.restore()
    assert plugin.execute() == "good day you"
    plugin.restore(first)
    assert plugin.execute() == "hello you"


def test_versions_of_a_plugin_are_gone_through_one_by_one(hotplug: Hotplug, tmp_path: Path) -> None:
    """A directory with another version, then the work tree: each is one batch and one reload."""
    demo = hotplug.load("hot_reload_demo")
    newer = tmp_path / "release" / "hot_reload_demo"
    newer.mkdir(parents=True)
    for file in ("main.py", "plugin.json"):
        text = (EXAMPLES / "hot_reload_demo" / file).read_text().replace('"1.0"', '"2.0"')
        (newer / file).write_text(text)
    steps = list(demo.versions(str(newer.parent), "."))
    assert [type(step.outcome) for step in steps] == [Reloaded, Reloaded]
    assert steps[0].digest != steps[1].digest
    assert demo.execute()["version"] == "1.0"


def test_an_unknown_ref_is_named_with_a_remedy(hotplug: Hotplug) -> None:
    """git can't resolve it: the error says what to fetch."""
    with pytest.raises(UsageError, match=r"git fetch --depth=1 origin no-such-ref"):
        next(hotplug.load("hot_reload_demo").versions("no-such-ref"))


def test_the_real_watcher_reloads_in_the_background(hotplug: Hotplug) -> None:
    """Inside `watching()` an edit is loaded although nothing is executed."""
    plugin = hotplug.create("hello", HELLO)
    plugin.execute()
    with hotplug.watching():
        plugin.edit("main.py", "hello", "goodbye")
        event = hotplug.wait_for("loaded", "hello")
    assert event.generation == 2
    with pytest.raises(TimeoutError, match="no event 'kept hello'"):
        hotplug.wait_for("kept", "hello", timeout=0.01)


def test_a_retired_generation_is_told(hotplug: Hotplug) -> None:
    """`wait_for("retired")` returns once the old generation's work is done."""
    plugin = hotplug.create("hello", HELLO)
    plugin.execute()
    plugin.edit("main.py", "hello", "goodbye")
    plugin.execute()
    assert hotplug.wait_for("retired", "hello").generation == 1


def test_the_log_is_stable_for_snapshots(hotplug: Hotplug) -> None:
    """Paths are relative and digests masked."""
    plugin = hotplug.create("hello", HELLO)
    plugin.execute()
    plugin.break_syntax()
    plugin.execute()
    assert hotplug.log[:2] == ["loaded hello generation 1", "kept hello generation 1"]
    assert "example_plugins/hello/main.py:4" in hotplug.log[2]
    assert str(hotplug.plugin_dir) not in hotplug.log[2]


def test_async_plugins_run_from_a_loop(hotplug: Hotplug) -> None:
    """`aexecute` and `acall` await what the plugin defines as async."""
    source = "async def run():\n    return 'awaited'\nasync def other(x):\n    return x + 1\n"
    plugin = hotplug.create("waits", {"main.py": source})

    async def both() -> tuple[str, int]:
        return await plugin.aexecute(), await plugin.acall("other", 1)

    assert asyncio.run(both()) == ("awaited", 2)
    assert plugin.execute() == "awaited"


def test_two_sandboxes_of_one_plugin_do_not_meet(hotplug: Hotplug, tmp_path: Path) -> None:
    """Each serves its own edit; the later one owns the public name and gives it back."""
    mine = hotplug.create("twin", HELLO)
    mine.execute()
    with Hotplug(tmp_path / "second") as other:
        theirs = other.create("twin", HELLO)
        theirs.edit("main.py", "hello", "other")
        assert theirs.execute() == "other you"
        assert mine.execute() == "hello you"
    assert mine.execute() == "hello you"


def test_an_unknown_plugin_is_met_with_the_nearest_name(hotplug: Hotplug) -> None:
    """Did you mean?"""
    with pytest.raises(UnknownPlugin, match="did you mean 'greeter'"):
        hotplug.load("greter")


def test_a_load_without_a_name_needs_a_test_inside_a_plugin(hotplug: Hotplug) -> None:
    """This file lies in no plugin, so the name must be said."""
    with pytest.raises(UsageError, match="no-own-plugin"):
        hotplug.load()
