"""The one meta-path finder, and who owns which public name.

`sys.meta_path[0]` answers every `<package>.<plugin>[.x]`: from the generation being loaded by this
thread, else from the current one of the manager that swapped last, always from that generation's
snapshot. The ordinary path finder never sees these names: it would load unhashed code and write a
.pyc. Test files below a plugin are not part of its version; they are left to others.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.abc import Loader
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Protocol

from pytest_hotplug.reloader import transaction
from pytest_hotplug.reloader.errors import PluginDisabled, PluginLoadError
from pytest_hotplug.reloader.modules import Namespace
from pytest_hotplug.reloader.names import is_test
from pytest_hotplug.reloader.spec import LONGEST_WAIT

__all__ = ["Owner", "claim", "publish", "release", "withdraw"]

LOG = logging.getLogger("hotplug")


class Owner(Protocol):
    """A manager as the finder sees it."""

    def namespace_for_import(self, plugin: str) -> Namespace:
        """Return the current generation's namespace, loading the plugin if it isn't yet."""
        ...

    def discover(self) -> list[str]:
        """Look on disk for plugins, and claim the public names of new ones."""
        ...


@dataclass
class _Published:
    """One owner's claim on a public name, and the namespace that it published there last."""

    owner: weakref.ref[Owner]
    plugin: str
    beside: Path
    namespace: Namespace | None = None


@dataclass
class _Name:
    """Everything known of one public name: claims (the last one owns it) and what stood there before."""

    claims: list[_Published] = field(default_factory=list)
    displaced: dict[str, ModuleType] = field(default_factory=dict)
    attribute: ModuleType | None = None

    @property
    def top(self) -> _Published | None:
        """Return the claim that swapped last, else the newest claim."""
        alive = [c for c in self.claims if c.owner() is not None]
        published = [c for c in alive if c.namespace is not None]
        return published[-1] if published else (alive[-1] if alive else None)


_names: dict[str, _Name] = {}
_packages: dict[str, ModuleSpec] = {}  # package prefixes that nothing else could find
_lock = threading.RLock()  # guards _names and the claims in it; sys.modules changes under the transaction guard


def claim(public: str, owner: Owner, plugin: str, beside: Path) -> None:
    """Let imports of `public` be answered by `owner`; `beside` is where its package prefix lies."""
    with _lock:
        name = _names.setdefault(public, _Name())
        if not any(c.owner() is owner for c in name.claims):
            name.claims.insert(0, _Published(weakref.ref(owner), plugin, beside))
        if _FINDER not in sys.meta_path[:1]:
            sys.meta_path[:] = [_FINDER, *(f for f in sys.meta_path if f is not _FINDER)]


def publish(owner: Owner, namespace: Namespace) -> None:
    """Make a namespace the public one; the caller holds the transaction guard."""
    with _lock:
        name = _names[namespace.public]
        top = name.top
        before = top.namespace if top else None
        displaced = {} if before is not None else _displaced(namespace.public)
        if before is None:
            name.displaced = displaced
            name.attribute = _parent_attribute(namespace.public)
        mine = next(c for c in name.claims if c.owner() is owner)
        if mine.namespace is not None:
            mine.namespace.published = False
        mine.namespace = namespace
        name.claims.remove(mine)
        name.claims.append(mine)
    _install(before, namespace)
    if displaced:
        LOG.warning(
            "hotplug.imported_before_load",
            extra={"plugin": namespace.public, "modules": sorted(displaced), "importer": _importer_of(displaced)},
        )


def withdraw(owner: Owner, public: str) -> None:
    """Take an owner's namespace out of sys.modules; what stood there before returns."""
    with transaction.exclusive(LONGEST_WAIT) as journal:
        journal.keep()
        with _lock:
            name = _names.get(public)
            mine = next((c for c in name.claims if c.owner() is owner), None) if name else None
            if name is None or mine is None or mine.namespace is None:
                return
            gone, mine.namespace = mine.namespace, None
            was_public, gone.published = gone.published, False
            top = name.top
            heir = top.namespace if top else None
        if not was_public:
            return
        if heir is not None:
            _install(gone, heir)
        else:
            _uninstall(gone, name)


def release(owner: Owner, public: str) -> None:
    """End an owner's claim; without any claim the name belongs to the ordinary machinery again."""
    withdraw(owner, public)
    with _lock:
        name = _names.get(public)
        if name is not None:
            name.claims = [c for c in name.claims if c.owner() not in (owner, None)]
            if not name.claims:
                del _names[public]
                _drop_packages(public)


def _drop_packages(public: str) -> None:
    """Take the package prefixes that only we could find out of sys.modules with their last plugin."""
    prefix = public.rpartition(".")[0]
    while prefix:
        ours = prefix in _packages and not any(name.startswith(prefix + ".") for name in [*_names, *sys.modules])
        if ours and getattr(sys.modules.get(prefix), "__spec__", None) is _packages.pop(prefix):
            _set_parent_attribute(prefix, None, was=sys.modules.pop(prefix))
        prefix = prefix.rpartition(".")[0]


def _install(before: Namespace | None, now: Namespace) -> None:
    """Replace entries, never delete them first: another thread may be importing."""
    for full_name, module in list(now.modules.items()):
        sys.modules[full_name] = module
    if before is not None and before is not now:
        before.published = False
        for full_name, module in list(before.modules.items()):
            if full_name not in now.modules and sys.modules.get(full_name) is module:
                del sys.modules[full_name]
    now.published = True
    _set_parent_attribute(now.public, now.modules[now.public])


