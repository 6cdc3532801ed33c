"""Who keeps an old version in memory: the chain from somebody outside to a thing of the plugin's.

Looks through the garbage collector's eyes, so on demand only: it walks the heap. What C code holds
without telling the collector can't be seen, and is said so. Changes nothing.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import CellType, CodeType, FrameType, FunctionType, MethodType, ModuleType
from typing import Any
from weakref import ref

from pytest_hotplug.reloader.ledger import CANARY, Canary, belongs

__all__ = ["Holder", "holders_of"]

PATIENCE = 5.0  # seconds for all that is asked at once
_LONGEST = 12  # links of a chain
_WIDEST = 20_000  # objects looked at in one step
_MOST_IN_A_NAME = 40


@dataclass(frozen=True, slots=True)
class Holder:
    """What keeps one old generation (None: it isn't known which) alive, or a class of it.

    `held` is the thing of the plugin's that is held, `place` its file:line as far as it is known,
    `chain` the way from whoever holds it, outermost first.
    """

    generation: int | None
    held: str
    place: str
    chain: tuple[str, ...]


def holders_of(canaries: Iterable[ref[Canary]], serving: Canary | None, public: str) -> list[Holder]:
    """Return the shortest chain to each generation but the serving one that is left once garbage is collected.

    `public` is the plugin's public name: classes without a method hold no code, and so no canary;
    they are looked for by the module that they say they come from.
    """
    gc.unfreeze()  # what a parent froze before it forked is seen by no search, and a verdict would depend on that
    gc.collect()
    deadline = time.monotonic() + PATIENCE
    alive = (canary for weak in list(canaries) if (canary := weak()) is not None)
    found = [_Search(canary, deadline).holder() for canary in alive if canary is not serving]
    # Where a canary is alive its classes are, too: they come in again once that is mended.
    return found or [_Search(kind, deadline).holder() for kind in _strays(serving, public)]


def _strays(serving: Canary | None, public: str) -> list[type]:
    """Return classes of older versions that hold nothing of their generation."""
    strays = []
    for kind in gc.get_objects():
        if not isinstance(kind, type):
            continue
        name = str(vars(kind).get("__module__"))  # a metaclass may answer for its classes, and fail
        if not f"{name}.".startswith(f"{public}."):
            continue
        if any(CANARY in getattr(value, "__globals__", ()) for value in vars(kind).values()):
            continue  # its functions hold a canary, which tells
        module = sys.modules.get(name)
        standing: Any = module
        for part in kind.__qualname__.split("."):
            standing = getattr(standing, part, None)
        ours = serving is not None and module is not None and vars(module).get(CANARY) is serving
        if ours and standing is not kind and "<locals>" not in kind.__qualname__:
            strays.append(kind)
    return strays


class _Search:
    """One breadth-first walk outward from a canary, or a class that has none, until something isn't the plugin's."""

    def __init__(self, target: Canary | type, deadline: float) -> None:
        self._target = target
        self._deadline = deadline
        self._inner: dict[int, Any] = {}  # id -> the object, one step nearer to the canary, that it refers to
        self._mine = {id(self), id(self._inner), id(self.__dict__)}
        self._locals = _locals_of_running_code()

    def holder(self) -> Holder:
        frontier: list[Any] = [self._target]
        for _ in range(_LONGEST):
            if not frontier or time.monotonic() > self._deadline:
                break
            for thing in frontier:
                if (root := self._root(thing)) != "":
                    return self._told(thing, root)
            frontier = self._further(frontier)
        held = _called(self._target) if isinstance(self._target, type) else ""
        return Holder(self._generation, held, "", ("something that the garbage collector can't see",))

    @property
    def _generation(self) -> int | None:
        return self._target.generation if isinstance(self._target, Canary) else None

    def _further(self, frontier: list[Any]) -> list[Any]:
        inside = {id(thing): thing for thing in frontier}
        self._mine |= {id(frontier), id(inside)}
        found: list[Any] = []
        self._mine.add(id(found))
        for outer in gc.get_referrers(*frontier):
            if id(outer) in self._inner or id(outer) in self._mine or outer is self._target or _is_ours(outer):
                continue
            inner = next((inside[id(o)] for o in gc.get_referents(outer) if id(o) in inside), None)
            if inner is None:
                continue
            self._inner[id(outer)] = inner
            found.append(outer)
            if len(found) >= _WIDEST:
                break
        return found

    def _root(self, thing: Any) -> str:
        """Return what to call somebody outside who holds `thing`, or an empty string while there is none."""
        if id(thing) in self._locals:
            return self._locals[id(thing)]
        if isinstance(thing, dict):
            name = thing.get("__name__")
            module = sys.modules.get(name) if isinstance(name, str) else None
            if module is not None and vars(module) is thing and thing.get(CANARY) is not self._target:
                return f"module {name}"
        if isinstance(thing, FrameType) and thing.f_globals.get(CANARY) is not self._target:
            return f"a frame of {thing.f_code.co_qualname} ({thing.f_code.co_filename}:{thing.f_lineno})"
        return ""

    def _told(self, thing: Any, root: str) -> Holder:
        chain, held, place = [root], "", ""
        while thing is not self._target and not held:
            inner = self._inner[id(thing)]
            if link := _link(thing, inner):
                chain.append(link)
            if self._is_held(inner):
                held, place = _called(inner), _place(inner, self._target)
            thing = inner
        return Holder(self._generation, held or "a module of it", place, tuple(chain))

    def _is_held(self, inner: Any) -> bool:
        """Tell whether this is the thing of the plugin's that somebody outside got hold of."""
        if isinstance(self._target, type):
            return inner is self._target or isinstance(inner, self._target)
        return _is_thing(inner) and belongs(inner, self._target.ledger)


def _is_ours(thing: Any) -> bool:
    """Tell whether an object is part of this walk, or of the reloader's own weak books."""
    if isinstance(thing, FrameType):
        return thing.f_globals.get("__name__") == __name__
    return isinstance(thing, (_Search, CodeType))


def _locals_of_running_code() -> dict[int, str]:
    """Return, by id, what running functions hold in their variables, which the collector doesn't tell."""
    found: dict[int, str] = {}
    for top in sys._current_frames().values():
        frame: FrameType | None = top
        while frame is not None:
            if (
                frame.f_globals.get(CANARY) is None
                and not _is_reloader(frame)
                and frame.f_locals is not frame.f_globals
            ):
                where = f"{frame.f_code.co_name} ({frame.f_code.co_filename}:{frame.f_lineno})"
                found.update({id(v): f"variable {n!r} of {where}" for n, v in list(frame.f_locals.items())})
            frame = frame.f_back
    return {key: said for key, said in found.items() if key not in (id(None), id(True), id(False))}


def _is_reloader(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__", "")).startswith("pytest_hotplug.reloader.")


def _is_thing(value: Any) -> bool:
    return not isinstance(value, (dict, list, tuple, set, CellType, ModuleType))


def _link(outer: Any, inner: Any) -> str:
    """Return how `outer` leads to `inner`, for people; an empty string where it adds nothing."""
    if isinstance(outer, dict):
        return next((f"[{_short(k)}]" for k, v in list(outer.items()) if v is inner or k is inner), "")
    if isinstance(outer, (list, tuple, set, frozenset)):
        return f"a {type(outer).__name__} of {len(outer)}"
    if isinstance(outer, CellType):
        return "its closure"
    if isinstance(outer, FunctionType):
        return f"function {outer.__qualname__}"
    return f"a {type(outer).__qualname__}"


def _short(key: Any) -> str:
    text = repr(key) if isinstance(key, (str, int)) else type(key).__qualname__
    return text if len(text) <= _MOST_IN_A_NAME else f"{text[:_MOST_IN_A_NAME]}..."


def _called(thing: Any) -> str:
    if isinstance(thing, type):
        return f"class {thing.__qualname__}"
    if isinstance(thing, (FunctionType, MethodType)):
        return f"function {thing.__qualname__}"
    return f"an instance of {type(thing).__qualname__}"


def _place(thing: Any, target: Canary | type) -> str:
    code = getattr(getattr(thing, "__func__", thing), "__code__", None)
    if code is not None:
        return f"{code.co_filename}:{code.co_firstlineno}"
    kind = thing if isinstance(thing, type) else type(thing)
    if isinstance(target, Canary):
        return target.ledger.line_with(f"class {kind.__name__}".encode())
    return f"{kind.__module__.replace('.', '/')}.py"


def chains(holders: Iterable[Holder]) -> Iterator[str]:
    """Yield a line per holder for people."""
    for holder in holders:
        place = f" ({holder.place})" if holder.place else ""
        which = "an older version" if holder.generation is None else f"generation {holder.generation}"
        yield f"{which}: {' -> '.join(holder.chain)} -> {holder.held}{place}"
