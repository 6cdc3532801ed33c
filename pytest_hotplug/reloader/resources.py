"""Sources and data of a generation, served from the bytes that it was loaded from.

`pkgutil.get_data`, `importlib.resources` and a loader's `get_source` of old code see old bytes, of
new code new ones. (`inspect` and tracebacks show what lies on disk: that is what `linecache` prefers.)
Reads nothing from disk; whoever records what tests read is told by an audit event.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator, Mapping
from importlib.abc import InspectLoader
from importlib.resources.abc import Traversable, TraversableResources
from pathlib import Path
from types import CodeType, ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec

    from pytest_hotplug.reloader.modules import Namespace

__all__ = ["SnapshotLoader"]


class SnapshotLoader(InspectLoader):
    """The `__loader__` of one module of one generation."""

    def __init__(self, namespace: Namespace, name: str, file: str, directory: str) -> None:
        self._namespace = namespace
        self.name = name
        self.path = namespace.place_of(file or directory)
        self._file = file
        self._directory = directory

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return the module, which the generation has executed already."""
        return self._namespace.load(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Do nothing: a generation executes its own modules."""

    def is_package(self, fullname: str) -> bool:
        return self._namespace.load(fullname).__spec__.submodule_search_locations is not None  # type: ignore[union-attr]

    def get_filename(self, fullname: str) -> str:
        return self.path

    def get_source(self, fullname: str) -> str | None:
        from importlib.util import decode_source

        sys.audit("hotplug.resource", self.path)
        return decode_source(self._namespace.files[self._file]) if self._file else None

    def get_code(self, fullname: str) -> CodeType | None:
        return self._namespace.code_of(self._file) if self._file else None

    def get_data(self, path: str) -> bytes:
        """Return a file of the generation by its path on disk; raises OSError."""
        sys.audit("hotplug.resource", path)
        try:
            return self._namespace.files[Path(path).relative_to(self._namespace.path).as_posix()]
        except (KeyError, ValueError):
            raise FileNotFoundError(path) from None

    def get_resource_reader(self, fullname: str) -> TraversableResources:
        files, place = self._namespace.files, str(self._namespace.path)
        return _Resources(SnapshotPath(files, self._directory, Path(self.path).name, place))


class _Resources(TraversableResources):
    def __init__(self, root: SnapshotPath) -> None:
        self._root = root

    def files(self) -> SnapshotPath:
        return self._root


class SnapshotPath(Traversable):
    """A file or directory inside a generation's snapshot."""

    def __init__(self, files: Mapping[str, bytes], inside: str, name: str, place: str) -> None:
        self._files = files
        self._inside = inside
        self._name = name
        self._place = place  # of the plugin on disk

    @property
    def _path(self) -> str:
        return os.path.join(self._place, *self._inside.split("/"))

    @property
    def name(self) -> str:
        return self._name

    def iterdir(self) -> Iterator[SnapshotPath]:
        sys.audit("hotplug.resources", self._path)
        prefix = f"{self._inside}/" if self._inside else ""
        for name in sorted({file[len(prefix) :].partition("/")[0] for file in self._files if file.startswith(prefix)}):
            yield self.joinpath(name)

    def is_dir(self) -> bool:
        return not self.is_file() and (not self._inside or any(f.startswith(f"{self._inside}/") for f in self._files))

    def is_file(self) -> bool:
        return self._inside in self._files

    def joinpath(self, *descendants: Any) -> SnapshotPath:
        parts = [part for part in self._inside.split("/") if part]
        for part in "/".join(str(d).replace("\\", "/") for d in descendants).split("/"):
            if part == "..":
                raise ValueError("resources of a plugin lie inside the plugin")
            if part not in ("", "."):
                parts.append(part)
        return SnapshotPath(self._files, "/".join(parts), parts[-1] if parts else self._name, self._place)

    __truediv__ = joinpath

    def read_bytes(self) -> bytes:
        sys.audit("hotplug.resource", self._path)
        try:
            return self._files[self._inside]
        except KeyError:
            raise FileNotFoundError(self._inside) from None

    def read_text(self, encoding: str | None = None, errors: str | None = None) -> str:
        return self.read_bytes().decode(encoding or "utf-8", errors or "strict")

    def open(self, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        stream = io.BytesIO(self.read_bytes())
        return stream if "b" in mode else io.TextIOWrapper(stream, *args, **kwargs)
