"""Notice which first-party functions are entered.

Where `sys.monitoring` exists (3.12), code is armed when its module is about to be executed; each
function then tells once per recording and costs nothing afterwards. Elsewhere `prologue` makes
sources tell. Identical functions have equal code objects, so code is known by identity. Lambdas and
comprehensions belong to the function around.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import CodeType
from typing import Any

__all__ = ["MONITORED", "Entered", "place_in_file"]

MONITORED = hasattr(sys, "monitoring")
_NAME = "pytest-hotplug"

Tell = Callable[[str, str], bool]  # (file as compiled, qualified name@line) -> whether anybody wanted to know


def place_in_file(code: CodeType) -> str:
    """Return what tells a code object from the others of its file."""
    return f"{code.co_qualname}@{code.co_firstlineno}"


class Entered:
    """Tells of each armed function that is entered, once after every `again`. One per process."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._places: dict[int, tuple[CodeType, str]] = {}  # by id: the code is kept, so no id is used twice
        self._tool = -1

    def start(self) -> str:
        """Begin; return why it can't, "" when it can."""
        if not MONITORED:
            return ""
        monitoring: Any = sys.monitoring  # type: ignore[attr-defined]  # 3.12
        for tool in (4, 3, 5, 2):  # the others belong to debuggers, coverage and profilers
            if monitoring.get_tool(tool) is None:
                monitoring.use_tool_id(tool, _NAME)
                monitoring.register_callback(tool, monitoring.events.PY_START, self._entered)
                self._tool = tool
                return ""
        return "all tools of sys.monitoring are in use"

    def stop(self) -> None:
        """End it; armed code is as it was."""
        if self._tool >= 0:
            monitoring: Any = sys.monitoring  # type: ignore[attr-defined]  # 3.12
            for code, _ in self._places.values():
                monitoring.set_local_events(self._tool, code, 0)
            monitoring.register_callback(self._tool, monitoring.events.PY_START, None)
            monitoring.free_tool_id(self._tool)
            self._tool = -1
        self._places.clear()

    def again(self) -> None:
        """Let every function tell once more."""
        if self._tool >= 0:
            sys.monitoring.restart_events()  # type: ignore[attr-defined]  # 3.12

    def arm(self, module: CodeType) -> None:
        """Let the functions of a module tell when they are entered."""
        if self._tool < 0 or id(module) in self._places:
            return
        monitoring: Any = sys.monitoring  # type: ignore[attr-defined]  # 3.12
        for code, place in _with_inner(module, place_in_file(module)):
            self._places[id(code)] = (code, place)
            monitoring.set_local_events(self._tool, code, monitoring.events.PY_START)

    def _entered(self, code: CodeType, offset: int) -> object:
        found = self._places.get(id(code))
        if found is not None and not self._tell(code.co_filename, found[1]):
            return None  # nobody records just now; the next time somebody may
        return sys.monitoring.DISABLE  # type: ignore[attr-defined]  # 3.12


def _with_inner(code: CodeType, place: str) -> Iterator[tuple[CodeType, str]]:
    yield code, place
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _with_inner(inner, place if inner.co_name.startswith("<") else place_in_file(inner))