def _uninstall(gone: Namespace, name: _Name) -> None:
    for full_name, module in list(gone.modules.items()):
        if sys.modules.get(full_name) is module:
            if full_name in name.displaced:
                sys.modules[full_name] = name.displaced[full_name]
            else:
                del sys.modules[full_name]
    for full_name, module in name.displaced.items():
        sys.modules.setdefault(full_name, module)
    name.displaced = {}
    _set_parent_attribute(gone.public, name.attribute, was=gone.modules.get(gone.public))


def _displaced(public: str) -> dict[str, ModuleType]:
    """Return what ordinary machinery imported under a plugin's name, before or under the open load."""
    load = transaction.current()
    replaced = load.journal.replaced() if load is not None else {}
    below = public + "."
    # By name: to touch every module costs a forked process a copy of every page that they lie in.
    names = [name for name in [*list(sys.modules), *replaced] if name == public or name.startswith(below)]
    modules = {name: replaced.get(name) or sys.modules.get(name) for name in names if not _is_test_name(name, public)}
    return {
        name: module
        for name, module in modules.items()
        if module is not None and "__hotplug_generation__" not in vars(module)
    }


def _importer_of(modules: dict[str, ModuleType]) -> str:
    """Return the name of a module outside that holds one of `modules`, or an empty string."""
    wanted = {id(m) for m in modules.values()}
    for full_name, module in list(sys.modules.items()):
        if full_name not in modules and any(id(v) in wanted for v in list(getattr(module, "__dict__", {}).values())):
            return full_name
    return ""


def _parent_attribute(public: str) -> ModuleType | None:
    parent, _, child = public.rpartition(".")
    return getattr(sys.modules.get(parent), "__dict__", {}).get(child) if parent else None


def _set_parent_attribute(public: str, value: ModuleType | None, was: ModuleType | None = None) -> None:
    parent_name, _, child = public.rpartition(".")
    parent = sys.modules.get(parent_name) if parent_name else None
    if parent is None:
        return
    if value is not None:
        setattr(parent, child, value)
    elif parent.__dict__.get(child) is was:
        parent.__dict__.pop(child, None)


def _is_test_name(full_name: str, public: str) -> bool:
    return any(is_test(part) or is_test(f"{part}.py") for part in full_name[len(public) + 1 :].split(".") if part)


class PluginFinder:
    """Answers imports of plugins' public names; installed once, at the front of sys.meta_path."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        public = _public_of(fullname) or _new_public(fullname)
        if public is None:
            return _package_spec(fullname, path)
        if _is_test_name(fullname, public) or not _is_owned(public):
            return None
        # The interpreter holds its one global import lock here, so nothing may load or wait: that
        # happens in the loader, which is asked without the lock.
        return ModuleSpec(fullname, _PublicLoader(public))

    def invalidate_caches(self) -> None:
        """Do nothing: there is no cache to go stale."""


class _PublicLoader(Loader):
    """Hands out a generation's own module for an import by its public name; one object per import."""

    def __init__(self, public: str) -> None:
        self._public = public
        self._own_spec: ModuleSpec | None = None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return the module of the right generation, loading the plugin if need be."""
        module = _namespace(self._public).load(spec.name)
        self._own_spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Execute nothing: the generation did. Give the module back the spec that import replaced."""
        spec, module.__spec__ = module.__spec__, self._own_spec
        if spec is not None:
            transaction.mend(spec.name, module)


_FINDER = PluginFinder()


def _public_of(fullname: str) -> str | None:
    """Return the claimed public name that `fullname` lies in."""
    end = fullname.find(".")
    while end >= 0:
        if fullname[:end] in _names:
            return fullname[:end]
        end = fullname.find(".", end + 1)
    return fullname if fullname in _names else None


def _new_public(fullname: str) -> str | None:
    """Look on disk for a plugin that came after its manager's last look, when a name beside others is imported."""
    prefix = fullname.rpartition(".")[0]
    with _lock:
        beside = [n for public, n in _names.items() if prefix and public.rpartition(".")[0] == prefix]
        owners = {owner for name in beside for claim in name.claims if (owner := claim.owner()) is not None}
    for owner in owners:
        owner.discover()
    return _public_of(fullname) if owners else None


def _is_owned(public: str) -> bool:
    with _lock:
        name = _names.get(public)
        return name is not None and name.top is not None


def _namespace(public: str) -> Namespace:
    """Return the namespace that answers for a public name on this thread; waits for another thread's load of it."""
    mine = transaction.current()
    if mine is not None and public in mine.candidates:
        candidate = mine.candidates[public]
        assert isinstance(candidate, Namespace), "a load's candidates are namespaces"
        return candidate
    other = transaction.other_load()
    if other is not None and public in other.candidates:
        other.wait(LONGEST_WAIT)
    with _lock:
        name = _names.get(public)
        top = name.top if name else None
    owner = top.owner() if top else None
    if top is None or owner is None:
        raise ModuleNotFoundError(f"No module named {public!r}: its manager was closed", name=public)
    try:
        return top.namespace or owner.namespace_for_import(top.plugin)
    except (PluginLoadError, PluginDisabled) as error:
        raise ImportError(str(error), name=public) from None


def _package_spec(fullname: str, path: Sequence[str] | None) -> ModuleSpec | None:
    """Return a spec for a package prefix that nothing else can find, so that `plugins.x` has a parent."""
    with _lock:
        below = {public: name for public, name in _names.items() if public.startswith(fullname + ".")}
        beside = {str(c.beside) for public, name in below.items() for c in name.claims}
        direct = any(public.rpartition(".")[0] == fullname for public in below)
    if not beside or PathFinder.find_spec(fullname, path) is not None:
        return None
    spec = ModuleSpec(fullname, None, is_package=True)
    spec.submodule_search_locations = sorted(beside) if direct else []
    _packages[fullname] = spec
    return spec


def _after_fork_in_child() -> None:
    """Start with a lock that no thread of the parent holds."""
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
