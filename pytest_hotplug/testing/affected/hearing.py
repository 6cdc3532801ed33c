"""Hear what a process reads, lists, executes and starts, from Python's audit events and the reloader's own.

One hook for the process, added when recording is first asked for; it can't be removed, so it returns
at once while nobody listens. All threads count. Reads by the import system, by the reloader and by
pytest's assertion rewriting are no reads of a test: what they lead to is known as executed code. A
mere `exists()` raises no event; `select` makes up for it where a file appears or vanishes.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Protocol

__all__ = ["Listener", "importing_module", "listen"]

_WRITES = os.O_WRONLY | os.O_TRUNC | os.O_EXCL  # none of them reads what was there before
_PACKAGE = f"{Path(__file__).resolve().parents[2]}{os.sep}"
_SITES = tuple(f"{place}{os.sep}" for place in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
_STDLIB = (*(f"{sysconfig.get_path(kind)}{os.sep}" for kind in ("stdlib", "platstdlib")), "<frozen ")
_HERE = __file__
_RESOURCES = f"{_PACKAGE}reloader{os.sep}resources.py"
_FORKSERVER = f"{_STDLIB[0]}multiprocessing{os.sep}forkserver.py"
_IMPORT_SYSTEM = "<frozen importlib"
_LOADERS = (_IMPORT_SYSTEM, *(f"{site}_pytest{os.sep}assertion{os.sep}" for site in _SITES))
_GIVES_DATA = {"get_data", "get_source"}  # `pkgutil.get_data` goes this way too
# Whoever acts for itself, not for the code under test: pytest looks for tests, rewrites and shows
# sources, coverage measures them, xdist starts workers. What two parts of pytest read is the test.
_TOOLS = ("_pytest", "coverage", "execnet", "xdist")
_FOR_ITSELF = (_PACKAGE, *(f"{site}{tool}{os.sep}" for site in _SITES for tool in _TOOLS))
_FOR_TESTS = (f"_pytest{os.sep}doctest.py", f"_pytest{os.sep}pytester.py")
# These show sources, or ask what machine this is and what is installed, which counts for all tests anyway.
_OF_NO_ACCOUNT = {
    *(f"{_STDLIB[0]}{module}.py" for module in ("doctest", "platform", "traceback", "warnings")),
    f"{_STDLIB[0]}importlib{os.sep}metadata{os.sep}__init__.py",
}


class Listener(Protocol):
    """What is told of events; called in the thread in which they happen."""

    def opened(self, path: str, *, writes: bool) -> None: ...
    def listed(self, path: str) -> None: ...
    def executes(self, code: CodeType) -> None: ...
    def finds_module(self, file: str) -> None: ...
    def starts_process(self, arguments: list[str]) -> None: ...
    def looks_at_plugin(self, path: str) -> None: ...
    def copies_plugin(self, original: str, copy: str) -> None: ...


_installed = False
_listener: Listener | None = None


def listen(listener: Listener | None) -> Callable[[], None]:
    """Let one listener be told from now on; return the undo."""
    global _listener, _installed
    let_go = _hear_multiprocessing()
    if not _installed:
        sys.addaudithook(_heard)
        _installed = True
    before, _listener = _listener, listener

    def undo() -> None:
        global _listener
        _listener = before
        let_go()

    return undo


def _hear_multiprocessing() -> Callable[[], None]:
    """Hear processes that *spawn* and *forkserver* start: Python raises no event there. Return the undo."""
    try:
        import _posixsubprocess
    except ImportError:
        return lambda: None  # elsewhere they are started by what raises one
    module: Any = _posixsubprocess
    plain = module.fork_exec

    def fork_exec(*arguments: Any) -> Any:
        sys.audit("hotplug.process")
        return plain(*arguments)

    module.fork_exec = fork_exec

    def undo() -> None:
        module.fork_exec = plain

    return undo


def importing_module(frame: FrameType | None, is_first_party: Callable[[str], str]) -> str:
    """Return the first-party file whose module is being imported around a frame, "" for none."""
    while frame is not None:
        if frame.f_code.co_name == "<module>":
            name = is_first_party(frame.f_code.co_filename)
            if name:
                return name
        frame = frame.f_back
    return ""


def _heard(event: str, arguments: tuple[Any, ...]) -> None:
    listener = _listener
    if listener is None:
        return
    handler = _HANDLERS.get(event)
    if handler is not None:
        handler(listener, *arguments)


def _open(listener: Listener, name: object, mode: object = None, flags: int = 0, *_: object) -> None:
    path = _absolute(name)
    if path and _is_asked_by_code():
        listener.opened(path, writes=bool(flags & _WRITES))


def _list(listener: Listener, name: object, *_: object) -> None:
    path = _absolute("." if name is None else name)
    if path and _is_asked_by_code():
        listener.listed(path)


def _connect(listener: Listener, name: object, *_: object) -> None:
    path = "" if name in ("", ":memory:") else _absolute(name)
    if path:
        listener.opened(path, writes=False)


def _exec(listener: Listener, code: object, *_: object) -> None:
    if isinstance(code, CodeType):
        listener.executes(code)


def _unpickle(listener: Listener, module: object, *_: object) -> None:
    file = getattr(sys.modules.get(str(module)), "__file__", None)  # one that isn't there yet will be executed
    if isinstance(file, str):
        listener.finds_module(file)


def _start(listener: Listener, program: object = "", arguments: object = (), *_: object) -> None:
    if not _is_asked_by_code():
        return
    words = [program, *arguments] if isinstance(arguments, list | tuple) else [program, arguments]
    listener.starts_process([path for word in words if (path := _absolute(word))])


def _spawn(listener: Listener, mode: object, program: object, arguments: object, *_: object) -> None:
    _start(listener, program, arguments)


def _socket(listener: Listener, *_: object) -> None:
    """Take note of a process that multiprocessing's server is asked for: it forks it, and we don't hear it."""
    if sys._getframe(2).f_code.co_filename == _FORKSERVER:
        _start(listener)


def _history(listener: Listener) -> None:
    listener.starts_process([])  # git, which may tell anything


def _plugin(listener: Listener, path: str) -> None:
    listener.looks_at_plugin(path)


def _copy(listener: Listener, original: str, copy: str) -> None:
    listener.copies_plugin(original, copy)


def _resource(listener: Listener, path: str) -> None:
    if _is_asked_by_code(through=_RESOURCES):
        listener.opened(path, writes=False)


def _resources(listener: Listener, path: str) -> None:
    if _is_asked_by_code(through=_RESOURCES):
        listener.listed(path)


def _edit(listener: Listener, path: str) -> None:
    listener.opened(path, writes=False)


_HANDLERS: dict[str, Callable[..., None]] = {
    "open": _open,
    "os.listdir": _list,
    "os.scandir": _list,
    "sqlite3.connect": _connect,  # reads in C, without an event of its own
    "exec": _exec,
    "pickle.find_class": _unpickle,
    "subprocess.Popen": _start,
    "os.system": _start,
    "os.exec": _start,
    "os.posix_spawn": _start,
    "os.spawn": _spawn,
    "os.fork": _start,
    "os.forkpty": _start,
    "socket.connect": _socket,
    "hotplug.process": _start,
    "hotplug.plugin": _plugin,
    "hotplug.resource": _resource,
    "hotplug.resources": _resources,
    "hotplug.copy": _copy,
    "hotplug.edit": _edit,
    "hotplug.history": _history,
}


def _is_asked_by_code(through: str = _HERE) -> bool:
    """Tell whether tests, plugins or libraries ask; not the import system, pytest or ourselves for our own ends.

    `through` is a file of ours that only passes questions on.
    """
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        file = frame.f_code.co_filename
        if file in (_HERE, through):
            frame = frame.f_back
            continue
        if frame.f_code.co_name in _GIVES_DATA and file.startswith(_LOADERS) and _is_called_from_outside(frame):
            frame = frame.f_back
            continue
        if file.startswith(_IMPORT_SYSTEM) or file in _OF_NO_ACCOUNT:
            return False
        if not file.startswith(_STDLIB) or file.startswith(_SITES):
            return not file.startswith(_FOR_ITSELF) or file.endswith(_FOR_TESTS)
        frame = frame.f_back
    return True


def _is_called_from_outside(frame: FrameType) -> bool:
    """Tell whether a loader's method is called by others than the loaders, which look for code to execute."""
    caller = frame.f_back
    return caller is not None and not caller.f_code.co_filename.startswith(_LOADERS)


def _absolute(name: object) -> str:
    """Return the path as it is meant at this moment, "" for a descriptor: a test may change the directory later."""
    if not isinstance(name, str | bytes | os.PathLike):
        return ""
    path = os.fsdecode(name)
    if not path or os.path.isabs(path):
        return path
    try:
        return os.path.join(os.getcwd(), path)
    except FileNotFoundError:
        return ""  # the directory is gone, and what raises here would break the caller
