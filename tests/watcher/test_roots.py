"""Roots that are missing, come and go."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pytest_hotplug.watcher import Watching
from tests.watcher.conftest import Begin
from tests.watcher.listening import Listener, save


def _comes_and_is_watched(root: Path, listener: Listener) -> None:
    listener.forget()
    root.mkdir(parents=True)
    save(root / "main.py", "A = 1\n")
    assert listener.hears(root, root / "main.py")
    listener.forget()
    save(root / "main.py", "A = 2\n")
    assert listener.hears(root / "main.py")


def test_a_root_deleted_and_recreated_is_watched_again_and_again(root: Path, begin: Begin) -> None:
    """W20: I delete my plugin directory and check it out anew: no silence, twice in a row."""
    listener = begin(root)
    for _ in range(2):
        listener.forget()
        shutil.rmtree(root)
        assert listener.hears(root)
        _comes_and_is_watched(root, listener)


def test_a_root_that_is_missing_at_the_start_is_watched_once_it_comes(tmp_path: Path, begin: Begin) -> None:
    """I start the worker before the first deployment."""
    listener = begin(tmp_path / "plugins")
    _comes_and_is_watched(tmp_path / "plugins", listener)


def test_a_root_whose_parents_are_missing_is_watched_once_it_comes(tmp_path: Path, begin: Begin) -> None:
    """Even the directories above may come later."""
    root = tmp_path / "srv" / "app" / "plugins"
    listener = begin(root)
    root.parent.mkdir(parents=True)
    _comes_and_is_watched(root, listener)


def test_a_root_moved_away_and_back_is_watched(root: Path, tmp_path: Path, begin: Begin) -> None:
    """A maintenance script moves the directory out and in again."""
    listener = begin(root)
    root.rename(tmp_path / "away")
    assert listener.hears(root)
    listener.forget()
    (tmp_path / "away").rename(root)
    assert listener.hears(root, root / "greeter" / "main.py")
    listener.forget()
    save(root / "greeter" / "main.py", "A = 2\n")
    assert listener.hears(root / "greeter" / "main.py")


def test_a_parent_moved_away_takes_the_root_with_it(tmp_path: Path, begin: Begin) -> None:
    """The release directory above is replaced as a whole; the new root is found."""
    root = tmp_path / "app" / "plugins"
    root.mkdir(parents=True)
    (root / "main.py").write_text("", encoding="utf-8")
    listener = begin(root)
    shutil.rmtree(tmp_path / "app")
    assert listener.hears(root)
    _comes_and_is_watched(root, listener)


def test_hints_are_absolute_where_the_root_is_relative(
    root: Path, begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I say `plugins`; I am told whole paths."""
    monkeypatch.chdir(root.parent)
    listener = begin(Path("plugins"))
    save(root / "greeter" / "main.py", "A = 1\n")
    assert listener.hears(root / "greeter" / "main.py")


def test_a_watch_over_nothing_is_silent(begin: Begin, watches: list[Watching]) -> None:
    """No plugin directory is configured: nothing to report, nothing to complain about."""
    assert begin().batches == []
    assert watches[0].alive
