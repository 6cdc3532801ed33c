"""What counts as a change: content, and nothing but content."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from pytest_hotplug import KeptCurrent, PluginManager, Reloaded, Unchanged
from tests.reloader.workshop import Workshop, eventually, let_age, running

COUNTING = (
    "import builtins\nbuiltins.executions = getattr(builtins, 'executions', 0) + 1\nN = {n}\ndef run(): return N\n"
)


@pytest.fixture(autouse=True)
def executions(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Count how often the plugin's main.py was executed."""
    import builtins

    monkeypatch.setattr(builtins, "executions", 0, raising=False)
    return lambda: builtins.executions  # type: ignore[attr-defined]


def served(shop: Workshop, number: int = 1, **settings: Any) -> PluginManager:
    shop.plugin("counted", COUNTING.format(n=number), {"version": "1"})
    manager = shop.manager(**settings)
    assert manager.execute("counted") == number
    return manager


def same_times(path: Path, change: Any) -> None:
    """Change a file and give it its old times back."""
    before = path.stat()
    change(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_a_same_size_edit_within_the_same_second_is_seen(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """D01 W25 R4 R11: an edit of equal size a moment after the load is served, and no .pyc is ever written or read."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    manager = served(shop)
    for number in (2, 3, 4):
        shop.write("counted", "main.py", COUNTING.format(n=number))
        assert manager.execute("counted") == number
    assert list(shop.plugins.rglob("*.pyc")) == []
    assert list(shop.plugins.rglob("__pycache__")) == []


def test_a_poisoned_pyc_is_never_read(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """D01: bytecode that lies beside a source, however well it pretends to fit, is not run."""
    import importlib.util
    import py_compile

    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    place = shop.plugin("counted", COUNTING.format(n=666), {"version": "1"})
    py_compile.compile(str(place / "main.py"), invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    assert Path(importlib.util.cache_from_source(str(place / "main.py"))).exists()
    shop.write("counted", "main.py", COUNTING.format(n=1))
    assert shop.manager().execute("counted") == 1


def test_other_content_with_equal_time_and_size_is_seen(shop: Workshop) -> None:
    """D02 R4: tools that keep times (rsync -t) can't hide an edit."""
    manager = served(shop)
    main = shop.plugins / "counted" / "main.py"
    same_times(main, lambda path: path.write_text(COUNTING.format(n=2)))
    assert manager.execute("counted") == 2


def test_a_touch_executes_nothing(shop: Workshop, executions: Any) -> None:
    """D03 R5: a new time without new content is no change, and a reload says so."""
    manager = served(shop)
    os.utime(shop.plugins / "counted" / "main.py", (1, 1))
    assert manager._hot_loader.check_plugin_updates("counted") is False
    outcome = manager.reload("counted")
    assert (type(outcome), outcome.reason) == (Unchanged, "same-content")
    assert manager.execute("counted") == 1
    assert executions() == 1


def test_an_edit_that_is_undone_before_the_check_executes_nothing(shop: Workshop, executions: Any) -> None:
    """D04 R5: edited and restored, nothing happened."""
    manager = served(shop)
    for number in (2, 1):
        shop.write("counted", "main.py", COUNTING.format(n=number))
    assert manager.execute("counted") == 1
    assert executions() == 1


def test_a_rollback_with_the_old_times_is_seen(shop: Workshop) -> None:
    """D05 R32: `cp -p` of a backup restores the old version though every time goes backwards."""
    manager = served(shop)
    main = shop.plugins / "counted" / "main.py"
    shutil.copy2(main, shop.root / "backup.py")
    shop.write("counted", "main.py", COUNTING.format(n=2))
    assert manager.execute("counted") == 2
    shutil.copy2(shop.root / "backup.py", main)
    assert manager.execute("counted") == 1
    shop.write("counted", "main.py", COUNTING.format(n=2))
    assert manager.execute("counted") == 2
    os.replace(shop.root / "backup.py", main)
    assert manager.execute("counted") == 1


def test_an_atomic_save_is_seen(shop: Workshop) -> None:
    """D06: write beside, then rename over the file, as most editors save."""
    manager = served(shop)
    shop.write("counted", "main.py", COUNTING.format(n=2))
    assert manager.execute("counted") == 2


def test_a_file_caught_empty_in_the_middle_of_a_save_is_not_served(shop: Workshop) -> None:
    """D07 W15 R3: the moment between truncating and writing is waited out."""
    manager = served(shop, debounce=0.1)
    main = shop.plugins / "counted" / "main.py"
    main.write_bytes(b"")
    outcomes: list[Any] = []
    with running(lambda: outcomes.append(manager.reload("counted"))):
        eventually(lambda: manager.get_plugin_hot_info("counted")["state"] == "settling", "the settling")
        main.write_text(COUNTING.format(n=2))
    assert isinstance(outcomes[0], Reloaded)
    assert manager.execute("counted") == 2


def test_a_file_that_stays_empty_is_refused_for_want_of_an_entry(shop: Workshop) -> None:
    """D07: an empty main.py that stays is loaded like any other, and refused; the old version serves."""
    manager = served(shop, debounce=0.02)
    (shop.plugins / "counted" / "main.py").write_bytes(b"")
    outcome = manager.reload("counted")
    assert isinstance(outcome, KeptCurrent)
    assert outcome.error is not None
    assert outcome.error.slug == "no-entry"
    assert manager.execute("counted") == 1


def test_files_that_land_one_after_the_other_are_served_together(shop: Workshop) -> None:
    """D08 R3: a checkout that writes util, pauses 20 ms and writes main is never served half-way."""
    code = "from . import util\nN = {n}\nassert util.N == N, 'mixed'\ndef run(): return N, util.N\n"
    shop.plugin("pair", {"main.py": code.format(n=1), "util.py": "N = 1\n"})
    manager = shop.manager(debounce=0.1)
    assert manager.execute("pair") == (1, 1)
    errors: list[str] = []
    manager._hot_loader.register_callback("error", lambda name, text: errors.append(text))
    shop.write("pair", "util.py", "N = 2\n")
    with running(lambda: manager.execute("pair")):
        eventually(lambda: manager.get_plugin_hot_info("pair")["state"] == "settling", "the settling")
        shop.write("pair", "main.py", code.format(n=2))
    assert manager.execute("pair") == (2, 2)
    assert errors == []


def test_files_that_never_rest_keep_the_current_version(shop: Workshop) -> None:
    """R3: after `settle_max` the wait ends: the current version serves, and the outcome says why."""
    manager = served(shop, debounce=0.05, settle_max=0.3)
    import threading

    over = threading.Event()

    def scribble() -> None:
        number = 1
        while not over.is_set():
            number += 1
            shop.write("counted", "main.py", COUNTING.format(n=number))

    with running(scribble):
        eventually(lambda: manager._hot_loader.check_plugin_updates("counted"), "the first edit")
        outcome = manager.reload("counted")
        over.set()
    assert (type(outcome), outcome.reason) == (KeptCurrent, "unsettled")
    assert manager.execute("counted") > 1


def test_a_deleted_module_can_no_longer_be_imported(shop: Workshop) -> None:
    """D09 R7: what the new version dropped is gone, also under its public name."""
    shop.plugin("shrinking", {"main.py": "from . import extra\ndef run(): return extra.N\n", "extra.py": "N = 1\n"})
    manager = shop.manager()
    assert manager.execute("shrinking") == 1
    main = "def run():\n    try:\n        from . import extra\n    except ImportError:\n        return 'gone'\n"
    (shop.plugins / "shrinking" / "extra.py").unlink()
    shop.write("shrinking", "main.py", main)
    assert manager.execute("shrinking") == "gone"
    assert shop.public("shrinking", "extra") not in sys.modules
    with pytest.raises(ModuleNotFoundError):
        __import__(shop.public("shrinking", "extra"))


def test_a_new_module_is_found(shop: Workshop) -> None:
    """D10: a file that came with the new version is imported."""
    manager = served(shop)
    shop.write("counted", "extra.py", "N = 9\n")
    shop.write("counted", "main.py", "from .extra import N\ndef run(): return N\n")
    assert manager.execute("counted") == 9


def test_a_change_of_the_manifest_alone_is_a_change(shop: Workshop) -> None:
    """D11 R2: plugin.json counts; code that reads it at import sees the new one."""
    main = "import importlib.resources as r\nTEXT = (r.files(__package__) / 'plugin.json').read_text()\n"
    main += "def run(): return TEXT\n"
    shop.plugin("reader", main, '{"version": "1"}')
    manager = shop.manager()
    assert manager.execute("reader") == '{"version": "1"}'
    shop.write("reader", "plugin.json", '{"version": "2"}')
    assert manager.execute("reader") == '{"version": "2"}'
    assert manager.get_plugin_hot_info("reader")["version"] == "2"


def test_an_edit_deep_inside_is_seen(shop: Workshop) -> None:
    """D12: a leaf of a nested package counts like main.py."""
    files = {"main.py": "from .sub.deep.leaf import N\ndef run(): return N\n"}
    files |= {"sub/__init__.py": "", "sub/deep/__init__.py": "", "sub/deep/leaf.py": "N = 1\n"}
    shop.plugin("nested", files)
    manager = shop.manager()
    assert manager.execute("nested") == 1
    shop.write("nested", "sub/deep/leaf.py", "N = 2\n")
    assert manager.execute("nested") == 2


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_a_swapped_symlink_is_a_deployment(shop: Workshop) -> None:
    """D13: a plugin that is a link to a release directory changes with the link."""
    for number in (1, 2):
        release = shop.root / f"release_{number}"
        release.mkdir()
        (release / "main.py").write_text(f"N = {number}\ndef run(): return N\n")
    link = shop.plugins / "linked"
    link.symlink_to(shop.root / "release_1")
    manager = shop.manager()
    assert manager.execute("linked") == 1
    beside = shop.root / "next"
    beside.symlink_to(shop.root / "release_2")
    os.replace(beside, link)
    assert manager.execute("linked") == 2


def test_a_source_in_latin_1_loads(shop: Workshop) -> None:
    """D14: the coding cookie is honoured, because bytes are compiled."""
    source = "# -*- coding: latin-1 -*-\ndef run(): return 'grün'\n".encode("latin-1")
    shop.write("german", "main.py", source)
    assert shop.manager().execute("german") == "grün"


def test_converted_line_ends_are_a_change_that_loads(shop: Workshop) -> None:
    """D15: CRLF and an edit load like anything else."""
    manager = served(shop)
    shop.write("counted", "main.py", COUNTING.format(n=2).replace("\n", "\r\n"))
    assert manager.execute("counted") == 2


def test_a_file_that_changes_while_it_is_read_is_read_again(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """D16: what is hashed, compiled and remembered are the same bytes, whatever happens meanwhile."""
    from pytest_hotplug.reloader import fingerprint

    manager = served(shop)
    main = shop.plugins / "counted" / "main.py"
    reads: list[Path] = []
    real = fingerprint._read_all

    def edit_meanwhile(fd: int, expected: int) -> bytes:
        data = real(fd, expected)
        if not reads:
            reads.append(main)
            shop.write("counted", "main.py", COUNTING.format(n=3))
        return data

    shop.write("counted", "main.py", COUNTING.format(n=2))
    monkeypatch.setattr(fingerprint, "_read_all", edit_meanwhile)
    outcome = manager.reload("counted")
    assert isinstance(outcome, Reloaded)
    assert manager.execute("counted") == 3
    import hashlib

    main_md5 = manager.load("counted").snapshot.md5["main.py"]
    assert main_md5 == hashlib.md5(main.read_bytes(), usedforsecurity=False).hexdigest()


def test_a_rename_is_a_change(shop: Workshop) -> None:
    """R4: the same bytes under another name are another version."""
    shop.plugin("renamed", {"main.py": "def run():\n    from . import a\n    return 'a'\n", "a.py": "N = 1\n"})
    manager = shop.manager()
    assert manager.execute("renamed") == "a"
    os.rename(shop.plugins / "renamed" / "a.py", shop.plugins / "renamed" / "b.py")
    assert isinstance(manager.reload("renamed"), Reloaded)


def test_bytes_moved_between_two_files_are_a_change(shop: Workshop) -> None:
    """R4: the digest covers names and lengths, not only the bytes one after the other."""
    shop.plugin("moved", {"main.py": "def run(): return 1\n", "x.py": "A = 1\nB = 2\n", "y.py": "C = 3\n"})
    manager = shop.manager()
    manager.load("moved")
    shop.write("moved", "x.py", "A = 1\n")
    shop.write("moved", "y.py", "B = 2\nC = 3\n")
    assert isinstance(manager.reload("moved"), Reloaded)


@pytest.mark.parametrize(
    "file",
    [
        "test_main.py",
        "main_test.py",
        "conftest.py",
        "tests/helpers.py",
        ".hidden.py",
        ".main.py.swp",
        "main.py~",
        "#main.py#",
        "4913",
        "main.py___jb_tmp___",
        "__pycache__/main.cpython-311.pyc",
        ".git/config.json",
        "notes.txt",
        "half.py.tmp",
    ],
)
def test_files_that_are_no_part_of_a_version_never_count(shop: Workshop, file: str, executions: Any) -> None:
    """R5 R34: a plugin's own tests, hidden and editor files, bytecode and plain data start no reload."""
    manager = served(shop)
    shop.write("counted", file, "raise SystemExit('never run')\n")
    assert manager._hot_loader.check_plugin_updates("counted") is False
    assert isinstance(manager.reload("counted"), Unchanged)
    assert executions() == 1


def test_watch_ignore_names_files_that_never_count(shop: Workshop) -> None:
    """R5: what the plugin itself writes below its directory can be left out by the manifest."""
    shop.plugin("writing", "def run(): return 1\n", {"watch_ignore": ["state/*", "cache.json"]})
    manager = shop.manager()
    manager.load("writing")
    shop.write("writing", "state/last.json", "{}")
    shop.write("writing", "cache.json", "{}")
    assert isinstance(manager.reload("writing"), Unchanged)
    shop.write("writing", "other.json", "{}")
    assert isinstance(manager.reload("writing"), Reloaded)


def test_watch_ignore_holds_from_the_first_load_on(shop: Workshop) -> None:
    """R5: an ignored file that is there before the first load starts no reload either."""
    shop.plugin("writing", {"main.py": "def run(): return 1\n", "cache.json": "1"}, {"watch_ignore": ["cache.json"]})
    manager = shop.manager()
    manager.load("writing")
    shop.write("writing", "cache.json", "2")
    assert isinstance(manager.reload("writing"), Unchanged)
    shop.write("writing", "plugin.json", "{}")
    assert isinstance(manager.reload("writing"), Reloaded)
    shop.write("writing", "cache.json", "3")
    assert isinstance(manager.reload("writing"), Reloaded)


def aged(shop: Workshop, name: str, monkeypatch: pytest.MonkeyPatch) -> PluginManager:
    """Serve a plugin that has lain still for longer than a file system's clock ticks."""
    manager = shop.manager()
    manager.load(name)
    let_age(shop.plugins, monkeypatch)
    check = manager._hot_loader.check_plugin_updates
    assert (check(name), check(name)) == (False, False)
    seen = manager._registry.slots[name].seen
    assert seen is not None
    if os.name == "posix":
        assert seen.look.places, "the quick look isn't in use"
    return manager


CHANGES = ["edit", "same size and times", "add", "add deep", "remove", "rename", "dir", "link"]


@pytest.mark.parametrize("change", CHANGES)
def test_the_quick_look_overlooks_nothing(shop: Workshop, change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """R4 D02 D05 D09 D10 D12 D13: a plugin that was quiet for long is still seen to change, however it does."""
    files = {"main.py": "N = 1\ndef run(): return N\n", "sub/deep/leaf.py": "N = 1\n", "extra.py": ""}
    if change == "link":
        shop.plugin("../release", files)
        shop.plugin("../other", {**files, "extra.py": "N = 2\n"})
        (shop.plugins / "quiet").symlink_to(shop.root / "release")
    else:
        shop.plugin("quiet", files)
    manager = aged(shop, "quiet", monkeypatch)
    place = shop.plugins / "quiet"
    if change == "edit":
        shop.write("quiet", "sub/deep/leaf.py", "N = 2\n")
    elif change == "same size and times":
        same_times(place / "main.py", lambda path: path.write_text("N = 2\ndef run(): return N\n"))
    elif change == "add":
        shop.write("quiet", "new.py", "")
    elif change == "add deep":
        shop.write("quiet", "sub/deep/new.json", "{}")
    elif change == "remove":
        (place / "extra.py").unlink()
    elif change == "rename":
        os.rename(place / "extra.py", place / "other.py")
    elif change == "dir":
        os.rename(place / "sub" / "deep", place / "sub" / "shallow")
    else:
        (shop.root / "next").symlink_to(shop.root / "other")
        os.replace(shop.root / "next", place)
    assert manager._hot_loader.check_plugin_updates("quiet") is True
    assert isinstance(manager.reload("quiet"), Reloaded)


def test_a_data_file_that_keeps_growing_does_not_block_a_reload(shop: Workshop) -> None:
    """R6: a log that the plugin writes into its own directory moves all the time; its code still reloads."""
    manager = served(shop, debounce=0.01, settle_max=0.5)
    log = shop.plugins / "counted" / "plugin.log"
    import threading

    over = threading.Event()

    def chatter() -> None:
        with log.open("a") as file:
            while not over.is_set():
                file.write("line\n" * 50)
                file.flush()

    with running(chatter):
        eventually(log.exists, "the log")
        shop.write("counted", "main.py", COUNTING.format(n=2))
        outcome = manager.reload("counted")
        over.set()
    assert isinstance(outcome, Reloaded)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs FIFOs")
def test_a_fifo_hangs_nothing(shop: Workshop) -> None:
    """S7: a FIFO as data is left out; one that stands for a module is refused, and the old version serves."""
    manager = served(shop)
    os.mkfifo(shop.plugins / "counted" / "pipe")
    assert manager.force_reload_plugin("counted")
    os.mkfifo(shop.plugins / "counted" / "extra.py")
    outcome = manager.reload("counted")
    assert isinstance(outcome, KeptCurrent)
    assert outcome.error is not None
    assert outcome.error.slug == "not-a-file"
    assert manager.execute("counted") == 1


def test_a_file_that_was_moved_away_and_back_is_no_change(shop: Workshop, executions: Any) -> None:
    """D04 F08: the directory vanished and came back as it was: nothing is executed, no error sticks."""
    manager = served(shop)
    os.rename(shop.plugins / "counted", shop.root / "away")
    assert isinstance(manager.reload("counted"), KeptCurrent)
    assert manager.execute("counted") == 1
    assert manager.get_plugin_hot_info("counted")["state"] == "degraded"
    os.rename(shop.root / "away", shop.plugins / "counted")
    assert manager.execute("counted") == 1
    info = manager.get_plugin_hot_info("counted")
    assert (info["state"], info["error"], info["has_updates"]) == ("serving", None, False)
    assert executions() == 1


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_links_inside_a_plugin_are_followed(shop: Workshop) -> None:
    """S5 S6: a file may link to another place in the plugin; a link round in a circle is no part of it."""
    main = "def run():\n    from . import alias\n    return alias.N\n"
    place = shop.plugin("linking", {"main.py": main, "v1/n.py": "N = 1\n"})
    shop.write("linking", "v2/n.py", "N = 2\n")
    (place / "current").symlink_to("v1")
    (place / "alias.py").symlink_to("current/n.py")
    (place / "circle").symlink_to(".")
    manager = shop.manager()
    assert manager.execute("linking") == 1
    (place / "next").symlink_to("v2")
    os.replace(place / "next", place / "current")
    assert manager.execute("linking") == 2
