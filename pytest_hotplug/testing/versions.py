"""A plugin's files as they were at some reference: a git ref, a directory, or the work tree. Only reads."""

from __future__ import annotations

from pathlib import Path

from pytest_hotplug.reloader.refs import files_in_git
from pytest_hotplug.testing.files import read_tree

__all__ = ["files_at"]


def files_at(ref: str, plugin: Path) -> dict[str, bytes]:
    """Return the files of the plugin in directory `plugin` at `ref` ("." is the work tree).

    A directory holds the plugin itself or a directory of its name. Raises UsageError `[unknown-ref]`.
    """
    if ref == ".":
        return read_tree(plugin)
    directory = Path(ref)
    if directory.is_dir():
        inside = directory / plugin.name
        return read_tree(inside if inside.is_dir() else directory)
    return files_in_git(ref, plugin)
