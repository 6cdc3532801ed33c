"""The spec of a generation's module: real, without a .pyc, and it knows whether its load is over.

Import machinery asks `_initializing` of every module that it finds in sys.modules. A foreign thread
that asks while the module's load is under way waits here for the end of that load (bounded), so
that nobody outside sees half-executed code.
"""

from __future__ import annotations

import threading
from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from typing import Any

from pytest_hotplug.reloader.transaction import Transaction, forks

__all__ = ["OwnSpec"]

LONGEST_WAIT = 60.0  # seconds; a load is abandoned by its own time limit long before


class OwnSpec(ModuleSpec):
    """A ModuleSpec whose `_initializing` waits for the load that staged the module."""

    load: Transaction | None = None
    awaited = False  # a foreign importer holds this very object

    def __init__(self, name: str, loader: Loader, origin: str | None, directory: str | None) -> None:
        super().__init__(name, loader, origin=origin, is_package=directory is not None)
        if directory is not None:
            self.submodule_search_locations = [directory]
        self.has_location = origin is not None
        self._born = (forks(), threading.get_ident())

    def is_ours(self) -> bool:
        """Tell whether the thread that made this spec exists in this process: it isn't one of a fork's parent."""
        born, thread = self._born
        return born == forks() or thread == threading.get_ident()

    @property
    def cached(self) -> str | None:
        return None

    @cached.setter
    def cached(self, value: Any) -> None:
        """Accept and drop: there is no bytecode file."""

    @property
    def _initializing(self) -> bool:
        load = self.load
        if load is None or load.inside():
            return False
        if load.is_open:
            self.awaited = True
            load.wait(LONGEST_WAIT)
        self.load = None
        return False

    @_initializing.setter
    def _initializing(self, value: bool) -> None:
        """Accept and drop: the load knows."""
