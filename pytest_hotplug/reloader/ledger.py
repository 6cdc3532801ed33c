"""What new code changed outside itself, so that it can be undone when the code fails or retires.

A plugin that appends to sys.path, sets a variable, adds a log handler or replaces a function of
another module does so once per generation. Each `Change` knows how to take itself back; where the
successor relies on what it found in place, the change goes over to it instead. What can't be undone
is said in words, with file and line. How changes are noticed is for `side_effects` to know.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

__all__ = ["Canary", "Change", "Ledger", "belongs"]

STOP_FIRST = 'register its undo in on_load, and set "handover": "stop-first"'
CANARY = "__hotplug_generation__"  # the name under which every module of a generation holds its canary


@dataclass(slots=True)
class Change:
    """One change of something outside a generation.

    `key` says of what, within its `kind`; `text` and `place` (file:line) tell it to people. `undo`
    is given `before` and returns what it could not do, in words. `shared`: the thing has one `value`,
    so that a successor's change of it stands in our place. `words`: code that wants such a thing
    contains one of them; a successor without any does not rely on ours.
    """

    kind: str
    key: Hashable
    text: str
    undo: Callable[[Any], str]
    place: str = ""
    before: Any = None
    value: Any = None
    shared: bool = False
    words: tuple[bytes, ...] = ()

    def told(self, what: str) -> str:
        """Return a sentence about this change for people."""
        return f"{self.place}: {self.text} {what}" if self.place else f"{self.text} {what}"


@dataclass(slots=True, eq=False)
class Ledger:
    """The changes that one generation made, oldest first; `sources` are its files by relative name.

    `threads` are those that its load started, each with the place that did; `seen` are the foreign
    modules that the code under way imported, as they were then.
    """

    public: str
    place: str  # the plugin's directory
    sources: Mapping[str, bytes] = field(repr=False)
    changes: list[Change] = field(default_factory=list)
    threads: list[tuple[threading.Thread, str]] = field(default_factory=list)
    seen: dict[str, tuple[ModuleType, dict[str, Any]]] = field(default_factory=dict, repr=False)
    open: bool = False  # code of a load is under way

    def add(self, change: Change) -> None:
        self.changes.append(change)

    def see(self, module: ModuleType | None) -> None:
        """Remember a foreign module as it is, for the code that is under way may change it."""
        if self.open and module is not None and module.__name__ not in self.seen:
            self.seen[module.__name__] = (module, dict(vars(module)))

    def mentions(self, *words: bytes) -> bool:
        """Tell whether any source contains one of `words`."""
        return self.line_with(*words) != ""

    def line_with(self, *words: bytes) -> str:
        """Return the first `file:line` of the sources that contains one of `words`, or an empty string."""
        for file, data in self.sources.items():
            if file.endswith(".py") and any(word in data for word in words):
                lines = enumerate(data.splitlines(), 1)
                return next((f"{file}:{n}" for n, line in lines if any(word in line for word in words)), file)
        return ""

    def undo(self, successor: Ledger | None = None) -> list[str]:
        """Take back every change, the last first; return what could not be undone, in words.

        With a successor that serves, what it replaced is its own affair from now on, and what it
        found in place and relies on stays, as if it had made the change itself.
        """
        problems = []
        while self.changes:
            change = self.changes.pop()
            theirs = _of_the_same_thing(change, successor)
            if theirs is not None and change.shared:
                if theirs.before is change.value and _keeps(theirs.value, change.value):
                    problems.append(change.told(f"stays inside the new one; {STOP_FIRST}"))
                theirs.before = change.before
            elif theirs is None and successor is not None and change.words and successor.mentions(*change.words):
                successor.changes.insert(0, change)
            elif said := _undone(change):
                problems.append(said)
        return problems


class Canary:
    """Stands in every module of a generation; once it is gone, so is the old code.

    A weak reference to a module proves nothing, because functions hold its namespace.
    """

    __slots__ = ("__weakref__", "generation", "ledger", "plugin")

    def __init__(self, plugin: str, generation: int, ledger: Ledger) -> None:
        self.plugin = plugin
        self.generation = generation
        self.ledger = ledger

    def __repr__(self) -> str:
        return f"<generation {self.generation} of {self.plugin}>"


def belongs(value: object, ledger: Ledger) -> bool:
    """Tell whether a function, class or object is of the making of this ledger's generation."""
    function = value
    while function is not None:
        canary = getattr(function, "__globals__", {}).get(CANARY)
        if canary is not None:
            return canary.ledger is ledger
        function = next((f for n in ("__func__", "func", "__wrapped__") if (f := _plain(function, n))), None)
    kind = value if isinstance(value, type) else type(value)
    module = _plain(kind, "__module__")
    if not isinstance(module, str) or not f"{module}.".startswith(f"{ledger.public}."):
        return False
    methods = [m for m in vars(kind).values() if hasattr(m, "__globals__")]
    return not methods or any(m.__globals__[CANARY].ledger is ledger for m in methods if CANARY in m.__globals__)


def _plain(value: object, name: str) -> Any:
    """Return an attribute without waking what is clever about attributes (a mock has all of them)."""
    found = vars(type(value)).get(name)
    own = getattr(value, "__dict__", {}).get(name)
    if own is None and found is not None and hasattr(found, "__get__"):
        return getattr(value, name, None)
    return own


def _of_the_same_thing(change: Change, ledger: Ledger | None) -> Change | None:
    return next((c for c in ledger.changes if (c.kind, c.key) == (change.kind, change.key)), None) if ledger else None


def _keeps(new: Any, old: Any) -> bool:
    """Tell whether a function holds another one that it wraps, in a global or in its closure."""
    function = getattr(new, "__func__", new)
    cells = [cell.cell_contents for cell in getattr(function, "__closure__", None) or () if cell.cell_contents is old]
    return bool(cells) or any(value is old for value in getattr(function, "__globals__", {}).values())


def _undone(change: Change) -> str:
    try:
        return change.undo(change.before)
    except Exception as error:  # noqa: BLE001  # one that fails must not keep the others from being undone
        return change.told(f"can't be undone: {type(error).__name__}: {error}")
