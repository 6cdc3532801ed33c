"""Directory -> Generation -> gone.

Builds a generation beside the one that serves, starts it, hands state over, takes it down again.
Every step that fails raises PluginFault with file and line; nothing here decides what serves.
"""

from __future__ import annotations

import importlib
import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from types import CodeType, MappingProxyType
from typing import Any

from pytest_hotplug.reloader.code import compile_source
from pytest_hotplug.reloader.context import Context, Host, injectable_names
from pytest_hotplug.reloader.dependencies import check_requirements
from pytest_hotplug.reloader.discovery import Found, check_public_name
from pytest_hotplug.reloader.errors import Fault, PluginFault, did_you_mean, fault_from, near, syntax_fault
from pytest_hotplug.reloader.fingerprint import Snapshot
from pytest_hotplug.reloader.generation import Entry, Generation, Hooks
from pytest_hotplug.reloader.ledger import CANARY
from pytest_hotplug.reloader.looking import stamp_of
from pytest_hotplug.reloader.loop_thread import LoopThread
from pytest_hotplug.reloader.manifest import EntryPoint, Manifest, parse_entry, parse_manifest
from pytest_hotplug.reloader.modules import CodePath, Namespace, Neighbours
from pytest_hotplug.reloader.parameters import check_declarations
from pytest_hotplug.reloader.settings import InUse
from pytest_hotplug.reloader.side_effects import end_threads, left_open, recording
from pytest_hotplug.reloader.transaction import LoadAbandoned, Transaction

__all__ = ["Checked", "Loader", "State", "manifest_of", "prepare_package"]

LOG = logging.getLogger("hotplug")


def manifest_of(found: Found, snapshot: Snapshot) -> Manifest:
    """Read the manifest out of a snapshot; raises PluginFault with every fault in it."""
    name = next((m for m in found.layout.manifest if m in snapshot.files), found.layout.manifest[0])
    data = snapshot.files.get(name)
    if data is None and not _may_lack_manifest(found, snapshot):
        message = f"there is no {name}, and no entry module {found.layout.entry_module or '__init__'!r} either"
        raise PluginFault(Fault(found.name, "no-manifest", message, found.path))
    return parse_manifest(data, plugin=found.name, path=_inside(found.path, name), layout=found.layout)


@lru_cache(maxsize=1_000)
def _inside(directory: Path, file: str) -> Path:
    """Return the path of a plugin's manifest: joining takes its time, and one reload asks for it again and again."""
    return directory / file


def _may_lack_manifest(found: Found, snapshot: Snapshot) -> bool:
    module = found.layout.entry_module.replace(".", "/")
    return any(file in snapshot.files for file in (f"{module}.py", f"{module}/__init__.py".lstrip("/")))


@dataclass(frozen=True, slots=True)
class Checked:
    """What was found in a version before any of it runs: its entry, and the code of every source by its name."""

    entry_point: EntryPoint | None
    codes: Mapping[str, CodeType]


@dataclass(frozen=True, slots=True)
class State:
    """What `save_state` returned, and the version that saved it."""

    version: str
    value: Any


