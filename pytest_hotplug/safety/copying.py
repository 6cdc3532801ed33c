"""Copy plugins so that what a child gets is what the manager would find, links and all."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path

__all__ = ["copy_plugin", "copy_plugins"]

_NOT_COPIED = shutil.ignore_patterns("__pycache__", ".git", ".hotplug", "*.pyc")


def copy_plugins(plugin_dir: Path, target: Path) -> None:
    """Copy a plugin dir; a plugin that is a link becomes what it leads to."""
    target.mkdir(parents=True)
    for entry in sorted(os.scandir(plugin_dir), key=lambda entry: entry.name):
        if entry.name in _left_out(str(plugin_dir), [entry.name]):
            continue
        if entry.is_dir():
            copy_plugin(Path(entry.path).resolve(), target / entry.name)
        elif entry.is_file():
            shutil.copy2(entry.path, target / entry.name)


def copy_plugin(plugin: Path, target: Path) -> None:
    """Copy one plugin. A link in it stays one; where it leads outside, it leads to the same place from the copy."""
    shutil.copytree(plugin, target, ignore=_left_out, symlinks=True)
    top = plugin.resolve()
    for place, directories, files in os.walk(target):
        for name in (*directories, *files):
            link = Path(place, name)
            if link.is_symlink() and not link.readlink().is_absolute():
                original = (top / link.relative_to(target)).parent / link.readlink()
                if not Path(os.path.normpath(original)).is_relative_to(top):
                    link.unlink()
                    link.symlink_to(os.path.normpath(original))


def _left_out(directory: str, names: Sequence[str]) -> Iterable[str]:
    """Return what is no part of a version: caches, and what is neither file, directory nor link."""
    kinds = {name: os.lstat(os.path.join(directory, name)).st_mode for name in names}
    special = {n for n, mode in kinds.items() if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode))}
    return special | _NOT_COPIED(directory, list(names))
