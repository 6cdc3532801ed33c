"""Direct imports of plugins by tests, answered from the moment that somebody needs it.

Most runs import no plugin by its public name; they must not pay for the reloader. This finder waits
for the first such import and lets the session start the manager that answers it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

from pytest_hotplug.reloader.names import is_test
from pytest_hotplug.testing.places import PluginRoot

__all__ = ["LateImports"]


class LateImports:
    """Stands in sys.meta_path until the first import of a plugin, then has the real finder answer."""

    def __init__(self, roots: Sequence[PluginRoot], start: Callable[[], object]) -> None:
        self._roots = roots
        self._start = start

    def install(self) -> None:
        sys.meta_path.insert(0, self)

    def remove(self) -> None:
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not any(self._concerns(fullname, path, root) for root in self._roots):
            return None
        self.remove()
        self._start()  # claims the plugins' names; the reloader's finder stands at the front from now on
        spec: ModuleSpec | None = sys.meta_path[0].find_spec(fullname, path, target)
        return spec

    @staticmethod
    def _concerns(fullname: str, path: Sequence[str] | None, root: PluginRoot) -> bool:
        """Tell whether a name is a plugin's, or a package prefix that only the reloader can answer."""
        if root.package:
            if root.package == fullname or root.package.startswith(fullname + "."):
                return PathFinder.find_spec(fullname, path) is None
            if not fullname.startswith(root.package + "."):
                return False
            fullname = fullname[len(root.package) + 1 :]
        plugin, *inside = fullname.split(".")
        # Tests are asked for when they are collected; they are no plugin code and load none.
        return not any(is_test(part) or is_test(f"{part}.py") for part in inside) and root.holds(plugin)
