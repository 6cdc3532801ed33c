"""One generation's modules: names, private import, isolation.

Modules keep the same qualified name in every generation. Which generation code belongs to is
decided by its own `__builtins__["__import__"]`, made here: it resolves relative, full and flat
names to the generation's own modules, other plugins to the generations this one is bound to, and
leaves everything else to the ordinary machinery. So a call in flight never sees another
generation's module, however late it imports. Decides nothing about when to load or swap.
"""

from __future__ import annotations

import builtins
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from importlib._bootstrap import (  # type: ignore[attr-defined]  # importlib's own per-module lock with
    _DeadlockError,  # deadlock detection: a second one of our own would not see cycles through both
    _ModuleLockManager,
)
from importlib.util import resolve_name
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, Protocol

from pytest_hotplug.reloader import transaction
from pytest_hotplug.reloader.code import compile_source
from pytest_hotplug.reloader.digests import hash_of
from pytest_hotplug.reloader.facades import Facade, stand_in
from pytest_hotplug.reloader.fingerprint import Snapshot
from pytest_hotplug.reloader.ledger import CANARY, Canary, Ledger
from pytest_hotplug.reloader.names import is_test
from pytest_hotplug.reloader.resources import SnapshotLoader
from pytest_hotplug.reloader.side_effects import recording
from pytest_hotplug.reloader.spec import OwnSpec
from pytest_hotplug.reloader.staged import StagedModule, make_ordinary

__all__ = ["Namespace", "Neighbours", "Source"]


@dataclass(frozen=True, slots=True)
class Source:
    """One importable name of a plugin: its file ("" for a directory without `__init__.py`)."""

    file: str
    is_package: bool
    directory: str


class Neighbours(Protocol):
    """What the private import asks of the world above: another plugin's modules."""

    def namespace_of(self, module: str, asking: Namespace) -> Namespace | None:
        """Return the namespace that `asking` is bound to for this absolute module name, None for no plugin's."""
        ...


_BY_NAME = ("importlib", "pkgutil")  # modules whose functions take a module by its name
CodePath = Callable[[str, str, bytes], "str | None"]  # (plugin, relative file, data) -> another file name


