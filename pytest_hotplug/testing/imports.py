"""Import the files of a plugin's tests, and serve what those files import.

A test, a conftest or a support file beside them is executed under its public name without its
plugin: packages of plugin code around it are never imported, those of test code (`tests/__init__.py`)
are. `sys.path` is not touched. Each such module gets an `__import__` of its own, because a flat
`from main import run` means another file in every plugin, and a relative import would execute the
plugin's packages on the way to a support file. What turns out to be plugin code is left to the
finders in `sys.meta_path`, where the reloader's stands. Knows nothing of collecting.
"""

from __future__ import annotations

import builtins
import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib._bootstrap import (  # type: ignore[attr-defined]  # importlib's own lock: an ordinary import
    _DeadlockError,  # of the same name in another thread has to wait for ours
    _ModuleLockManager,
)
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec, resolve_name, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from pytest_hotplug.testing.places import Place, Places

__all__ = ["ImportsOfOneModule", "LiveBuiltins", "PluginTestModules"]

LEAF = ("__name__",)  # a fromlist that every module satisfies: `__import__` then returns the module itself

# Pickling an iterator or a method, CPython 3.11 and 3.12 take these from the dict itself, past `__missing__`.
TAKEN_BY_THE_INTERPRETER = ("getattr", "iter", "next", "reversed")


class PluginTestModules:
    """The modules made of the plugins' test files; they stand in sys.modules and stay there."""

    def __init__(self, places: Places) -> None:
        self.places = places

    def load_file(self, place: Place, path: Path) -> ModuleType:
        """Return the module of a collected file; raises ImportError, and whatever its code raises."""
        __tracebackhide__ = True
        module = self._load(place, path)
        other = getattr(module, "__file__", None)
        if other is not None and not _same_file(other, path):
            raise ImportError(f"{place.name} is imported from {other} already, so {path} cannot have this name")
        return module

    def load(self, place: Place) -> ModuleType:
        """Return the module or package of a test-side name; raises ModuleNotFoundError."""
        __tracebackhide__ = True
        path = place.file or place.directory
        if path is None:
            raise ModuleNotFoundError(f"No module named {place.name!r}", name=place.name)
        return self._load(place, path)

    def load_code(self, place: Place) -> ModuleType:
        """Return a module of the plugin's own code, from whoever serves its public name."""
        __tracebackhide__ = True
        return _import(place.name, LEAF)

    def _load(self, place: Place, path: Path) -> ModuleType:
        __tracebackhide__ = True
        name = place.name
        module = sys.modules.get(name)
        if module is not None and not getattr(getattr(module, "__spec__", None), "_initializing", False):
            return module
        for package in place.above():
            if package.is_test and package.file is not None:
                self.load(package)
        try:
            with _ModuleLockManager(name):
                return sys.modules.get(name) or self._execute(place, path)
        except _DeadlockError:
            # Two threads import files that import each other: accept the half-made one, as importlib does.
            return sys.modules[name]

    def _execute(self, place: Place, path: Path) -> ModuleType:
        __tracebackhide__ = True
        spec = _spec(place.name, path)
        module = module_from_spec(spec)
        module.__dict__["__builtins__"] = LiveBuiltins(ImportsOfOneModule(self, place))
        sys.modules[place.name] = module
        spec._initializing = True  # type: ignore[attr-defined]  # what importlib sets, and waits for
        try:
            assert spec.loader is not None, "module_from_spec gives a loader even to a plain directory"
            spec.loader.exec_module(module)
        except BaseException:
            sys.modules.pop(place.name, None)
            raise
        finally:
            spec._initializing = False  # type: ignore[attr-defined]
        _link(place)
        return sys.modules[place.name]

    # -- import statements ------------------------------------------------------------------------

    def answer_from(self, place: Place, names: Sequence[str]) -> ModuleType:
        """Answer `from place import names`."""
        __tracebackhide__ = True
        if place.is_test:
            module = self.load(place)
            wanted = [*names, *getattr(module, "__all__", ())] if "*" in names else names
            self._bring(place, [name for name in wanted if not hasattr(module, name)])
            return module
        brought = self._bring(place, [name for name in names if place.child(name).is_test])
        code = tuple(name for name in names if name not in brought)
        return _import(place.name, code) if code else _stand_in(place.name, brought)

    def _bring(self, place: Place, names: Sequence[str]) -> dict[str, ModuleType]:
        __tracebackhide__ = True
        return {name: self.load(place.child(name)) for name in names if name != "*" and place.child(name).exists}

    def answer_import(self, place: Place, bound: Place | None) -> ModuleType:
        """Answer `import place`: return the module at `bound`, or the outermost package if that is None."""
        __tracebackhide__ = True
        code = place if not place.is_test else [p for p in place.above() if not p.is_test][-1]
        outermost = _import(code.name, ()) if bound is None or not bound.is_test else None
        if place.is_test:
            for package in (*place.above(), place):
                if package.is_test:
                    self.load(package)
            _link(place)
        if bound is None:
            assert outermost is not None, "the outermost package lies around plugin code"
            return outermost
        return self.load(bound) if bound.is_test else self.load_code(bound)


