"""Shared modules as one generation sees them, where the real ones would lead to another generation.

Code of an old version that goes by name (`import plugins.greeter.text`, `importlib.import_module`,
`importlib.resources.files(__package__)`) would reach the newest version through sys.modules. It is
given stand-ins that answer for plugins' names and pass everything else on.
"""

from __future__ import annotations

import importlib
import importlib.resources
import sys
from collections.abc import Callable
from importlib.util import resolve_name
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_hotplug.reloader.modules import Namespace

__all__ = ["Facade", "stand_in"]

_DUNDERS = ("__doc__", "__file__", "__loader__", "__package__", "__path__", "__spec__")
_RESOURCES = (
    "contents", "files", "is_resource", "open_binary", "open_text", "path", "read_binary", "read_text",
)  # fmt: skip


class Facade(ModuleType):
    """A parent package as one generation sees it: plugins are its own, everything else is shared.

    `import plugins.greeter.text` binds `plugins`; through the shared package `plugins.greeter`
    would be the newest generation, whoever asks.
    """

    def __init__(self, name: str, namespace: Namespace) -> None:
        super().__init__(name)
        self.__dict__["_hotplug_namespace"] = namespace
        real = sys.modules.get(name)
        if real is not None:
            self.__dict__.update({k: real.__dict__[k] for k in _DUNDERS if k in real.__dict__})

    def plugin_in(self, attribute: str) -> ModuleType | None:
        """Return the plugin, or the next part of the prefix, that is called `attribute` in here."""
        namespace: Namespace = self.__dict__["_hotplug_namespace"]
        name = f"{self.__name__}.{attribute}"
        if f"{namespace.public}.".startswith(f"{name}.") and name != namespace.public:
            return Facade(name, namespace)
        return namespace.neighbour(name)

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        found = self.plugin_in(attribute)
        return found if found is not None else getattr(sys.modules[self.__name__], attribute)

    def __setattr__(self, attribute: str, value: Any) -> None:
        setattr(sys.modules[self.__name__], attribute, value)


def stand_in(module: ModuleType, namespace: Namespace) -> ModuleType:
    """Return importlib, importlib.resources or pkgutil as a generation sees it; any other module as it is."""
    if module is importlib:
        return _Stand(module, namespace, {"import_module": _import_module, "resources": _resources})
    if module is importlib.resources:
        return _resources(namespace)
    return _Stand(module, namespace, {"get_data": _get_data}) if module.__name__ == "pkgutil" else module


class _Stand(ModuleType):
    """A module some of whose functions answer for one generation."""

    def __init__(self, real: ModuleType, namespace: Namespace, own: dict[str, Callable[[Namespace], Any]]) -> None:
        super().__init__(real.__name__)
        self.__dict__.update({k: real.__dict__[k] for k in _DUNDERS if k in real.__dict__})
        self.__dict__["_hotplug"] = (real, namespace, own, {k: getattr(real, k) for k in own})

    def __getattr__(self, attribute: str) -> Any:
        real, namespace, own, known = self.__dict__["_hotplug"]
        value = getattr(real, attribute)
        # What somebody patched since (a test's mock) is meant.
        return own[attribute](namespace) if attribute in own and value is known[attribute] else value

    def __setattr__(self, attribute: str, value: Any) -> None:
        setattr(self.__dict__["_hotplug"][0], attribute, value)

    def __dir__(self) -> list[str]:
        return dir(self.__dict__["_hotplug"][0])


def _import_module(namespace: Namespace) -> Callable[..., ModuleType]:
    def import_module(name: str, package: str | None = None) -> ModuleType:
        absolute = resolve_name(name, package) if name.startswith(".") and package else name
        found = namespace.find(absolute)
        return found if found is not None else importlib.import_module(name, package)

    return import_module


def _get_data(namespace: Namespace) -> Callable[..., bytes | None]:
    def get_data(package: str, resource: str) -> bytes | None:
        found = namespace.find(package)
        if found is None:
            real: Callable[..., bytes | None] = sys.modules["pkgutil"].get_data
            return real(package, resource)
        inside = found.__name__ if hasattr(found, "__path__") else found.__name__.rpartition(".")[0]
        anchor = namespace.find(inside)
        assert anchor is not None, "a plugin's module lies in a plugin's package"
        return importlib.resources.files(anchor).joinpath(resource).read_bytes()

    return get_data


def _resources(namespace: Namespace) -> ModuleType:
    real = importlib.resources
    names = [name for name in _RESOURCES if hasattr(real, name)]
    return _Stand(real, namespace, {name: _anchored(name) for name in names})


def _anchored(name: str) -> Callable[[Namespace], Callable[..., Any]]:
    """Return what makes a function of importlib.resources take this generation's module for its name."""

    def of(namespace: Namespace) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            anchor, *rest = args or [kwargs.pop("anchor", None) or kwargs.pop("package", None)]
            anchor = anchor or sys._getframe(1).f_globals.get("__name__")  # as `files()` without one does
            module = namespace.find(anchor) if isinstance(anchor, str) else None
            return getattr(importlib.resources, name)(module if module is not None else anchor, *rest, **kwargs)

        return call

    return of
