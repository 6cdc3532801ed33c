"""A look and a reading take no more than what changed, and miss nothing for it."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import pytest

from pytest_hotplug import KeptCurrent
from pytest_hotplug.reloader import fingerprint, looking
from pytest_hotplug.reloader.check import Checker
from pytest_hotplug.reloader.errors import PluginFault
from pytest_hotplug.reloader.fingerprint import Snapshot, snapshot
from pytest_hotplug.reloader.registry import Slot
from tests.reloader.workshop import Workshop, let_age

pytestmark = pytest.mark.skipif(os.name != "posix", reason="elsewhere everything is listed and read")


class Read(Protocol):
    """Reads a plugin of which something is known, and tells which files it read and which directories it listed."""

    def __call__(
        self, known: Snapshot | None, *, ignore: tuple[str, ...] = ()
    ) -> tuple[Snapshot, list[str], list[str]]: ...


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    """Return a plugin with two modules, one of them in a package, and data."""
    place = tmp_path / "greeter"
    (place / "inner").mkdir(parents=True)
    (place / "plugin.json").write_text("{}")
    (place / "main.py").write_text("def run(): return 1\n")
    (place / "inner" / "text.py").write_text("HELLO = 'hello'\n")
    (place / "names.txt").write_text("Ada\n")
    return place


@contextmanager
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[list[str], list[str]]]:
    """Write down which files are read, and which directories listed."""
    read: list[str] = []
    listed: list[str] = []
    real_open, real_scandir = fingerprint._open, looking._scandir

    def opened(path: str, flags: int) -> int:
        read.append(os.path.basename(path))
        return real_open(path, flags)

    def scandir(path: str) -> Any:
        listed.append(os.path.basename(path))
        return real_scandir(path)

    with monkeypatch.context() as patch:
        patch.setattr(fingerprint, "_open", opened)
        patch.setattr(looking, "_scandir", scandir)
        yield read, listed


@pytest.fixture
def reading(plugin: Path, monkeypatch: pytest.MonkeyPatch) -> Read:
    """Return what reads the plugin."""

    def read(known: Snapshot | None, *, ignore: tuple[str, ...] = ()) -> tuple[Snapshot, list[str], list[str]]:
        with watched(monkeypatch) as (files, directories):
            return snapshot(plugin, plugin="greeter", known=known, ignore=ignore), sorted(files), sorted(directories)

    return read


ALL = ["main.py", "names.txt", "plugin.json", "text.py"]


def test_only_what_was_touched_is_read_again(plugin: Path, reading: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    """An edit in place costs one reading and no listing; what the other sources hold is known."""
    let_age(plugin, monkeypatch)
    first, files, directories = reading(None)
    assert (files, directories) == (ALL, ["greeter", "inner"])
    (plugin / "main.py").write_text("def run(): return 2\n")
    second, files, directories = reading(first)
    assert (files, directories) == (["main.py", "names.txt"], [])
    assert second.files == reading(None)[0].files
    assert second.digest == reading(None)[0].digest != first.digest


def test_data_is_read_each_time(plugin: Path, reading: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    """What writes data may do it through memory, which shows in no time: nothing but reading it tells."""
    names = plugin / "names.txt"
    with names.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        mapped[:3] = b"Bob"
        let_age(plugin, monkeypatch)
        first, *_ = reading(None)
        mapped[:3] = b"Eve"
        second, files, _ = reading(first)
    assert (files, second.files["names.txt"], second.digest) == (["names.txt"], b"Eve\n", first.digest)


@pytest.mark.parametrize("change", ["add", "add deep", "remove", "rename over", "directory"])
def test_what_comes_or_goes_is_found_by_listing(
    plugin: Path, reading: Read, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """D: a name that came, went or was replaced makes the directories be listed; nothing old is served for it."""
    let_age(plugin, monkeypatch)
    first, *_ = reading(None)
    if change == "add":
        (plugin / "more.py").write_text("X = 1\n")
    elif change == "add deep":
        (plugin / "inner" / "more.py").write_text("X = 1\n")
    elif change == "remove":
        (plugin / "inner" / "text.py").unlink()
    elif change == "rename over":
        (plugin / "new").write_text("def run(): return 3\n")
        os.replace(plugin / "new", plugin / "main.py")
    else:
        (plugin / "main.py").unlink()
        (plugin / "main.py").mkdir()
    second, _, directories = reading(first)
    whole = reading(None)[0]
    assert "greeter" in directories
    assert (second.files, second.digest) == (whole.files, whole.digest)


def test_what_is_young_is_read_whatever_its_times_say(plugin: Path, reading: Read) -> None:
    """D01: within a tick of the file system's clock an edit leaves no trace, so that young files are read each time."""
    first, *_ = reading(None)
    _, files, _ = reading(first)
    assert files == ALL


