"""The look before each call sees what a look file by file sees, and asks without a pause where it may."""

from __future__ import annotations

import os
import re
import shutil
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_hotplug.reloader import quick_look
from pytest_hotplug.reloader.looking import look_at, unchanged
from pytest_hotplug.reloader.quick_look import QuickLook
from tests.reloader.workshop import Workshop, eventually

without_pause = pytest.mark.skipif(quick_look._statx is quick_look._refuse, reason="this system has no statx")


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    """A plugin of three files in two directories that has lain there for a minute."""
    place = tmp_path / "plugin"
    (place / "inner").mkdir(parents=True)
    for name in ("main.py", "plugin.json", "inner/__init__.py"):
        (place / name).write_text("1234")
    return place


def old_look_at(place: Path, monkeypatch: pytest.MonkeyPatch) -> QuickLook:
    """Look as if all lay there for long: what is young is looked at otherwise."""
    clock = place.parent / "clock"
    newest = max(path.stat().st_ctime_ns for path in (place, *place.rglob("*")))
    while not clock.exists() or clock.stat().st_ctime_ns <= newest:  # an edit in the same tick would hide
        clock.write_text("tick")
    with monkeypatch.context() as later:
        later.setattr("pytest_hotplug.reloader.looking.time.time_ns", lambda: time.monotonic_ns() + 10**19)
        look = look_at(place)
    assert len(look.places) == 5
    assert not look.racy
    return QuickLook(look)


def replaced(place: Path) -> None:
    (place / "new").write_text("1234")
    os.replace(place / "new", place / "main.py")


def edited_and_aged(place: Path) -> None:
    before = (place / "main.py").stat()
    (place / "main.py").write_text("4321")
    os.utime(place / "main.py", ns=(before.st_atime_ns, before.st_mtime_ns))


EDITS: dict[str, Callable[[Path], object]] = {
    "written anew with the same length": lambda place: (place / "main.py").write_text("4321"),
    "appended to": lambda place: (place / "inner" / "__init__.py").write_text("12345"),
    "replaced by a file of the same bytes": replaced,
    "given its old times back after an edit": edited_and_aged,
    "made unreadable": lambda place: (place / "plugin.json").chmod(0),
    "removed": lambda place: (place / "plugin.json").unlink(),
    "a new module": lambda place: (place / "inner" / "more.py").write_text(""),
    "a directory that goes": lambda place: shutil.rmtree(place / "inner"),
    "all of it moved away": lambda place: place.rename(place.with_name("elsewhere")),
}


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("kinds", [pytest.param(quick_look._LOCAL, marks=without_pause), frozenset()])
def test_it_sees_every_edit(plugin: Path, edit: str, kinds: frozenset[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """R4 R11: whichever way it asks, what a look file by file calls changed is changed."""
    monkeypatch.setattr(quick_look, "_LOCAL", kinds)
    quick = old_look_at(plugin, monkeypatch)
    assert quick.unchanged()
    assert quick.unchanged()
    EDITS[edit](plugin)
    assert not quick.unchanged()
    assert not unchanged(quick.look)


@without_pause
def test_what_was_only_read_is_unchanged(plugin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time of the last reading is part of the answer and no part of the verdict."""
    quick = old_look_at(plugin, monkeypatch)
    (plugin / "main.py").read_bytes()
    assert quick.unchanged()
    quick._before = b"another answer, as a reading leaves it on file systems that note each"
    assert quick.unchanged()


@without_pause
def test_a_file_system_of_another_machine_is_asked_with_a_pause(
    plugin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that does not answer holds up the calls of its plugins, and no other thread."""
    table = tmp_path / "mountinfo"
    table.write_text(re.sub(r" - \S+ ", " - nfs4 ", quick_look._MOUNTS.read_text(encoding="utf-8")))
    monkeypatch.setattr(quick_look, "_MOUNTS", table)
    quick = old_look_at(plugin, monkeypatch)

    def hangs(*given: Any) -> int:
        raise AssertionError("asked without a pause")

    monkeypatch.setattr(quick_look, "_statx", hangs)
    assert quick.unchanged()
    (plugin / "main.py").write_text("4321")
    assert not quick.unchanged()


@without_pause
def test_without_a_mount_table_it_asks_file_by_file(
    plugin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a container without /proc nobody can tell whose file system it is."""
    monkeypatch.setattr(quick_look, "_MOUNTS", tmp_path / "no such table")
    quick = old_look_at(plugin, monkeypatch)
    assert not quick._places
    assert quick.unchanged()


def test_a_system_without_the_question_is_asked_file_by_file(plugin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A system that has no statx, and a sandbox that forbids it, change no verdict."""
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(sys, "platform", "darwin")
        refused = quick_look._find_statx()
    monkeypatch.setattr(quick_look, "_statx", refused)
    quick = old_look_at(plugin, monkeypatch)
    assert quick.unchanged()
    (plugin / "main.py").write_text("4321")
    assert not quick.unchanged()


def test_a_python_without_ctypes_looks_file_by_file(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some are built without; their calls run the newest code like everybody's."""
    monkeypatch.setitem(sys.modules, "pytest_hotplug.reloader.quick_look", None)
    shop.plugin("subject", "def run():\n    return 1\n")
    manager = shop.manager()
    manager.execute("subject")
    slot = manager._registry.slots["subject"]
    eventually(lambda: manager.execute("subject") == 1 and slot.seen is not None and not slot.seen.racy, "an old file")
    assert manager.execute("subject") == 1
    assert slot.quick is None
    shop.write("subject", "main.py", "def run():\n    return 2\n")
    assert manager.execute("subject") == 2


def test_no_thread_calls_an_edit_unchanged(plugin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads that look at once share the answers; after an edit not one of them says "unchanged"."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    wrong: list[int] = []
    try:
        for number in range(30):
            quick = old_look_at(plugin, monkeypatch)
            edited, begun = threading.Event(), threading.Barrier(5)

            def look(quick: QuickLook = quick, edited: threading.Event = edited, begun: Any = begun) -> None:
                begun.wait()
                for _ in range(200):
                    before = edited.is_set()
                    if quick.unchanged() and before:
                        wrong.append(1)

            threads = [threading.Thread(target=look) for _ in range(4)]
            for thread in threads:
                thread.start()
            begun.wait()
            (plugin / "main.py").write_text(f"{number:04}")
            edited.set()
            for thread in threads:
                thread.join()
            assert not quick.unchanged()
    finally:
        sys.setswitchinterval(interval)
    assert not wrong
