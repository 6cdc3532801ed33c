"""A module that executes: whole for the load that it belongs to, the serving one for everybody else.

New modules stand in sys.modules while they execute. An import from another thread waits for the end
of the load (see `spec`), but pickle, for one, imports first and then takes the module out of
sys.modules again, where the next load may have begun meanwhile. Such a reader waits here, and is
answered by the module that serves once the load is over.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from pytest_hotplug.reloader.spec import LONGEST_WAIT, OwnSpec

__all__ = ["StagedModule", "make_ordinary"]

_read = ModuleType.__getattribute__


class StagedModule(ModuleType):
    """A module until the end of its load; `make_ordinary` makes it one like any other."""

    def __getattribute__(self, name: str) -> Any:
        if name[:2] == "__":  # what import machinery asks for: it has its own way to wait
            return _read(self, name)
        spec = _read(self, "__spec__")
        load = spec.load if isinstance(spec, OwnSpec) else None
        if load is None or not load.is_open or load.inside():
            return _read(self, name)
        load.wait(LONGEST_WAIT)
        serving = sys.modules.get(_read(self, "__name__"))
        return _read(self, name) if serving is None or serving is self else getattr(serving, name)


def make_ordinary(module: ModuleType) -> None:
    """Let a module that has executed, and serves, be an ordinary one: every access is as fast as ever."""
    if type(module) is StagedModule:
        module.__class__ = ModuleType  # type: ignore[assignment]  # its own base, with the same layout
