"""The child's side of `preflight`: load what the order names, say what became of it, end.

Imports plugins (and what they depend on) as a worker would, and calls no on_load. The last line of
its stdout is the answer; before each plugin's load a line says which one it is, for a parent that
finds us dead.
"""

from __future__ import annotations

import json
import os
import select
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from pytest_hotplug.reloader import finder
from pytest_hotplug.reloader.child_process import answering, end_with_the_parent, say
from pytest_hotplug.reloader.discovery import Found, find_plugins
from pytest_hotplug.reloader.errors import Fault, HotplugError, PluginLoadError
from pytest_hotplug.reloader.fingerprint import Snapshot
from pytest_hotplug.reloader.generation import Generation
from pytest_hotplug.reloader.kin import alike
from pytest_hotplug.reloader.loader import Checked, Loader
from pytest_hotplug.reloader.manager import PluginManager
from pytest_hotplug.reloader.manifest import Manifest
from pytest_hotplug.reloader.modules import Namespace, Neighbours
from pytest_hotplug.reloader.preflight import Order, Tried, read, written
from pytest_hotplug.reloader.transaction import Transaction

__all__ = ["main"]

FORK_GRACE = 0.5  # seconds that a process forked at import gets to end, or to become another program
_TICK = 0.02  # seconds between looks at whether it did


def main(told: Any) -> NoReturn:
    """Load what the order names, and print the result as the last line of stdout."""
    order = read(told, Order)
    end_with_the_parent()
    answers = answering()
    say(answers, written(_tried(order, _Forks(), lambda name: say(answers, json.dumps({"at": name})))))
    os._exit(0)  # a plugin's threads must not keep the child


def _tried(order: Order, forks: _Forks, begin: Callable[[str], None]) -> Tried:
    roots = (*order.settings.allow_symlink_roots, *(str(found.path.resolve()) for found in order.found))
    settings = msgspec.structs.replace(order.settings, preflight="off", allow_symlink_roots=roots)
    manager = _Manager.from_settings(settings, Path(), order.layouts, starts=False)
    assert isinstance(manager, _Manager), "made by its own class"
    manager.prepare(order, forks, begin)
    loaded: Generation | None = None
    tried = Tried()
    try:
        for name in order.names:
            loaded = manager.load(name)
    except PluginLoadError as error:
        tried = Tried(slug=error.fault.slug, fault=error.fault)
    except HotplugError as error:
        tried = Tried(slug=str(error).rpartition("[")[2].rstrip("]"), text=str(error))
    if forks.ran_on():
        fault = manager.forked(order.names[-1])
        tried = Tried(slug=fault.slug, fault=fault)
    elif loaded is not None and not tried.slug:
        warnings = tuple(loaded.manifest.warnings)
        tried = Tried(version=loaded.version, digest=loaded.digest, warnings=warnings)
    digests = {name: generation.digest for name, generation in manager._registry.serving.items()}
    return msgspec.structs.replace(tried, digests=digests)


class _Manager(PluginManager):
    """A manager for which the versions on trial are what lies on disk."""

    def prepare(self, order: Order, forks: _Forks, begin: Callable[[str], None]) -> None:
        self._tried = {found.name: found for found in order.found}
        loader = self._hot_loader.loader
        assert isinstance(loader, _Loader), "we made it"
        loader.homes = {name: Path(home) for name, home in order.homes.items()}
        loader.forks, loader.begin = forks, begin
        self.discover()

    def discover(self) -> list[str]:
        """Look for plugins; one on trial is there, whether or not a version of it lies in its plugin dir."""
        found = {**find_plugins(self._layouts, self.settings.exclude), **self._tried}
        for plugin in self._registry.learn(found):
            finder.claim(plugin.public, self, plugin.name, plugin.layout.beside or plugin.layout.path)
        return sorted(found)

    def forked(self, name: str) -> Fault:
        loader = self._hot_loader.loader
        assert isinstance(loader, _Loader), "we made it"
        found = loader.at_home(self._slot(name).found)
        message = "it forks at import, and the other process does not end there: it runs on in the code that imports it"
        remedy = "Fork in a call, and end the other process with os._exit; better: use subprocess."
        return Fault(name, "fork-at-import", message, found.path, remedy=remedy, own_bytes=False)

    def _make_loader(self, neighbours: Neighbours) -> Loader:
        return _Loader(self._in_use, self._host, self._loop, neighbours)


class _Loader(Loader):
    """Loads bytes that were staged as if they lay where their plugin does: `__file__` and data are the real ones."""

    homes: Mapping[str, Path] = {}
    forks: _Forks
    begin: Callable[[str], None]
    at = ""  # the plugin whose code runs

    def at_home(self, found: Found) -> Found:
        home = self.homes.get(found.name)
        return found if home is None else replace(found, path=home)

    def load(
        self,
        found: Found,
        snapshot: Snapshot,
        manifest: Manifest,
        number: int,
        load: Transaction,
        first: Callable[[Namespace], None],
        checked: Checked,
    ) -> Generation:
        outer, self.at = self.at, found.name
        self.begin(found.name)
        try:
            return super().load(self.at_home(found), snapshot, manifest, number, load, first, checked)
        finally:
            self.forks.back_in_our_code()
            self.at = outer
            if outer:  # its code goes on, and may end the process
                self.begin(outer)

    def check(self, found: Found, snapshot: Snapshot, manifest: Manifest) -> Checked:
        return super().check(self.at_home(found), snapshot, manifest)


class _Forks:
    """Notices processes that a plugin forked while it was imported, and that outlive the import.

    One that comes back into our code would be, in a worker, a second worker on the same sockets; one that
    is merely slow may yet do so. One that does its own work and ends, or executes another program, is no
    fault: then nobody holds the writer any more, and (where there is /proc) nobody has our command line.
    """

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._any = False
        self._reader, self._writer = os.pipe()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_parent=self._forked)

    def _forked(self) -> None:
        self._any = True

    def back_in_our_code(self) -> None:
        """Say so and end, if this is not the process that began."""
        if os.getpid() != self._pid:
            with suppress(OSError):  # the plugin closed it
                os.write(self._writer, b"!")
            os._exit(0)

    def ran_on(self) -> bool:
        """Tell whether a forked process came back, or may yet; waits a moment for those that end."""
        deadline = time.monotonic() + FORK_GRACE
        if self._any:
            os.close(self._writer)
            readable = select.select([self._reader], [], [], FORK_GRACE)[0]
            if not readable or os.read(self._reader, 1) != b"":
                return True
        while (linger := any(alike(sys.orig_argv))) and time.monotonic() < deadline:
            time.sleep(_TICK)
        return linger
