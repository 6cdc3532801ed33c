"""Find code of old versions in the one that serves: what is executed there is not what lies on disk."""

from __future__ import annotations

from collections.abc import Iterator
from types import FunctionType, ModuleType

from pytest_hotplug.reloader.generation import Generation
from pytest_hotplug.reloader.ledger import CANARY
from pytest_hotplug.safety.finding import Finding

__all__ = ["stale_in"]


def stale_in(serving: Generation) -> list[Finding]:
    """Return what the modules of the version that serves call by a name of theirs, and is another version's."""
    canary, public = serving.namespace.canary, serving.namespace.public
    found = []
    for module in list(serving.namespace.modules.values()):
        for name, value in _named(module):
            known = _globals_of(value)
            if known is None or known.get(CANARY, canary) is canary:
                continue
            home = str(known.get("__name__"))
            if f"{home}.".startswith(f"{public}."):
                inside = module.__name__.removeprefix(public).lstrip(".") or "__init__"
                message = f"{inside}.{name} is an old version's: {home}.{getattr(value, '__qualname__', '')}".rstrip(
                    "."
                )
                found.append(Finding(message=message, path=_file_of(module, serving)))
    return found


def _named(module: ModuleType) -> Iterator[tuple[str, object]]:
    for name, value in list(vars(module).items()):
        yield name, value
        if isinstance(value, (list, tuple, set)):
            yield from ((f"{name}[{number}]", one) for number, one in enumerate(list(value)))
        elif isinstance(value, dict) and not name.startswith("__"):
            yield from ((f"{name}[{key!r}]", one) for key, one in list(value.items()))


def _globals_of(value: object) -> dict[str, object] | None:
    """Return the globals of the code that a value stands for, None when it stands for none."""
    if isinstance(value, ModuleType):
        return vars(value)
    if isinstance(value, type):
        return next((vars_ for method in vars(value).values() if (vars_ := _globals_of(method)) is not None), None)
    function = getattr(value, "__func__", value) if not isinstance(value, FunctionType) else value
    return function.__globals__ if isinstance(function, FunctionType) else None


def _file_of(module: ModuleType, serving: Generation) -> str:
    file = str(getattr(module, "__file__", "") or "")
    return file.removeprefix(str(serving.namespace.path)).lstrip("/\\")
