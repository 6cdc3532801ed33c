"""Which plugins changed since a git revision, by themselves or through what they use and who uses them.

Rather more than fewer. What a plugin opens outside its own directory is not seen here, and neither are files
that git ignores. Executes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from pytest_hotplug.reloader.discovery import Found, find_plugins
from pytest_hotplug.reloader.names import is_noise, is_test
from pytest_hotplug.reloader.project import find_project, plugin_dir_path
from pytest_hotplug.reloader.refs import changed_since
from pytest_hotplug.reloader.settings import Layout, Settings
from pytest_hotplug.safety.import_statements import read_imports
from pytest_hotplug.safety.version_on_disk import version_of

__all__ = ["plugins_changed_since"]


def plugins_changed_since(ref: str, settings: Settings, root: Path, layouts: Sequence[Layout]) -> dict[str, str]:
    """Return the plugins that are concerned by what differs from `ref`, each with why.

    Raises UsageError `[unknown-ref]`.
    """
    plugins = find_plugins(layouts, settings.exclude)
    differ: set[Path] = set()
    for place in dict.fromkeys([root, *(layout.path for layout in layouts if layout.path.is_dir())]):
        differ |= changed_since(ref, place)
    _, file = find_project(root)
    if file is not None and file.resolve() in differ:
        return dict.fromkeys(plugins, f"{file.name} changed, which all plugins are run with")
    using = _Using(settings, root, plugins, differ)
    own = {name: why for name in plugins if (why := using.why(name))}
    gone = _gone(differ, layouts, plugins)
    changed = {**own, **dict.fromkeys(gone, "it is gone")}
    return {name: why for name in plugins if (why := _concerned(name, changed, using.edges))}


def _gone(differ: Iterable[Path], layouts: Sequence[Layout], plugins: Mapping[str, Found]) -> set[str]:
    """Return the names of directories that may have been plugins, and are no more."""
    places = [layout.path.resolve() for layout in layouts]
    inside = {path.relative_to(place).parts[0] for path in differ for place in places if path.is_relative_to(place)}
    return inside - plugins.keys()


def _concerned(name: str, changed: Mapping[str, str], edges: Mapping[str, set[str]]) -> str:
    if name in changed:
        return changed[name]
    for other in sorted(changed):
        if other in _reached(name, edges):
            return f"{other}, which it uses, changed"
        if name in _reached(other, edges):
            return f"{other}, which uses it, changed"
    return ""


def _reached(name: str, edges: Mapping[str, set[str]]) -> set[str]:
    found: set[str] = set()
    waiting = [name]
    while waiting:
        for other in edges.get(waiting.pop(), set()) - found:
            found.add(other)
            waiting.append(other)
    return found


class _Using:
    """What plugins use: which files of the project they import, directly and through others; which other plugins."""

    def __init__(self, settings: Settings, root: Path, plugins: Mapping[str, Found], differ: set[Path]) -> None:
        self._root = root
        self._plugins = plugins
        self._differ = differ
        named = (settings.verify_host or settings.host, *settings.verify_checks, *settings.verify_registries)
        self._of_all = [name.partition(":")[0] for name in named if name]  # modules that each verification uses
        places = [found.layout for found in plugins.values()]
        beside = [(layout.beside or layout.path).resolve() for layout in places]
        above = [layout.path.resolve().parent for layout in places]
        own = [plugin_dir_path(text, root).resolve() for text in settings.pythonpath]
        self._roots = list(dict.fromkeys([*own, *above, *beside]))
        self._whose = {found.path.resolve(): name for name, found in plugins.items()}
        self._direct: dict[Path, tuple[frozenset[Path], bool]] = {}
        self._uses = {name: self._closure(found) for name, found in plugins.items()}
        self.edges = {name: self._edges(name, found) for name, found in plugins.items()}

    def why(self, name: str) -> str:
        """Say why a plugin counts as changed by itself, "" when it doesn't."""
        top = self._plugins[name].path.resolve()
        files, computed = self._uses[name]
        own = sorted(path for path in self._differ if path.is_relative_to(top) and not _is_noise(path, top))
        if own:
            return f"{own[0].relative_to(top).as_posix()} changed"
        used = sorted(path for path in self._differ & files if self._owner(path) is None)
        if used:
            return f"{self._shown(used[0])} changed, which it imports"
        shared = sorted(path for path in self._differ if path.suffix == ".py" and self._may_be_imported(path))
        if computed and shared:
            return f"{self._shown(shared[0])} changed, and it imports modules by computed names"
        return ""

    def _may_be_imported(self, path: Path) -> bool:
        """Tell whether a changed file may be a module that several plugins share; tests are none."""
        inside = path.parts[len(self._root.resolve().parts) :]
        return self._owner(path) is None and not any(map(is_test, inside))

    def _shown(self, path: Path) -> str:
        return os.path.relpath(path, self._root.resolve())

    def _owner(self, path: Path) -> str | None:
        return next((self._whose[above] for above in path.parents if above in self._whose), None)

    def _edges(self, name: str, found: Found) -> set[str]:
        manifest = version_of(found).manifest
        imported = {owner for path in self._uses[name][0] if (owner := self._owner(path)) is not None}
        return {*(manifest.depends_on if manifest else ()), *imported} - {name}

    def _closure(self, found: Found) -> tuple[frozenset[Path], bool]:
        """Return the files that a plugin consists of and imports, and whether it computes names of modules."""
        seen, computes, top = set[Path](), False, found.path
        waiting = [path.resolve() for path in sorted(top.rglob("*")) if path.is_file() and not _is_left_out(path, top)]
        waiting += self._files(found.layout.package, self._roots)
        waiting += [file for name in self._of_all for file in self._files(name, self._roots)]
        while waiting:
            path = waiting.pop()
            if path not in seen:
                seen.add(path)
                imports, computed = self._imports_of(path)
                computes |= computed
                waiting += imports
        return frozenset(seen), computes

    def _imports_of(self, path: Path) -> tuple[frozenset[Path], bool]:
        if path.suffix != ".py" or not path.is_file():
            return frozenset(), False
        if path not in self._direct:
            imports = read_imports(path.read_bytes())
            files: set[Path] = set()
            for name, level in imports.names:
                files.update(self._files(name, [path.parents[level - 1]] if level else self._roots))
            self._direct[path] = frozenset(files), imports.computed
        return self._direct[path]

    def _files(self, name: str, roots: Iterable[Path]) -> Iterator[Path]:
        """Yield the files that a module's name may mean, also those that are gone."""
        for root in roots:
            place = root
            for part in name.split(".") if name else ():
                place = place / part
                for file in (place.with_name(f"{part}.py"), place / "__init__.py"):
                    if file in self._differ or file.is_file():
                        yield file.resolve()


def _is_noise(path: Path, top: Path) -> bool:
    return any(is_noise(part) for part in path.relative_to(top).parts)


def _is_left_out(path: Path, top: Path) -> bool:
    """Tell whether a file is none of the plugin's version: what its tests import is no matter of its own."""
    return any(is_noise(part) or is_test(part) for part in path.relative_to(top).parts)