class Namespace:
    """The modules of one generation, by full name, and the import that its code uses."""

    def __init__(
        self,
        *,
        plugin: str,
        public: str,
        number: int,
        path: Path,
        snapshot: Snapshot,
        codes: Mapping[str, CodeType],
        neighbours: Neighbours,
        code_path: CodePath | None = None,
        wait: float = 30.0,
    ) -> None:
        self.plugin = plugin
        self.public = public
        self.path = path
        self._place = str(path)
        self._below = f"{self._place}{os.sep}"
        self.files = snapshot.files
        self.modules: dict[str, ModuleType] = {}
        self._executing: set[str] = set()  # those of `modules` whose code is under way, each under its module lock
        self.published = False  # its modules stand in sys.modules; set under the transaction guard
        self.transaction: transaction.Transaction | None = None
        self.ledger = Ledger(public, self._place, snapshot.files)
        self.canary = Canary(plugin, number, self.ledger)
        self.builtins = {**vars(builtins), "__import__": self.import_}
        self.bound: dict[str, Any] = {}  # plugin -> the generation of it that this one uses
        self._prefix = public.rpartition(".")[0]
        self._within = f"{public}."
        self._md5 = snapshot.md5
        self.checked = codes  # the code of sources, while the load that compiled them executes them
        self._sources = _sources(tuple(sorted(snapshot.files)))
        self._flat = {name for name in self._sources if name and "." not in name}
        self._neighbours = neighbours
        self._code_path = code_path
        self._wait = wait

    # -- what is there --------------------------------------------------------------------------

    def full_name(self, relative: str) -> str:
        """Return the qualified name of a module given by its name inside the plugin."""
        return f"{self.public}.{relative}" if relative else self.public

    def place_of(self, relative: str) -> str:
        """Return the path on disk of a file or directory inside the plugin."""
        if not relative:
            return self._place
        return self._below + (relative if os.sep == "/" else relative.replace("/", os.sep))

    def owns(self, name: str) -> bool:
        """Tell whether a qualified name lies below this plugin's public name."""
        return name == self.public or name.startswith(self._within)

    def has(self, relative: str) -> bool:
        """Tell whether the plugin holds a module of this name."""
        return relative in self._sources

    def relative_names(self) -> Sequence[str]:
        """Return the names of all modules inside the plugin."""
        return sorted(self._sources)

    def source_files(self) -> Sequence[str]:
        """Return the relative names of all sources, lazily imported ones too."""
        return sorted(file for file in self._md5 if file.endswith(".py"))

    def mirror_builtins(self) -> None:
        """Take over what was patched in `builtins` since the load (a sandbox does so before each call)."""
        own = self.builtins
        for name, value in vars(builtins).items():
            if own.get(name) is not value and name != "__import__":
                own[name] = value

    # -- loading --------------------------------------------------------------------------------

    def load(self, full_name: str) -> ModuleType:
        """Return one of the generation's modules, executing it if it wasn't yet.

        Raises ModuleNotFoundError for a name the plugin doesn't hold, and whatever its code raises.
        """
        module = self.modules.get(full_name)
        # Looked at once more at the end: one whose code failed is taken out before its name is.
        if module is not None and full_name not in self._executing and self.modules.get(full_name) is module:
            return module
        return self._load(full_name)

    def _load(self, full_name: str) -> ModuleType:
        source = self._sources.get(full_name[len(self.public) + 1 :])
        if source is None:
            raise ModuleNotFoundError(self._no_such(full_name), name=full_name)
        half_made = self.modules.get(full_name)
        if half_made is not None and _waits_for_us(half_made):
            return half_made
        parent = full_name.rpartition(".")[0]
        if full_name != self.public:
            self.load(parent)
        try:
            if self.transaction is not None:  # it holds the guard
                return self._load_locked(full_name, source, parent, None)
            # The guard first, then the module's lock, in every thread: the other way round two would wait forever.
            with self._guarded() as journal:
                return self._load_locked(full_name, source, parent, journal)
        except _DeadlockError:
            # Two threads import two modules that import each other: as importlib does, accept the half-made one.
            return self.modules[full_name]
        except transaction.LoadAbandoned:
            if self.transaction is not None:
                raise
            raise ImportError(f"{full_name}: its import took longer than load_timeout", name=full_name) from None

    def _load_locked(
        self, full_name: str, source: Source, parent: str, journal: transaction.Journal | None
    ) -> ModuleType:
        with _ModuleLockManager(f"{full_name} {id(self)} {transaction.forks()}"):
            module = self.modules.get(full_name)
            if module is None or (full_name in self._executing and _is_orphan(module)):
                module = self._execute(full_name, source, parent, journal)
            return module

    @contextmanager
    def _guarded(self) -> Iterator[transaction.Journal]:
        """Hold the guard for a lazy import, maybe in old code: it is a load like any other."""
        with transaction.exclusive(self._wait) as journal:
            with recording(self.ledger):
                yield journal
            if self.published:
                journal.keep()
            else:
                journal.restore()

    def _no_such(self, full_name: str) -> str:
        said = f"No module named {full_name!r}"
        if is_test(f"{full_name.rpartition('.')[2]}.py"):
            said += " (test files are no part of a plugin's version)"
        return said

    def _execute(self, full_name: str, source: Source, parent: str, journal: transaction.Journal | None) -> ModuleType:
        module, spec = self._new_module(full_name, source)
        own_parent = self.modules.get(parent) if full_name != self.public else None
        self._stage(module, spec, journal)
        self._executing.add(full_name)
        self.modules[full_name] = module
        if own_parent is not None:  # before the first line runs: circular imports look there
            setattr(own_parent, full_name.rpartition(".")[2], module)
        try:
            if source.file:
                exec(self.code_of(source.file), module.__dict__)
        except BaseException:
            del self.modules[full_name]
            self._executing.discard(full_name)
            if own_parent is not None:
                own_parent.__dict__.pop(full_name.rpartition(".")[2], None)
            if self.transaction is not None:  # whoever imports it may well go on without it
                self.transaction.unstage(full_name, module)
            raise
        self._executing.discard(full_name)
        if self.transaction is None:  # imported late by code that serves, or served
            make_ordinary(module)
        return self._as_it_wishes(full_name, module, own_parent)

    def _as_it_wishes(self, full_name: str, module: ModuleType, parent: ModuleType | None) -> ModuleType:
        """Honour a module that replaced itself in sys.modules while it executed."""
        wished = sys.modules.get(full_name, module)
        if wished is not module:
            self.modules[full_name] = module = wished
            if parent is not None:
                setattr(parent, full_name.rpartition(".")[2], module)
        return module

    def _new_module(self, full_name: str, source: Source) -> tuple[ModuleType, OwnSpec]:
        place = self.place_of(source.directory) if source.is_package else None
        origin = self.place_of(source.file) if source.file else None
        spec = OwnSpec(full_name, SnapshotLoader(self, full_name, source.file, source.directory), origin, place)
        module = StagedModule(full_name)
        known = vars(module)
        known["__spec__"] = spec
        known["__loader__"] = spec.loader
        known["__package__"] = full_name if source.is_package else full_name.rpartition(".")[0]
        known["__builtins__"] = self.builtins
        known[CANARY] = self.canary
        known["__cached__"] = None
        if origin is not None:
            known["__file__"] = origin
        if place is not None:
            known["__path__"] = [place]
        return module, spec

    def code_of(self, file: str) -> CodeType:
        """Return the compiled code of one source; raises SyntaxError."""
        if (checked := self.checked.get(file)) is not None:
            return checked
        data = self.files[file]
        filename = self._code_path(self.plugin, file, data) if self._code_path else None
        # What watch_ignore names counts for no digest, and may be imported all the same.
        return compile_source(data, filename or self.place_of(file), self._md5.get(file) or hash_of(data))

    def _stage(self, module: ModuleType, spec: OwnSpec, journal: transaction.Journal | None) -> None:
        """Let `module` stand in sys.modules while it executes, and afterwards if its generation is public."""
        load = self.transaction
        spec.load = load or transaction.current()
        if load is not None:
            load.stage(spec.name, module)
        elif journal is not None:
            journal.stage(spec.name, module)

    # -- the private import ---------------------------------------------------------------------

    def import_(
        self,
        name: str,
        globals: Mapping[str, Any] | None = None,  # noqa: A002  # the names of __import__ itself
        locals: Mapping[str, Any] | None = None,  # noqa: A002
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> Any:
        """Stand in for `__import__` in this generation's code."""
        if level:
            package = _package(globals)
            if level == 1:  # nearly always
                absolute = f"{package}.{name}" if name else package
            else:
                absolute = resolve_name("." * level + name, package)
            if self.owns(absolute):
                return self._own(absolute, fromlist, "" if fromlist else self._first(absolute, package, name))
            return self._absolute(absolute, fromlist)
        if self.owns(name):
            return self._own(name, fromlist, "")
        first = name.partition(".")[0]
        if first in self._flat and first not in sys.stdlib_module_names:
            return self._own(f"{self.public}.{name}", fromlist, f"{self.public}.{first}")
        return self._foreign(name, globals, locals, fromlist)

    @staticmethod
    def _first(absolute: str, package: str, name: str) -> str:
        """Return what `__import__("a.b", level=1)` without a fromlist answers: the package's `a`."""
        return absolute[: len(absolute) - len(name)] + name.partition(".")[0] if name else absolute

    def _absolute(self, name: str, fromlist: Sequence[str] | None) -> Any:
        return self._foreign(name, None, None, fromlist)

    def _own(self, full_name: str, fromlist: Sequence[str] | None, first: str) -> Any:
        module = self.load(full_name)
        if fromlist:
            self.bring(module, full_name, fromlist)
            return module
        return self.load(first) if first else self.root()

    def bring(self, module: ModuleType, full_name: str, names: Sequence[str]) -> None:
        """Import the submodules that a `from package import names` asks for; raises ImportError."""
        if not hasattr(module, "__path__"):
            return
        for name in names:
            child = f"{full_name}.{name}"
            if name == "*":
                self.bring(module, full_name, [n for n in getattr(module, "__all__", ()) if n != "*"])
            elif child in self.modules:
                self.load(child)  # the attribute is there already; its module may still execute on another thread
            elif not hasattr(module, name):
                # Never leave this to the interpreter: it would look into sys.modules, at another generation.
                if not self.has(child[len(self.public) + 1 :]):
                    message = f"cannot import name {name!r} from {full_name!r} ({getattr(module, '__file__', None)})"
                    raise ImportError(message, name=full_name, path=getattr(module, "__file__", None))
                self.load(child)

    def _foreign(
        self,
        name: str,
        globals_: Mapping[str, Any] | None,
        locals_: Mapping[str, Any] | None,
        fromlist: Sequence[str] | None,
    ) -> Any:
        neighbour = self._neighbours.namespace_of(name, self)
        if neighbour is not None:
            module = neighbour.load(name)
            if fromlist:
                neighbour.bring(module, name, fromlist)
                return module
            return self.root() if self._prefix == neighbour._prefix else neighbour.root()
        if not self._prefix or not (name + ".").startswith(self._prefix.partition(".")[0] + "."):
            module = builtins.__import__(name, globals_, locals_, fromlist or (), 0)
            self.ledger.see(sys.modules.get(name))
            return stand_in(module, self) if name.startswith(_BY_NAME) else module
        return self._near(name, globals_, locals_, fromlist or ())

    def _near(
        self,
        name: str,
        globals_: Mapping[str, Any] | None,
        locals_: Mapping[str, Any] | None,
        fromlist: Sequence[str],
    ) -> Any:
        """Import something that shares our package prefix: plugins in it must come from this generation's view."""
        if not (self._prefix + ".").startswith(name + "."):
            module = builtins.__import__(name, globals_, locals_, fromlist, 0)
            return module if fromlist else self.root()
        facade = Facade(name, self)
        others = tuple(item for item in fromlist if facade.plugin_in(item) is None)
        builtins.__import__(name, globals_, locals_, others, 0)
        return facade if fromlist else self.root()

    def find(self, full_name: str) -> ModuleType | None:
        """Return a plugin's module as this generation sees it; None when the name is no plugin's."""
        if self.owns(full_name):
            return self.load(full_name)
        other = self._neighbours.namespace_of(full_name, self)
        return other.load(full_name) if other is not None else None

    def root(self) -> ModuleType:
        """Return what `import a.b.c` binds: this generation's view of the outermost package."""
        if not self._prefix:
            return self.load(self.public)
        return Facade(self._prefix.partition(".")[0], self)

    def neighbour(self, name: str) -> ModuleType | None:
        """Return the package of the plugin with this qualified name as this generation sees it."""
        if name == self.public:
            return self.load(name)
        other = self._neighbours.namespace_of(name, self)
        return other.load(name) if other is not None and other.public == name else None


def _package(globals_: Mapping[str, Any] | None) -> str:
    """Return the package that a relative import starts from."""
    package = (globals_ or {}).get("__package__") or ""
    if not package:
        raise ImportError("attempted relative import with no known parent package")
    return str(package)


@lru_cache(maxsize=64)  # few: each may hold thousands of names
def _sources(files: tuple[str, ...]) -> Mapping[str, Source]:
    """Map every importable name inside the plugin ("" is the package itself) to its source, from its sorted files.

    Most versions of a plugin have the same files.
    """
    sources = {"": Source("__init__.py" if "__init__.py" in files else "", True, "")}
    for file in files:
        if "/" not in file:
            continue
        parts = file.split("/")[:-1]
        if not all(part.isidentifier() for part in parts):
            continue
        for depth in range(1, len(parts) + 1):
            inside = "/".join(parts[:depth])
            init = f"{inside}/__init__.py"
            sources[inside.replace("/", ".")] = Source(init if init in files else "", True, inside)
    for file in files:
        stem = file.removesuffix(".py").replace("/", ".")
        if not file.endswith(".py") or stem.endswith("__init__") or not _importable(stem):
            continue
        if stem not in sources or not sources[stem].file:  # a package wins over a module, as in Python
            sources[stem] = Source(file, False, "")
    return sources


def _waits_for_us(module: ModuleType) -> bool:
    """Tell whether a half-made module goes on only when the load on this thread, which it asked for, is over."""
    load = getattr(getattr(module, "__spec__", None), "load", None)
    return isinstance(load, transaction.Transaction) and load is not transaction.current() and load.inside()


def _is_orphan(module: ModuleType) -> bool:
    """Tell whether a half-made module was left by a thread that doesn't exist in this process: we are a fork."""
    spec = getattr(module, "__spec__", None)
    return isinstance(spec, OwnSpec) and not spec.is_ours()


def _importable(name: str) -> bool:
    return name.isidentifier() or all(part.isidentifier() for part in name.split("."))
