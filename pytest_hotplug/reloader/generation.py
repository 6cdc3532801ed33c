"""One loaded version of a plugin, frozen: number, version, digest, modules.

Whoever holds a Generation keeps its code alive. Made by the loader, never changed.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import FunctionType, ModuleType
from typing import Any

from pytest_hotplug.reloader.context import Context
from pytest_hotplug.reloader.fingerprint import Snapshot
from pytest_hotplug.reloader.manifest import Manifest
from pytest_hotplug.reloader.modules import Namespace

__all__ = ["Entry", "Generation", "Hooks"]


@dataclass(frozen=True, slots=True)
class Entry:
    """A function of a plugin and how it wants to be called.

    `accepted` are its parameter names (None: any), `injected` those that the reloader fills in,
    `required` those without a default.
    """

    function: Callable[..., Any]
    accepted: frozenset[str] | None
    injected: frozenset[str]
    required: frozenset[str] = frozenset()

    @classmethod
    def of(cls, function: Callable[..., Any], injectable: frozenset[str]) -> Entry:
        if type(function) is FunctionType and not vars(function):  # nothing on it speaks of another signature
            return cls._of_plain(function, injectable)
        try:
            parameters = inspect.signature(function).parameters.values()
        except (TypeError, ValueError):  # a callable without a signature: it takes what it is given
            return cls(function, None, frozenset())
        named = frozenset(p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY))
        takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters)
        required = frozenset(p.name for p in parameters if p.name in named and p.default is p.empty)
        return cls(function, None if takes_any else named, named & injectable, required)

    @classmethod
    def _of_plain(cls, function: FunctionType, injectable: frozenset[str]) -> Entry:
        """Read off its code what `inspect.signature` would say of a function, which takes it many times as long."""
        code = function.__code__
        positional = code.co_varnames[: code.co_argcount]
        keywords = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
        named = frozenset((*positional[code.co_posonlyargcount :], *keywords))
        defaults = len(function.__defaults__ or ())
        optional = {*positional[len(positional) - defaults :], *(function.__kwdefaults__ or ())}
        takes_any = bool(code.co_flags & inspect.CO_VARKEYWORDS)
        return cls(function, None if takes_any else named, named & injectable, named - optional)


@dataclass(frozen=True, slots=True)
class Hooks:
    """The optional functions of a plugin's life; None where it has none."""

    on_load: Entry | None = None
    on_unload: Entry | None = None
    save_state: Callable[[], Any] | None = None
    load_state: Callable[[Any, str], Any] | None = None
    health: Callable[[], Any] | None = None


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Generation:
    """One loaded version: which plugin, its number in this process, what was loaded and when.

    `loaded_at` is `time.time()`; `modules` maps qualified names to modules and grows with lazy imports.
    """

    name: str
    number: int
    version: str
    digest: str
    loaded_at: float
    modules: Mapping[str, ModuleType] = field(repr=False)
    manifest: Manifest = field(repr=False)
    namespace: Namespace = field(repr=False)
    snapshot: Snapshot = field(repr=False)
    context: Context = field(repr=False)
    entry: Entry | None = field(repr=False)
    hooks: Hooks = field(repr=False)

    @property
    def bound(self) -> Mapping[str, Generation]:
        """Return the generations of other plugins that this one uses."""
        return self.namespace.bound
