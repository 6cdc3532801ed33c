"""The plugin under verification, as the child sees it: which objects are of its making, and what made them."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

from pytest_hotplug.reloader.ledger import CANARY
from pytest_hotplug.safety.errors import NoTool
from pytest_hotplug.safety.evidence import Thing
from pytest_hotplug.safety.identity import number_of
from pytest_hotplug.safety.places import Places

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

__all__ = ["Subject", "described", "open_descriptors"]


class Subject:
    """One plugin in one child process."""

    def __init__(self, public: str, places: Places, registries: Sequence[str] = ()) -> None:
        self.public = public
        self.places = places
        self.registries = registries  # of the host, as `module:name`

    def owns(self, value: object) -> bool:
        """Tell whether a function, class or object was made by the plugin's code, of whatever generation."""
        if type(value) is FunctionType and not value.__dict__:  # as nearly all of a hundred thousand that are looked at
            return CANARY in value.__globals__ and self.is_ours(str(value.__globals__.get("__name__")))
        if isinstance(value, type):
            kind = value
        else:
            for function in _functions(value):
                known = getattr(function, "__globals__", None)
                if isinstance(known, dict) and CANARY in known:
                    return self.is_ours(str(known.get("__name__")))
            kind = type(value)
        module = vars(kind).get("__module__")
        return isinstance(module, str) and self.is_ours(module)

    def thing(self, text: str, value: object = None, place: str = "", said: str = "") -> Thing:
        """Describe something outside the plugin, which is its own when `value` is of its making."""
        place = place or self._place_of(value)
        return Thing(text=text, place=place, own=bool(place) or self.owns(value), value=said)

    def loops(self) -> list[AbstractEventLoop]:
        """Return the event loops that there are, the host's as well as the plugin's own."""
        asyncio = sys.modules.get("asyncio")
        kind = getattr(asyncio, "AbstractEventLoop", None)  # None also while it is being imported
        if kind is None:
            return []
        return [thing for thing in gc.get_objects() if isinstance(thing, kind) and not thing.is_closed()]

    def is_ours(self, module: str) -> bool:
        """Tell whether a module of this name is the plugin, or part of it."""
        return f"{module}.".startswith(f"{self.public}.")

    def _place_of(self, value: object) -> str:
        if not self.owns(value):
            return ""
        code = next((code for f in _functions(value) if (code := getattr(f, "__code__", None)) is not None), None)
        return f"{self.places.named(code.co_filename)}:{code.co_firstlineno}" if code is not None else ""


def _functions(value: object) -> list[object]:
    """Return a callable and what it wraps, outermost first; attributes that a mock makes up are not asked for."""
    found: list[object] = []
    while value is not None and not isinstance(value, (ModuleType, type)) and len(found) < 10:
        found.append(value)
        own = _plain_attributes(value)
        value = next((own[name] for name in ("__func__", "func", "__wrapped__") if own.get(name) is not None), None)
    return found


def _plain_attributes(value: object) -> dict[str, Any]:
    own = getattr(value, "__dict__", None)
    found = dict(own) if isinstance(own, dict) else {}
    for name in ("__func__", "func"):
        if name in vars(type(value)):
            found[name] = getattr(value, name, None)
    return found


def described(value: object) -> str:
    """Name an object so that another one, also one of the same name, is named otherwise."""
    if value is None or isinstance(value, (int, str)):
        return str(value)
    name = getattr(value, "__qualname__", None) or f"a {type(value).__qualname__}"
    return f"{name} (object {number_of(value)})"


def open_descriptors() -> list[tuple[int, str]]:
    """Return what this process has open, each with what it leads to; raises NoTool where the system lists none."""
    found = []
    if not os.path.isdir("/proc/self/fd"):
        raise NoTool("this system lists no descriptors under /proc/self/fd")
    for name in os.listdir("/proc/self/fd"):
        try:
            found.append((int(name), os.readlink(f"/proc/self/fd/{name}")))
        except FileNotFoundError:  # the listing's own
            continue
    return found