class Loader:
    """Makes and unmakes generations for one manager."""

    def __init__(self, in_use: InUse, host: Host, loop: LoopThread, neighbours: Neighbours) -> None:
        self.code_path: CodePath | None = None  # a sandbox compiles unchanged files under the original's name
        self.calls_hooks = True  # False: modules are loaded and swapped, but no plugin is started or stopped
        self._in_use = in_use
        self._host = host
        self._loop = loop
        self._neighbours = neighbours
        self._injectable = injectable_names(in_use.now.host_parameter)

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
        """Execute a plugin's package and entry module beside whatever serves; raises PluginFault.

        `checked` is what `check` returned for it. `first` is called with the new namespace
        before any of its code runs.
        """
        namespace = self._namespace(found, snapshot, number, load, checked.codes)
        first(namespace)
        entry_point = checked.entry_point
        main = entry_point.module if entry_point else ""
        if entry_point is not None:
            self._check_module(found, namespace, entry_point, manifest)
        with _Pointing("import", found, snapshot), recording(namespace.ledger):
            namespace.load(namespace.public)
            namespace.load(namespace.full_name(main))
        namespace.checked = {}  # what is imported later is compiled by whoever compiles then
        context = Context(found.name, manifest.version, number, self._host, self._loop)
        return Generation(
            name=found.name,
            number=number,
            version=manifest.version,
            digest=snapshot.digest,
            loaded_at=time.time(),
            modules=MappingProxyType(namespace.modules),
            manifest=manifest,
            namespace=namespace,
            snapshot=snapshot,
            context=context,
            entry=self._entry(found, namespace, entry_point, manifest),
            hooks=self._hooks(found, namespace, main),
        )

    def check(self, found: Found, snapshot: Snapshot, manifest: Manifest) -> Checked:
        """Find out what is wrong without executing anything; raises PluginFault."""
        check_requirements(manifest, plugin=found.name, path=_inside(found.path, manifest.file or "."))
        entry_point = self._entry_point(found, snapshot, manifest)
        _check_parameters(found, manifest)
        check_public_name(found)
        return Checked(entry_point, self._compile(found, snapshot))

    def start(self, generation: Generation) -> None:
        """Call `on_load`; raises PluginFault."""
        hook = generation.hooks.on_load
        if hook is not None and self.calls_hooks:
            with _Pointing("on_load", generation, generation.snapshot), recording(generation.namespace.ledger):
                self._run(generation, hook)

    def save_state(self, old: Generation) -> State | None:
        """Ask a generation for its state, None when it has none to give; raises PluginFault."""
        if old.hooks.save_state is None:
            return None
        with _Pointing("state", old, old.snapshot):
            return State(old.version, old.context.run(old.hooks.save_state()))

    def load_state(self, new: Generation, state: State | None) -> None:
        """Give a generation its predecessor's state, if it wants one; raises PluginFault."""
        if state is None or new.hooks.load_state is None:
            return
        with _Pointing("state", new, new.snapshot):
            new.context.run(new.hooks.load_state(state.value, state.version))

    def unload(
        self, generation: Generation, *, started: bool, timeout: float, successor: Generation | None = None
    ) -> list[str]:
        """Call `on_unload` (of a generation that was started), undo and join; return what went wrong, in words.

        What the generation changed outside itself is taken back, or goes over to a `successor` that serves.
        """
        problems = []
        deadline = time.monotonic() + timeout
        context, namespace = generation.context, generation.namespace
        context.stopping.set()
        hook = generation.hooks.on_unload
        if started and hook is not None and self.calls_hooks:
            try:
                self._run(generation, hook)
            except BaseException as error:  # whatever it raises, the rest must be undone
                LOG.exception("hotplug.on_unload_failed", extra={"plugin": generation.name})
                problems.append(f"on_unload failed: {type(error).__name__}: {error}")
        problems += context.undo()
        problems += namespace.ledger.undo(successor.namespace.ledger if successor is not None else None)
        self._loop.cancel(lambda code: getattr(code.get(CANARY), "ledger", None) is namespace.ledger)
        problems += context.join(deadline)
        problems += end_threads(namespace.ledger, context.threads, deadline)
        modules = namespace.modules.values()
        return problems + left_open(modules, lambda module: near(module.__file__ or module.__name__))

    def has_work(self, generation: Generation) -> bool:
        """Tell whether ending a generation takes more than forgetting it."""
        ledger, modules = generation.namespace.ledger, generation.namespace.modules.values()
        own = generation.hooks.on_unload is not None or generation.context.busy
        return own or bool(ledger.changes or ledger.threads) or bool(left_open(modules, str)) or self._loop.known

    # -- building -------------------------------------------------------------------------------

    def _entry_point(self, found: Found, snapshot: Snapshot, manifest: Manifest) -> EntryPoint | None:
        where = _inside(found.path, manifest.file) if manifest.file else found.path
        entry = parse_entry(manifest.entry_point, plugin=found.name, path=where, line=manifest.lines.get("entry_point"))
        suffixes = tuple(EXTENSION_SUFFIXES)
        for file in snapshot.files:
            if file.endswith(suffixes):
                raise PluginFault(_extension_fault(found, file))
        return entry

    def _namespace(
        self, found: Found, snapshot: Snapshot, number: int, load: Transaction, codes: Mapping[str, CodeType]
    ) -> Namespace:
        namespace = Namespace(
            plugin=found.name,
            public=found.public,
            number=number,
            path=found.path,
            snapshot=snapshot,
            codes=codes,
            neighbours=self._neighbours,
            code_path=self.code_path,
            wait=self._in_use.now.load_timeout,
        )
        namespace.transaction = load
        load.candidates[found.public] = namespace
        return namespace

    def _compile(self, found: Found, snapshot: Snapshot) -> dict[str, CodeType]:
        place = f"{found.path}{os.sep}"
        codes = {}
        for file in sorted(snapshot.md5):
            if not file.endswith(".py"):
                continue
            data = snapshot.files[file]
            other = self.code_path(found.name, file, data) if self.code_path else None
            try:
                codes[file] = compile_source(data, other or place + file.replace("/", os.sep), snapshot.md5[file])
            except SyntaxError as error:
                raise PluginFault(syntax_fault(error, found.name, found.path / file)) from None
        return codes

    def _entry(self, found: Found, namespace: Namespace, entry: EntryPoint | None, manifest: Manifest) -> Entry | None:
        if entry is None:
            return None
        with _Pointing("import", found, None):  # a module may make its names up, and fail at that
            function = self._function(found, namespace, entry, manifest, "entry")
            own = Entry.of(function, self._injectable)
        return replace(own, injected=own.injected - set(manifest.parameters))

    @staticmethod
    def _check_module(found: Found, namespace: Namespace, entry: EntryPoint, manifest: Manifest) -> None:
        """Refuse an entry in a module that the plugin doesn't hold; nothing of it has run yet."""
        if not namespace.has(entry.module):
            known = [name for name in namespace.relative_names() if name]
            message = f"entry {entry}: the plugin has no module {entry.module!r}{did_you_mean(entry.module, known)}"
            where = found.path / (manifest.file or ".")
            raise PluginFault(Fault(found.name, "bad-entry", message, where, manifest.lines.get("entry_point")))

    def _function(
        self, found: Found, namespace: Namespace, entry: EntryPoint, manifest: Manifest, what: str
    ) -> Callable[..., Any]:
        module = namespace.load(namespace.full_name(entry.module))
        function = getattr(module, entry.attribute, None)

        def fault(slug: str, message: str) -> PluginFault:
            file = getattr(module, "__file__", None)
            here = Path(file) if file else found.path / (manifest.file or ".")
            return PluginFault(Fault(found.name, slug, f"{what} {entry}{message}", here))

        if function is None:
            names = [n for n in dir(module) if not n.startswith("_")]
            hint = did_you_mean(entry.attribute, names)
            raise fault("no-entry", f": there is no function {entry.attribute!r}{hint}")
        if not callable(function):
            raise fault("no-entry", f" is not callable but {type(function).__name__}")
        home = getattr(function, "__module__", None)
        if not isinstance(home, str) or not namespace.owns(home):
            raise fault("foreign-entry", f" is no function of this plugin (it belongs to {home!r})")
        return function  # type: ignore[no-any-return]

    def _hooks(self, found: Found, namespace: Namespace, main: str) -> Hooks:
        module = namespace.load(namespace.full_name(main))

        def own(name: str) -> Callable[..., Any] | None:
            function = getattr(module, name, None)
            return function if callable(function) else None

        def hook(name: str, setting: str) -> Entry | None:
            if setting:
                point = parse_entry(setting, plugin=found.name, path=found.path)
                assert point is not None, "a setting that is not empty names a function"
                home = namespace.load(namespace.full_name(point.module)) if namespace.has(point.module) else None
                function = getattr(home, point.attribute, None)
            else:
                function = own(name)
            return Entry.of(function, self._injectable) if callable(function) else None

        with _Pointing("import", found, None):
            return Hooks(
                on_load=hook("on_load", found.layout.on_load),
                on_unload=hook("on_unload", found.layout.on_unload),
                save_state=own("save_state"),
                load_state=own("load_state"),
                health=own("health"),
            )

    # -- calling --------------------------------------------------------------------------------

    def _run(self, generation: Generation, hook: Entry) -> Any:
        return generation.context.run(hook.function(**self.injected(generation, hook)))

    def injected(self, generation: Generation, entry: Entry) -> dict[str, Any]:
        """Return the arguments that an entry or hook asked for by name."""
        return {name: generation.context if name == "context" else generation.context.host for name in entry.injected}


