"""What the host registers the plugin's things in holds those of one version, however often it was reloaded."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from typing import Any

from pytest_hotplug.safety.check import Check
from pytest_hotplug.safety.errors import CannotPlay, NotTried
from pytest_hotplug.safety.evidence import Thing
from pytest_hotplug.safety.identity import number_of
from pytest_hotplug.safety.leftovers import leftovers
from pytest_hotplug.safety.subject import Subject

__all__ = ["CHECK"]

_DEPTH = 2  # a table of lists is a registry, a tree is none


def _take(subject: Subject) -> dict[str, Thing]:
    if not subject.registries:
        raise NotTried("the setting verify_registries names no registry of the host")
    found = {}
    for registry in subject.registries:
        for number, entry in enumerate(_entries(_registry(registry), _DEPTH)):
            if subject.owns(entry):
                name = getattr(entry, "__qualname__", type(entry).__qualname__)
                found[f"{registry} {number} {number_of(entry)}"] = subject.thing(f"{name} in {registry}", entry)
    return found


def _registry(named: str) -> Any:
    module, _, name = named.partition(":")
    try:
        value = importlib.import_module(module)
        for part in name.split("."):
            value = getattr(value, part)
    except (ImportError, AttributeError) as error:
        raise CannotPlay(f"verify_registries: {named!r}: {error}") from None
    return value


def _entries(registry: Any, depth: int) -> Iterator[Any]:
    """Yield what a table or list holds, and what lists in it hold."""
    if depth == 0 or isinstance(registry, (str, bytes)):
        return
    if isinstance(registry, Mapping):
        registry = [one for pair in list(registry.items()) for one in pair]
    try:
        entries = list(registry)
    except TypeError:  # an entry, no table of them
        return
    for entry in entries:
        yield entry
        yield from _entries(entry, depth - 1)


CHECK = Check(
    id="no_duplicate_registrations",
    title="The host's registries hold the things of one version",
    how=(
        "The host's registries that the setting `verify_registries` names are searched for entries of the "
        "plugin's making: as many after the reloads as after the first load, and none after unload. Without "
        "the setting it is skipped."
    ),
    remedy="Register in on_load, and give what takes it out again to context.register().",
    take=_take,
    judge=leftovers,
)
