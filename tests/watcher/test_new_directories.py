"""Directories that appear, vanish or are exchanged while they are watched."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.watcher.conftest import Begin
from tests.watcher.listening import save


def test_the_first_file_of_a_new_nested_directory_is_seen_every_time(root: Path, begin: Begin) -> None:
    """W21: `mkdir -p` and a file in one breath: the file is never missed."""
    listener = begin(root, debounce=0.01)
    for number in range(20):
        module = root / f"new{number}" / "deep" / "deeper" / "main.py"
        module.parent.mkdir(parents=True)
        module.write_text("A = 1\n", encoding="utf-8")
        assert listener.hears(module), number


def test_a_new_directory_is_watched_from_then_on(root: Path, begin: Begin) -> None:
    """A plugin I add while the worker runs is as live as the others."""
    listener = begin(root)
    module = root / "added" / "main.py"
    module.parent.mkdir()
    module.write_text("A = 1\n", encoding="utf-8")
    assert listener.hears(module)
    listener.forget()
    save(module, "A = 2\n")
    assert listener.hears(module)


def test_a_directory_moved_in_brings_its_files(root: Path, tmp_path: Path, begin: Begin) -> None:
    """A plugin unpacked elsewhere and moved in at once is seen with all its files."""
    ready = tmp_path / "ready"
    (ready / "sub").mkdir(parents=True)
    (ready / "sub" / "leaf.py").write_text("A = 1\n", encoding="utf-8")
    listener = begin(root)
    ready.rename(root / "moved")
    assert listener.hears(root / "moved" / "sub" / "leaf.py")
    listener.forget()
    save(root / "moved" / "sub" / "leaf.py", "A = 2\n")
    assert listener.hears(root / "moved" / "sub" / "leaf.py")


def test_a_directory_exchanged_under_its_name_is_watched_anew(root: Path, tmp_path: Path, begin: Begin) -> None:
    """A deployment swaps the whole plugin directory: later edits in the new one are seen."""
    ready = tmp_path / "ready"
    ready.mkdir()
    (ready / "main.py").write_text("GREETING = 'new'\n", encoding="utf-8")
    listener = begin(root)
    (root / "greeter").rename(tmp_path / "old")
    ready.rename(root / "greeter")
    assert listener.hears(root / "greeter", root / "greeter" / "main.py")
    listener.forget()
    save(root / "greeter" / "main.py", "GREETING = 'newer'\n")
    assert listener.hears(root / "greeter" / "main.py")


def test_a_removed_directory_is_told_and_others_stay_watched(root: Path, begin: Begin) -> None:
    """Removing one plugin silences no other."""
    (root / "other").mkdir()
    listener = begin(root)
    shutil.rmtree(root / "greeter")
    assert listener.hears(root / "greeter")
    save(root / "other" / "main.py", "A = 1\n")
    assert listener.hears(root / "other" / "main.py")
