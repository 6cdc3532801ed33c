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

    def of_code(self) -> list[str]:
        """Return the names of the Python files."""
        return [name for name in self.original if name.endswith(".py")]

    def write(self, name: str, content: bytes) -> None:
        """Save a file at once: whoever reads it meanwhile gets the old or the new content, never a part."""
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.hotplug-new")
        beside.write_bytes(content)
        os.replace(beside, path)

    def restore(self) -> None:
        """Lay down what was there when this was made, and nothing else; files that are so already stay untouched."""
        for path in sorted(self.directory.rglob("*"), reverse=True):
            name = path.relative_to(self.directory).as_posix()
            if path.is_dir() and not path.is_symlink():
                if name in self.original:
                    shutil.rmtree(path)
            elif name not in self.original and "__pycache__" not in path.parts:
                path.unlink(missing_ok=True)
        for name, content in self.original.items():
            if self._content_of(name) != content:
                self.write(name, content)

    def _content_of(self, name: str) -> bytes | None:
        try:
            return (self.directory / name).read_bytes()
        except OSError:  # gone, or no file any more
            return None