@dataclass(frozen=True, slots=True)
class ImportsOfOneModule:
    """Stands in for `__import__` in one test-side module."""

    modules: PluginTestModules
    at: Place

    def __call__(
        self,
        name: str,
        globals: Mapping[str, Any] | None = None,  # noqa: A002  # the names are `__import__`'s
        locals: Mapping[str, Any] | None = None,  # noqa: A002
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> Any:
        """Import as the statement says, plugin code and test files by their public names."""
        __tracebackhide__ = True
        package = (globals or {}).get("__package__") if level else None
        place = self._place(name, package, fromlist or (), level)
        if place is None:
            # Asked for each time: a test may have patched it.
            return builtins.__import__(name, globals, locals, fromlist, level)
        if fromlist:
            return self.modules.answer_from(place, fromlist)
        return self.modules.answer_import(place, _bound(place, name))

    def _place(self, name: str, package: str | None, names: Sequence[str], level: int) -> Place | None:
        """Return the place in a plugin that an import means, None for everything else."""
        places = self.modules.places
        if level:
            return places.of_name(resolve_name("." * level + name, package)) if package else None
        if name.partition(".")[0] in sys.stdlib_module_names:
            return None
        return places.of_name(name) or places.of_flat_name(name, names, self.at)


class LiveBuiltins(dict[str, Any]):
    """The builtins of one module: its own `__import__`, and everything else as it is at this moment.

    Not a copy, or `mock.patch("builtins.open")` would miss the test's own calls. The lookup is a
    method of a dict, written in C: 60 to 170 ns for each use of a builtin name, nothing for others.
    """

    __slots__ = ()

    def __init__(self, import_: Callable[..., Any]) -> None:
        super().__init__({name: vars(builtins)[name] for name in TAKEN_BY_THE_INTERPRETER}, __import__=import_)

    __missing__ = vars(builtins).__getitem__
    __contains__ = vars(builtins).__contains__


def _bound(place: Place, name: str) -> Place | None:
    """Return what `import a.b` binds, counted from the end of `place`; None for its outermost package."""
    if place.name == name:
        return None
    depth = len(place.inside) - name.count(".")
    return Place(place.root, place.plugin, place.inside[:depth])


def _import(name: str, names: Sequence[str]) -> ModuleType:
    __tracebackhide__ = True
    module: ModuleType = builtins.__import__(name, None, None, tuple(names), 0)
    return module


def _stand_in(name: str, attributes: Mapping[str, ModuleType]) -> ModuleType:
    """Return a package to take test files from, so that `from . import conftest` executes no plugin."""
    package = ModuleType(name)
    vars(package).update(attributes)
    return package


def _link(place: Place) -> None:
    """Make each package an attribute of the one around it, as an ordinary import does."""
    for inner in (*place.above(), place):
        around, _, child = inner.name.rpartition(".")
        module, package = sys.modules.get(inner.name), sys.modules.get(around)
        if module is not None and package is not None and not hasattr(package, child):
            setattr(package, child, module)


def _same_file(one: str, other: Path) -> bool:
    return Path(one) == other or (Path(one).exists() and other.samefile(one))


def _spec(name: str, path: Path) -> ModuleSpec:
    if path.is_dir():
        spec = ModuleSpec(name, None, is_package=True)
        spec.submodule_search_locations = [str(path)]
        return spec
    found = _ask_finders(name, path)
    if found is None:
        importlib.invalidate_caches()  # the file may be younger than what a finder remembers of its directory
        found = _ask_finders(name, path)
    found = found or spec_from_file_location(name, path)
    if found is None:
        raise ImportError(f"{path} is no Python source")
    return found


def _ask_finders(name: str, path: Path) -> ModuleSpec | None:
    """Ask sys.meta_path, where pytest's assertion rewriting stands, for a module in this very file."""
    directory = path.parent.parent if path.name == "__init__.py" else path.parent
    for finder in sys.meta_path:
        find_spec = getattr(finder, "find_spec", None)  # importlib passes over finders without it, too
        spec: ModuleSpec | None = find_spec(name, [str(directory)]) if find_spec else None
        if spec is not None and spec.origin is not None and Path(spec.origin) == path:
            return spec
    return None
