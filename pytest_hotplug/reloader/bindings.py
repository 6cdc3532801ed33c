"""The view of other plugins that a generation's code has: bound at first use, to one generation each.

What a generation was bound to stays so for its whole life, whatever serves since; a load in which both
take part binds to its own candidates.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable

from pytest_hotplug.reloader import finder
from pytest_hotplug.reloader.build import Build
from pytest_hotplug.reloader.generation import Generation
from pytest_hotplug.reloader.leases import Leases
from pytest_hotplug.reloader.modules import Namespace
from pytest_hotplug.reloader.outcomes import Outcome
from pytest_hotplug.reloader.registry import Registry

__all__ = ["Bindings"]


class Bindings:
    """Answers imports of other plugins, for the generations of one manager; `reload` loads what doesn't serve yet."""

    def __init__(
        self,
        registry: Registry,
        leases: Leases,
        owner: weakref.ref[finder.Owner],
        reload: Callable[[str], Outcome],
    ) -> None:
        self._registry = registry
        self._leases = leases
        self._owner = owner
        self._reload = reload

    def namespace_of(self, module: str, asking: Namespace) -> Namespace | None:
        """Return the namespace of another plugin's module as `asking` is bound to it; binds at first use."""
        name = self._registry.plugin_of(module) or self._new_plugin_of(module, asking)
        if name is None or name == asking.plugin:
            return None
        bound = asking.bound.get(name)
        return (bound if bound is not None else self._bind(asking, name)).namespace

    def _new_plugin_of(self, module: str, asking: Namespace) -> str | None:
        """Look on disk for a plugin that came after the last look, when a name beside `asking` is imported."""
        prefix = asking.public.rpartition(".")[0]
        owner = self._owner()
        if not prefix or owner is None or not module.startswith(prefix + ".") or module in sys.modules:
            return None
        owner.discover()
        return self._registry.plugin_of(module)

    def _bind(self, asking: Namespace, name: str) -> Generation:
        load = asking.transaction
        build = load.work if load is not None and load.is_open and isinstance(load.work, Build) else None
        generation = build.ensure(name) if build is not None else self._serving_or_loaded(name)
        with self._registry.lock:
            if name not in asking.bound:
                asking.bound[name] = generation
                self._leases.bind(generation)
                self._registry.rebound()
            bound: Generation = asking.bound[name]
        return bound

    def _serving_or_loaded(self, name: str) -> Generation:
        serving = self._registry.serving.get(name)
        if serving is not None:
            return serving
        outcome = self._reload(name)
        serving = self._registry.serving.get(name)
        if serving is None:
            why = outcome.error or outcome.reason
            raise ImportError(f"plugin {name!r} could not be loaded: {why}", name=name)
        return serving
