"""What editors and interpreters leave behind is no hint."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_hotplug.watcher.names import is_noise
from tests.watcher.conftest import Begin
from tests.watcher.listening import save

NOISE = (
    *(".hidden", ".main.py.swp", ".#main.py", "main.py~", "main.py.swp", "main.py.swx", "main.py.tmp"),
    *("4913", "#main.py#", "main.py___jb_tmp___", "main.py___jb_old___", "__pycache__"),
)


@pytest.mark.parametrize("name", NOISE)
def test_editor_and_interpreter_files_are_noise(name: str) -> None:
    """W11: None of the names my editor invents wakes anybody."""
    assert is_noise(name)


@pytest.mark.parametrize("name", ["main.py", "plugin.json", "data.txt", "49130", "#1.py", "tmp", "a.swp.py"])
def test_other_names_count(name: str) -> None:
    """Which file matters to a plugin is for the plugin to say."""
    assert not is_noise(name)


def test_noise_in_a_watched_directory_gives_no_hint(root: Path, begin: Begin) -> None:
    """After all that noise the batch with my edit holds my edit alone."""
    listener = begin(root)
    for name in NOISE:
        (root / "greeter" / name).write_text("x", encoding="utf-8")
    save(root / "greeter" / "main.py", "A = 1\n")
    assert listener.hears(root / "greeter" / "main.py")
    assert listener.paths == {root / "greeter" / "main.py"}


def test_nothing_inside_a_noisy_directory_is_a_hint(root: Path, begin: Begin) -> None:
    """Bytecode and version control may write below their own directories as much as they like."""
    for directory in ("__pycache__", ".git"):
        (root / "greeter" / directory / "deep").mkdir(parents=True)
    listener = begin(root)
    (root / "greeter" / "__pycache__" / "main.cpython-311.pyc").write_bytes(b"x")
    (root / "greeter" / ".git" / "deep" / "index").write_bytes(b"x")
    (root / "greeter" / "__pycache__" / "new").mkdir()
    save(root / "greeter" / "main.py", "A = 1\n")
    assert listener.hears(root / "greeter" / "main.py")
    assert listener.paths == {root / "greeter" / "main.py"}


def test_what_lies_beside_a_root_is_no_hint(root: Path, begin: Begin) -> None:
    """The parent is listened to for the root's sake; its other children are nobody's business."""
    listener = begin(root)
    (root.parent / "app.log").write_text("x", encoding="utf-8")
    (root.parent / "elsewhere").mkdir()
    save(root / "greeter" / "main.py", "A = 1\n")
    assert listener.hears(root / "greeter" / "main.py")
    assert listener.paths == {root / "greeter" / "main.py"}


def test_a_root_below_a_hidden_directory_is_watched(tmp_path: Path, begin: Begin) -> None:
    """Only names below the root are judged: I may keep plugins in `~/.app/plugins`."""
    root = tmp_path / ".app" / "plugins"
    root.mkdir(parents=True)
    listener = begin(root)
    save(root / "a.py", "A = 1\n")
    assert listener.hears(root / "a.py")