def test_other_patterns_make_it_look_anew(plugin: Path, reading: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    """What watch_ignore names counts no more from the first look on that knows it, and again without it."""
    let_age(plugin, monkeypatch)
    first, *_ = reading(None)
    second = reading(first, ignore=("inner/*",))[0]
    assert set(second.md5) == {"main.py", "plugin.json"}
    assert set(reading(second)[0].md5) == {"main.py", "plugin.json", "inner/text.py"}


@pytest.mark.parametrize("to", ["another file", "another name of the same file"])
def test_a_link_that_leads_elsewhere_now_is_followed_anew(
    plugin: Path, reading: Read, monkeypatch: pytest.MonkeyPatch, to: str
) -> None:
    """S: a link through somewhere else, which was moved there without a trace in the plugin, is refused."""
    between, outside = plugin.parent / "between", plugin.parent / "outside.py"
    between.symlink_to(plugin / "main.py")
    (plugin / "linked.py").symlink_to(between)
    if to == "another file":
        outside.write_text("PASSWORD = 'x'\n")
    else:
        os.link(plugin / "main.py", outside)
    let_age(plugin, monkeypatch)
    first, *_ = reading(None)
    assert first.files["linked.py"] == first.files["main.py"]
    between.unlink()
    between.symlink_to(outside)
    with pytest.raises(PluginFault) as refused:
        reading(first)
    assert refused.value.fault.slug == "escaping-link"


@pytest.mark.parametrize("to", ["outside", "a place that everybody may write"])
def test_a_directory_further_up_that_was_moved_is_noticed(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch, to: str
) -> None:
    """S: a link in the place of a directory above changes no time below, and the rules hold for where it leads."""
    real = shop.root / "releases" / "41"
    real.mkdir(parents=True)
    (real / "main.py").write_text("def run(): return 1\n")
    (real / "plugin.json").write_text("{}")
    (shop.plugins / "greeter").symlink_to(real)
    manager = shop.manager(strict_permissions="on")
    let_age(shop.plugins, monkeypatch)
    assert manager.execute("greeter") == 1
    elsewhere = shop.root.parent / f"{shop.root.name}-elsewhere" if to == "outside" else shop.root / "open"
    elsewhere.mkdir()
    elsewhere.chmod(0o755 if to == "outside" else 0o777)
    (shop.root / "releases").rename(elsewhere / "releases")
    (shop.root / "releases").symlink_to(elsewhere / "releases")
    (elsewhere / "releases" / "41" / "main.py").write_text("def run(): return 22\n")
    outcome = manager.reload("greeter")
    assert isinstance(outcome, KeptCurrent)
    assert outcome.error is not None
    assert outcome.error.slug == ("escaping-link" if to == "outside" else "untrusted")
    assert manager.execute("greeter") == 1


def test_a_link_that_led_back_is_followed_once_it_leads_somewhere(
    plugin: Path, reading: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a link leads to counts from the moment on that it leads there, though no directory of the plugin changed."""
    between = plugin.parent / "between"
    between.symlink_to(plugin)
    (plugin / "again").symlink_to(between)
    let_age(plugin, monkeypatch)
    first, *_ = reading(None)
    assert set(first.files) == {"main.py", "names.txt", "plugin.json", "inner/text.py"}
    between.unlink()
    between.symlink_to(plugin / "inner")
    second, *_ = reading(first)
    assert set(second.files) - set(first.files) == {"again/text.py"}


def test_a_forced_reload_reads_every_file(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever forces a reload may not trust times: everything is read and hashed again."""
    shop.plugin("greeter", "def run(): return 1\n", {"version": "1"})
    shop.write("greeter", "names.txt", "Ada\n")
    manager = shop.manager()
    let_age(shop.plugins / "greeter", monkeypatch)
    assert manager.execute("greeter") == 1
    shop.write("greeter", "main.py", "def run(): return 2\n")
    with watched(monkeypatch) as (read, _):
        assert manager.execute("greeter") == 2
    assert set(read) == {"main.py", "names.txt"}
    with watched(monkeypatch) as (read, _):
        assert manager.force_reload_plugin("greeter")
    assert set(read) == {"main.py", "names.txt", "plugin.json"}


def test_a_forced_reload_reads_every_file_whoever_looks_meanwhile(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What another thread's look has read in that moment, but for what it knew, is not taken for it."""
    shop.plugin("greeter", "def run(): return 1\n", {"version": "1"})
    manager = shop.manager()
    let_age(shop.plugins / "greeter", monkeypatch)
    assert manager.execute("greeter") == 1
    let_age(shop.plugins / "greeter", monkeypatch)
    real = Checker.forget_reading

    def looked_at_meanwhile(checker: Checker, slot: Slot) -> None:
        monkeypatch.setattr(Checker, "forget_reading", real)
        real(checker, slot)
        os.utime(shop.plugins / "greeter" / "main.py")
        assert not manager._hot_loader.check_plugin_updates("greeter")

    monkeypatch.setattr(Checker, "forget_reading", looked_at_meanwhile)
    with watched(monkeypatch) as (read, _):
        assert manager.force_reload_plugin("greeter")
    assert read.count("plugin.json") == 1, "the look took it as known, the reload must not"


def test_what_does_not_serve_is_not_kept_in_memory(shop: Workshop) -> None:
    """Who asks about plugins that nobody loaded, or that were unloaded, leaves none of their bytes behind."""
    shop.plugin("greeter", "def run(): return 1\n", {"version": "1"})
    manager = shop.manager()
    manager.get_plugin_hot_info("greeter")
    slot = manager._registry.slots["greeter"]
    assert slot.read is None
    manager.load("greeter")
    manager.get_plugin_hot_info("greeter")
    assert slot.read is not None
    manager.unload("greeter")
    manager.get_plugin_hot_info("greeter")
    assert slot.read is None
