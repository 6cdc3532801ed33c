"""Where the files of plugins lie, and the public names that they import under.

Paths to names and back, for pytest's side alone: it meets files (a test, a conftest) before anything
is loaded. Looks at the disk, imports and executes nothing. Used by the other files of this storey.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_hotplug.reloader.names import is_plugin_name, is_test

__all__ = ["Place", "Places", "PluginRoot", "public_name"]


@dataclass(frozen=True, slots=True)
class PluginRoot:
    """One configured plugin dir: its absolute path, and the package its plugins import from ("" for none)."""

    path: Path
    package: str
    signs: tuple[str, ...] = ("plugin.json", "main.py", "main/__init__.py")  # one of them makes a directory a plugin

    def holds(self, name: str) -> bool:
        """Tell whether a plugin of this name lies here."""
        place = self.path / name
        return is_plugin_name(name) and any(os.path.isfile(os.path.join(place, sign)) for sign in self.signs)

    def public(self, plugin: str) -> str:
        """Return the public name of the plugin in the directory of this name."""
        return f"{self.package}.{plugin}" if self.package else plugin


@dataclass(frozen=True, slots=True)
class Place:
    """Where something lies: in which plugin of which plugin dir, and where below it."""

    root: PluginRoot
    plugin: Path
    inside: tuple[str, ...]  # names from the plugin's directory down, without ".py" and "__init__"

    @property
    def name(self) -> str:
        """The public name."""
        return ".".join((self.root.public(self.plugin.name), *self.inside))

    @property
    def is_test(self) -> bool:
        """Whether the reloader counts it to the plugin's own tests: no part of the plugin's code."""
        return any(is_test(part) or is_test(f"{part}.py") for part in self.inside)

    @property
    def file(self) -> Path | None:
        """What an import of the name executes: a package's `__init__.py`, or a module; None for neither."""
        stem = str(self.plugin.joinpath(*self.inside))
        found = (f for f in (os.path.join(stem, "__init__.py"), f"{stem}.py") if os.path.isfile(f))
        return next(map(Path, found), None)

    @property
    def directory(self) -> Path | None:
        """The directory of this name, with or without an `__init__.py`."""
        path = self.plugin.joinpath(*self.inside)
        return path if os.path.isdir(path) else None

    @property
    def exists(self) -> bool:
        """Whether a module, a package or a directory has this name."""
        return self.file is not None or self.directory is not None

    def holds(self, name: str, names: Sequence[str] = ()) -> bool:
        """Tell whether an `import name`, or `from name import names`, can be served from here."""
        first, _, rest = name.partition(".")
        return self.child(first).is_meant_by(rest, names)

    def is_meant_by(self, rest: str, names: Sequence[str]) -> bool:
        """Tell whether an import of this, of `rest` in it or of `names` from it can mean this place."""
        if self.file is not None:
            return True
        # A directory without __init__.py must hold what is asked for: it never hides an installed package.
        wanted = [rest] if rest else [name for name in names if name != "*"]
        directory = self.directory
        if directory is None:
            return False
        return any(self.child(n).exists for n in wanted) if wanted else any(directory.glob("*.py"))

    def child(self, name: str) -> Place:
        """Return the place of a (dotted) name below this one."""
        return Place(self.root, self.plugin, (*self.inside, *name.split(".")))

    def above(self) -> Iterator[Place]:
        """Yield the packages around this place, outermost (the plugin's own) first."""
        for depth in range(len(self.inside)):
            yield Place(self.root, self.plugin, self.inside[:depth])


def public_name(path: Path, roots: Sequence[PluginRoot]) -> str | None:
    """Return the public name of a file or directory, None outside every plugin.

    `/proj/plugins/greeter/tests/test_x.py` is `plugins.greeter.tests.test_x`.
    """
    place = Places(roots).of_path(path)
    return place.name if place else None


class Places:
    """All plugins below some plugin dirs, looked up by path or by public name."""

    def __init__(self, roots: Sequence[PluginRoot]) -> None:
        deepest_first = sorted(roots, key=lambda root: len(root.path.parts), reverse=True)
        self._roots = tuple(deepest_first)
        self._real = tuple((Path(os.path.realpath(root.path)), root) for root in deepest_first)

    def of_path(self, path: Path) -> Place | None:
        """Return the place of a file or directory inside a plugin, None outside every plugin."""
        for root in self._roots:
            if path.is_relative_to(root.path):
                place = self._below(root, path.relative_to(root.path).parts)
                if place is not None:
                    return place
        real = Path(os.path.realpath(path.parent), path.name)
        for real_root, root in self._real:
            if (real_root, real) != (root.path, path) and real.is_relative_to(real_root):
                return self._below(root, real.relative_to(real_root).parts)
        return None

    def of_name(self, name: str) -> Place | None:
        """Return the place that a public name has, even if nothing is there; None outside every plugin."""
        for root in self._roots:
            prefix = root.public("")
            if name.startswith(prefix):
                plugin, *inside = name[len(prefix) :].split(".")
                if root.holds(plugin):
                    return Place(root, root.path / plugin, tuple(inside))
        return None

    def of_flat_name(self, name: str, names: Sequence[str], at: Place) -> Place | None:
        """Return what a plain `import name`, or `from name import names`, can mean to the file at `at`.

        That is what it would find if pytest put its usual directories on sys.path: beside the file,
        in the plugin's directory, and `greeter.main` from the plugin dir itself.
        """
        for package in reversed(list(at.above()) or [at]):
            if (package.file is None or not package.inside) and package.holds(name, names):
                return package.child(name)
        return self._from_plugin_dir(name, names, at)

    def _from_plugin_dir(self, name: str, names: Sequence[str], at: Place) -> Place | None:
        root, (plugin, _, rest) = at.root, name.partition(".")
        if Place(root, at.plugin, ()).file is None and str(root.path) not in sys.path:
            return None
        other = Place(root, root.path / plugin, ())
        if not root.holds(plugin) or not other.is_meant_by(rest, names):
            return None
        return other.child(rest) if rest else other

    def _below(self, root: PluginRoot, parts: tuple[str, ...]) -> Place | None:
        if not parts or not root.holds(parts[0]):
            return None
        inside = [part.replace(".", "_") for part in _without_suffix(parts[1:])]
        return Place(root, root.path / parts[0], tuple(inside))


def _without_suffix(parts: tuple[str, ...]) -> tuple[str, ...]:
    if not parts or not parts[-1].endswith(".py"):
        return parts
    *directories, file = parts
    return tuple(directories) if file == "__init__.py" else (*directories, file[: -len(".py")])
