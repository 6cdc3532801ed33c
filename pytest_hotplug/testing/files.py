"""Edits as a sandbox makes them: whole files, each put in place with one rename.

A reader sees the old bytes or the new ones, never a half-written file. Knows nothing of plugins.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from pytest_hotplug.reloader.names import is_noise, is_test

__all__ = ["copy_plugin", "read_tree", "replace_text", "write_atomic", "write_tree"]


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write a file beside its place and rename it there; directories are made as needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_bytes(content.encode() if isinstance(content, str) else content)
    os.replace(temporary, path)


def replace_text(path: Path, old: str, new: str) -> None:
    """Replace every occurrence of an exact text; raises ValueError when it is empty or isn't there."""
    if not old:
        raise ValueError("the text to replace is empty; use write for a whole file")
    text = path.read_bytes().decode("utf-8")
    if old not in text:
        raise ValueError(f"{path.name} does not contain {old!r}; it reads:\n{text}")
    write_atomic(path, text.replace(old, new))


def copy_plugin(source: Path, target: Path) -> None:
    """Copy the files of a plugin, its own tests and noise left out."""

    def unwanted(directory: str, names: list[str]) -> list[str]:
        return [name for name in names if is_noise(name) or is_test(name)]

    shutil.copytree(source, target, ignore=unwanted)


def read_tree(root: Path) -> dict[str, bytes]:
    """Return every file below `root` that belongs to a plugin's version, by relative path."""
    found = {}
    for directory, directories, names in os.walk(root):
        directories[:] = [d for d in directories if not (is_noise(d) or is_test(d))]
        for name in names:
            if not (is_noise(name) or is_test(name)):
                path = Path(directory, name)
                found[path.relative_to(root).as_posix()] = path.read_bytes()
    return found


def write_tree(root: Path, files: Mapping[str, bytes]) -> None:
    """Make the version below `root` hold exactly `files`; files that are right already stay untouched."""
    present = read_tree(root) if root.is_dir() else {}
    for name, content in files.items():
        if present.get(name) != content:
            write_atomic(root / name, content)
    for name in present.keys() - files.keys():
        (root / name).unlink()
    _drop_empty_directories(root)


def _drop_empty_directories(root: Path) -> None:
    for directory, _, _ in sorted(os.walk(root), reverse=True):
        if Path(directory) != root and not os.listdir(directory):
            os.rmdir(directory)
