"""Collect the tests that lie beside and inside plugins without executing any plugin code.

Pytest would import a plugin's `__init__.py` on the way to its tests, under a name that depends on
the import mode, and stop where two plugins have a test or a conftest of the same name. Below a
configured plugin dir each file has one name, the public one. Everywhere else pytest does what it
always does. Loads no plugin and knows no fixtures; registered by pytest_plugin when a plugin dir
exists, not later than `pytest_load_initial_conftests`: conftests of plugins may be among the first.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Sequence
from functools import lru_cache, partial
from pathlib import Path
from types import ModuleType

import pytest

from pytest_hotplug.testing.flat_names import FlatNames
from pytest_hotplug.testing.imports import PluginTestModules
from pytest_hotplug.testing.places import Place, Places, PluginRoot, public_name
from pytest_hotplug.testing.pytest_internals import Wrapped, wrap_import_path, wrap_search_pypath

__all__ = ["CollectsPluginTests", "PluginDirectory", "PluginRoot", "public_name"]


class PluginDirectory(pytest.Package):
    """A directory of a plugin: what package-scoped fixtures are bound to, whether or not it is a package."""

    def setup(self) -> None:
        """Leave `__init__.py` alone: it is plugin code."""


class CollectsPluginTests:
    """The pytest plugin that gives plugins' tests, doctests and conftests their public names."""

    def __init__(self, roots: Sequence[PluginRoot]) -> None:
        self._places = Places(roots)
        self._place_of_item = lru_cache(8)(self._places.of_path)  # tests of one file follow each other
        self._modules = PluginTestModules(self._places)
        self._flat_names = FlatNames(self._modules)
        self._config: pytest.Config | None = None
        self._notes: list[str] = []
        self._in_charge = False
        self._other_conftest: ModuleType | None = None

    # -- what pytest calls ------------------------------------------------------------------------

    def pytest_plugin_registered(self, plugin: object) -> None:
        """Begin as soon as both this object and the configuration are known."""
        if isinstance(plugin, pytest.Config):
            self._begin(plugin)

    @pytest.hookimpl(tryfirst=True)
    def pytest_collect_directory(self, path: Path, parent: pytest.Collector) -> pytest.Collector | None:
        """Make a plugin's directories packages that nothing imports; those of its tests may be imported."""
        place = self._places.of_path(path) if self._in_charge else None
        if place is None or (place.is_test and place.file is not None):
            return None
        return PluginDirectory.from_parent(parent, path=path)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Let names in strings, as `mock.patch("main.run")` has them, mean the plugin of the running test."""
        with self._flat_names.of(self._place_of_item(item.path)):
            return (yield)

    def pytest_report_header(self) -> list[str]:
        """Say what this pytest no longer offers."""
        return self._notes

    # -- what pytest's own functions ask ----------------------------------------------------------

    def import_file(self, path: Path, plain: Callable[[], ModuleType]) -> ModuleType:
        """Return the module of a file that is being collected, or of a conftest."""
        __tracebackhide__ = True
        place = self._places.of_path(path)
        if place is None:
            return self._import_outside(path, plain)
        if not self._is_test(place, path):
            return self._modules.load_code(place)  # a doctest's, or a module named on the command line
        with self._flat_names.of(place):
            module = self._modules.load_file(place, path)
        self._give_back_conftest()
        return module

    def find_name(self, name: str) -> Path | None:
        """Return the file or directory of a public name given with `--pyargs`."""
        place = self._places.of_name(name)
        return (place.directory or place.file) if place else None

    # -- how --------------------------------------------------------------------------------------

    def _begin(self, config: pytest.Config) -> None:
        self._config = config
        imports = self._keep(config, wrap_import_path(self.import_file), "plugins may be executed to collect tests")
        self._keep(config, wrap_search_pypath(self.find_name), "--pyargs may execute plugins to find tests")
        self._in_charge = imports
        sys.meta_path.insert(0, self._flat_names)
        config.add_cleanup(partial(sys.meta_path.remove, self._flat_names))

    def _keep(self, config: pytest.Config, wrapped: Wrapped, otherwise: str) -> bool:
        config.add_cleanup(wrapped.undo)
        if wrapped.note:
            self._notes.append(f"hotplug: {wrapped.note}; {otherwise}")
        return not wrapped.note

    def _is_test(self, place: Place, path: Path) -> bool:
        """Tell tests from plugin code, which doctests and `python_files = *.py` lead here as well."""
        assert self._config is not None, "nothing is asked before there is a configuration"
        patterns: Sequence[str] = self._config.getini("python_files")
        return place.is_test or any(path.match(p) for p in patterns if not Path("__init__.py").match(p))

    def _import_outside(self, path: Path, plain: Callable[[], ModuleType]) -> ModuleType:
        __tracebackhide__ = True
        module = plain()
        if path.name == "conftest.py":
            self._other_conftest = sys.modules.get("conftest")
        return module

    def _give_back_conftest(self) -> None:
        # Pytest frees the name "conftest" for each conftest to come, but a plugin's doesn't take it.
        if self._other_conftest is not None:
            sys.modules.setdefault("conftest", self._other_conftest)
