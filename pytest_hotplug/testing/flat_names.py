"""Serve flat names that tests of plugins use in strings: `mock.patch("main.run")`, `import_module("main")`.

No import statement of the test stands behind these, so nothing tells the asking module; but while a
test runs, or a test file is imported, its plugin is known. The name leads to the module that has the
public name, and leaves `sys.modules` when the test has ended: the next plugin's `main` is another.
Installed packages win over it, as nobody knows whether the test or a library asked. What plugin code
asks for is never answered: it would find here what its own version doesn't hold.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import FrameType, ModuleType

from pytest_hotplug.testing.imports import LiveBuiltins, PluginTestModules
from pytest_hotplug.testing.places import Place

__all__ = ["FlatNames", "take_back_flat_names"]


class FlatNames(MetaPathFinder, Loader):
    """A finder in sys.meta_path, and the loader of what it finds."""

    def __init__(self, modules: PluginTestModules) -> None:
        self._modules = modules
        self._at: Place | None = None
        self._lent: dict[str, Place] = {}

    @contextmanager
    def of(self, place: Place | None) -> Iterator[None]:
        """Let flat names mean modules of the plugin that `place` lies in."""
        before, lent = (self._at, self._lent)
        self._at, self._lent = place, {}
        try:
            yield
        finally:
            self.take_back()
            self._at, self._lent = before, lent

    def take_back(self) -> None:
        """Let the flat names be asked for anew: after an edit they may mean other modules, or none."""
        for name in self._lent:
            sys.modules.pop(name, None)
        self._lent.clear()

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find a flat name in the plugin whose test is running."""
        if self._at is None or name in sys.stdlib_module_names:
            return None
        place = self._inside_lent(name) if "." in name else self._top_level(name, self._at)
        if place is None or place.name == name or not place.exists or _plugin_code_asks():
            return None
        self._lent[name] = place
        return ModuleSpec(name, self)

    def _inside_lent(self, name: str) -> Place | None:
        around, _, child = name.rpartition(".")
        return self._lent[around].child(child) if around in self._lent else None

    def _top_level(self, name: str, at: Place) -> Place | None:
        place = self._modules.places.of_flat_name(name, (), at)
        installed = PathFinder.find_spec(name) if place is not None else None
        # Tests that put the plugin's directory on sys.path themselves would get a second copy of the module.
        return place if place and (installed is None or installed.origin == str(place.file)) else None

    def create_module(self, spec: ModuleSpec) -> None:
        """Leave it to the import system to make a module, which is then replaced."""

    def exec_module(self, module: ModuleType) -> None:
        """Put the module of the public name where the flat name was asked for."""
        __tracebackhide__ = True
        place = self._lent[module.__name__]
        load = self._modules.load if place.is_test else self._modules.load_code
        sys.modules[module.__name__] = load(place)


def take_back_flat_names() -> None:
    """Take out of sys.modules what flat names lent to the running test."""
    for finder in list(sys.meta_path):
        if isinstance(finder, FlatNames):
            finder.take_back()


def _plugin_code_asks() -> bool:
    """Tell whether the import under way comes from plugin code: it stands nearer to it than any test of a plugin."""
    from pytest_hotplug.reloader.ledger import CANARY  # here: most runs never ask

    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        if CANARY in frame.f_globals:
            return True
        if isinstance(frame.f_globals.get("__builtins__"), LiveBuiltins):
            return False
        frame = frame.f_back
    return False