class _Pointing:
    """Turn whatever a plugin's code raises into a PluginFault that points into the plugin."""

    def __init__(self, doing: str, of: Found | Generation, snapshot: Snapshot | None) -> None:
        self._doing = doing
        self._plugin = of.name
        self._root = of.path if isinstance(of, Found) else of.namespace.path
        self._files = snapshot.files if snapshot else {}

    def __enter__(self) -> None:
        """Begin; there is nothing to set up."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is None or isinstance(error, (LoadAbandoned, PluginFault)):
            return
        fault = fault_from(error, plugin=self._plugin, root=self._root, files=self._files, doing=self._doing)
        raise PluginFault(fault) from None


def _check_parameters(found: Found, manifest: Manifest) -> None:
    where, line = _inside(found.path, manifest.file), manifest.lines.get("parameters")
    faults = [
        Fault(found.name, "bad-manifest", said, where, line)
        for said in check_declarations(found.name, manifest.parameters)
    ]
    if faults:
        raise PluginFault(*faults)


def _extension_fault(found: Found, file: str) -> Fault:
    message = "extension modules can't be unloaded, so a hot plugin must not hold one"
    remedy = "Ship it as a distribution of its own and name that in the manifest's dependencies."
    path = found.path / file
    rests_on = ((str(path), stamp_of(path)),)  # it counts for no digest, so that taking it away is no new content
    return Fault(found.name, "extension-module", message, path, remedy=remedy, rests_on=rests_on)


def prepare_package(found: Found) -> None:
    """Import the package that plugins of this plugin dir live in, if it has a name.

    Host code may stand in its `__init__.py`; without one, or when the plugin dir lies off sys.path,
    the finder answers with an empty package.
    """
    prefix = found.layout.package
    if prefix:
        with _Pointing("import", found, None):
            importlib.import_module(prefix)
