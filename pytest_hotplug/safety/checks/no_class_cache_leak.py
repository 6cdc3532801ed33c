"""No class of an old version is found through Python's own tables of classes: single dispatch, copyreg, subclasses."""

from __future__ import annotations

import copyreg
import sys
from collections.abc import Iterator
from types import FunctionType

from pytest_hotplug.safety.check import Check
from pytest_hotplug.safety.evidence import Thing
from pytest_hotplug.safety.identity import number_of
from pytest_hotplug.safety.leftovers import leftovers
from pytest_hotplug.safety.subject import Subject

__all__ = ["CHECK"]


def _take(subject: Subject) -> dict[str, Thing]:
    found = {}
    for table, entry in _entries():
        if subject.owns(entry):
            name = getattr(entry, "__qualname__", type(entry).__qualname__)
            found[f"{table} {number_of(entry)}"] = subject.thing(f"{name} in {table}", entry)
    for kind in filter(lambda kind: subject.is_ours(str(vars(kind).get("__module__"))), _classes()):
        for base in kind.__bases__:
            if base is not object and not subject.owns(base):
                table = f"the subclasses of {base.__module__}.{base.__qualname__}"
                found[f"{table} {number_of(kind)}"] = subject.thing(f"{kind.__qualname__} in {table}", kind)
    return found


def _classes() -> Iterator[type]:
    """Yield every class that there is, found from `object` downward: a walk over the whole heap takes far longer."""
    seen: dict[int, type] = {}  # by id: a class may forbid to be hashed
    below: list[type] = [object]
    while below:
        subclasses: list[type] = type.__subclasses__(below.pop())
        new = [kind for kind in subclasses if id(kind) not in seen]
        seen |= {id(kind): kind for kind in new}
        below += new
        yield from new


def _entries() -> Iterator[tuple[str, object]]:
    for kind, reduce in list(copyreg.dispatch_table.items()):
        yield from (("copyreg.dispatch_table", kind), ("copyreg.dispatch_table", reduce))
    for name, module in list(sys.modules.items()):
        for attribute, value in list(vars(module).items()):
            if isinstance(value, FunctionType) and hasattr(value, "registry") and hasattr(value, "dispatch"):
                for kind, function in list(value.registry.items()):
                    yield from ((f"the registry of {name}.{attribute}", one) for one in (kind, function))


CHECK = Check(
    id="no_class_cache_leak",
    title="No class of an old version stands in Python's own tables of classes",
    how=(
        "Registries of single dispatch functions of other modules, `copyreg.dispatch_table`, and the "
        "subclasses of other modules' classes."
    ),
    remedy="Register with tables of the plugin's own, or take the class out in on_unload or by context.register().",
    take=_take,
    judge=leftovers,
)
