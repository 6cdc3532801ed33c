"""Nothing of the plugin's stands in other modules, or in their classes, once it is unloaded."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import (
    BuiltinFunctionType,
    ClassMethodDescriptorType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodDescriptorType,
    ModuleType,
    WrapperDescriptorType,
)
from typing import Any

from pytest_hotplug.safety.check import Check
from pytest_hotplug.safety.evidence import Thing
from pytest_hotplug.safety.identity import number_of
from pytest_hotplug.safety.leftovers import leftovers
from pytest_hotplug.safety.subject import Subject

__all__ = ["CHECK"]

_OF_C = (
    BuiltinFunctionType, ClassMethodDescriptorType, GetSetDescriptorType, MemberDescriptorType, MethodDescriptorType,
    WrapperDescriptorType,
)  # fmt: skip
_PLAIN = frozenset({int, float, str, bytes, bool, tuple, list, dict, set, frozenset, type(None), ModuleType, *_OF_C})


def _take(subject: Subject) -> dict[str, Thing]:
    found = {}
    for name, module in list(sys.modules.items()):
        if subject.is_ours(name) or name.startswith("pytest_hotplug."):
            continue
        for attribute, value in _attributes(module):
            if subject.owns(value):
                full = f"{name}.{attribute}"
                found[f"{full} {number_of(value)}"] = subject.thing(f"{full} is the plugin's", value)
    return found


def _attributes(module: ModuleType) -> Iterator[tuple[str, Any]]:
    """Yield what a module's names, and those of its own classes, stand for."""
    for name, value in list(vars(module).items()):
        if type(value) not in _PLAIN:
            yield name, value
        if isinstance(value, type) and value.__module__ == module.__name__:
            for inner, attribute in list(vars(value).items()):
                if type(attribute) not in _PLAIN:
                    yield f"{name}.{inner}", attribute


CHECK = Check(
    id="no_monkeypatch",
    title="Nothing of the plugin's stands in other modules once it is unloaded",
    how=(
        "What the names of all other modules, and those of their classes, stand for: nothing of the plugin's "
        "making, told by the namespace in which it was defined."
    ),
    remedy="Put the original back in on_unload, or give its undo to context.register().",
    take=_take,
    judge=leftovers,
)
