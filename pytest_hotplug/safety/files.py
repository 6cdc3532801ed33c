"""The plugin's files on the stage: edited as an editor or a deployment does, and laid down again as they were."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

__all__ = ["Files"]


class Files:
    """The regular files of one directory; `original` are their bytes when this was made, by relative name."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.original: Mapping[str, bytes] = {
            path.relative_to(directory).as_posix(): path.read_bytes()
            for path in sorted(directory.rglob("*"))
            if path.is_file() and "__pycache__" not in path.parts
        }

    def write(self, name: str, content: bytes) -> None:
        """Save a file at once: whoever reads it meanwhile gets the old or the new content, never a part."""
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.hotplug-new")
        beside.write_bytes(content)
        os.replace(beside, path)

    def lay_down(self, edit: Mapping[str, bytes | None]) -> None:
        """Save files by relative name; those without content are removed."""
        for name, content in edit.items():
            if content is None:
                (self.directory / name).unlink()
            else:
                self.write(name, content)

    def holds(self, edit: Mapping[str, bytes | None]) -> bool:
        """Tell whether what was laid down is still what lies there."""
        return all(self._content_of(name) == content for name, content in edit.items())

    def changed(self) -> list[str]:
        """Return the names of files whose content is not the original one, new and missing ones included."""
        there = Files(self.directory).original
        return sorted(name for name in {*there, *self.original} if there.get(name) != self.original.get(name))

    def discard(self) -> None:
        """Remove the directory with all that is in it."""
        shutil.rmtree(self.directory)

    def restore(self) -> None:
        """Lay down what was there when this was made, and nothing else."""
        self.replace_by(self.original)

    def replace_by(self, files: Mapping[str, bytes]) -> None:
        """Let the directory hold these files and nothing else; files that are so already stay untouched."""
        for path in sorted(self.directory.rglob("*"), reverse=True):
            name = path.relative_to(self.directory).as_posix()
            if path.is_dir() and not path.is_symlink():
                if name in files:
                    shutil.rmtree(path)
            elif name not in files and "__pycache__" not in path.parts:
                path.unlink(missing_ok=True)
        for name, content in files.items():
            if self._content_of(name) != content:
                self.write(name, content)

    def _content_of(self, name: str) -> bytes | None:
        try:
            return (self.directory / name).read_bytes()
        except OSError:  # gone, or no file any more
            return None
