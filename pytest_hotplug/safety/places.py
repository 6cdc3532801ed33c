"""Remember which line of the plugin made what: threads, files, sockets, processes, variables, registrations.

Only in the child, which does nothing else: the functions through which code reaches out are wrapped for
good, and an audit hook hears the rest. What nobody can list afterwards (fork handlers, codecs, audit
hooks) is written down here, since no one can take it back either.
"""

from __future__ import annotations

import atexit
import codecs
import functools
import logging
import multiprocessing.process
import os
import signal
import subprocess
import sys
import threading
import warnings
import weakref
from collections.abc import Callable
from types import FrameType
from typing import Any

from pytest_hotplug.reloader.ledger import CANARY
from pytest_hotplug.safety.evidence import Thing

__all__ = ["Places"]

_PERMANENT = "can't be taken back by anybody"


class Places:
    """Where the plugin `public`, whose files lie in `directory`, did what; one per process."""

    def __init__(self, public: str, directory: str) -> None:
        self._public = public
        self._directory = os.path.realpath(directory)
        self.permanent: list[Thing] = []
        self.threads: weakref.WeakKeyDictionary[threading.Thread, str] = weakref.WeakKeyDictionary()
        self.paths: dict[str, str] = {}  # file that was opened -> place
        self.sockets: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()
        self.handlers: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()
        self.processes: dict[int, str] = {}
        self.filters: dict[tuple[str, type], str] = {}
        self.variables: dict[str, str] = {}
        self.at_exit: list[str] = []
        self.signals: dict[int, str] = {}

    def of_caller(self) -> str:
        """Return the `file:line` of the plugin's that is being executed, "" when none is."""
        frame: FrameType | None = sys._getframe(1)
        while frame is not None:
            name = frame.f_globals.get("__name__", "")
            if CANARY in frame.f_globals and f"{name}.".startswith(f"{self._public}."):
                return f"{self.named(frame.f_code.co_filename)}:{frame.f_lineno}"
            if frame.f_code.co_name == "<module>":
                return ""  # a library is being imported: what it sets up is its own
            frame = frame.f_back
        return ""

    def named(self, file: str) -> str:
        """Return a file of the plugin by its name within it."""
        real = os.path.realpath(file)
        return os.path.relpath(real, self._directory) if real.startswith(self._directory + os.sep) else file

    def listen(self) -> None:
        """Begin; from now on each call passes through here."""
        self._wrap(threading.Thread, "start", self._starts_thread)
        self._wrap(atexit, "register", self._registers_at_exit)
        self._wrap(signal, "signal", self._handles_signal)
        self._wrap(type(os.environ), "__setitem__", self._sets_variable)
        self._wrap(logging.Logger, "addHandler", self._adds_handler)
        self._wrap(warnings, "filterwarnings", self._filters_warnings)
        self._wrap(warnings, "simplefilter", self._filters_warnings)
        self._wrap(subprocess.Popen, "__init__", self._starts_process, after=True)
        self._wrap(multiprocessing.process.BaseProcess, "start", self._starts_process, after=True)
        for owner, name in ((os, "register_at_fork"), (codecs, "register"), (sys, "addaudithook")):
            if hasattr(owner, name):
                self._wrap(owner, name, functools.partial(self._is_permanent, f"{owner.__name__}.{name}"))
        sys.addaudithook(self._heard)

    def _wrap(self, owner: Any, name: str, note: Callable[..., None], *, after: bool = False) -> None:
        real = getattr(owner, name)

        @functools.wraps(real)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            place = self.of_caller()
            if place and not after:
                note(place, *args, **kwargs)
            result = real(*args, **kwargs)
            if place and after:
                note(place, *args)
            return result

        setattr(owner, name, wrapper)

    def _starts_thread(self, place: str, thread: threading.Thread) -> None:
        self.threads[thread] = place

    def _starts_process(self, place: str, process: Any, *_: Any) -> None:
        self.processes[process.pid] = place

    def _adds_handler(self, place: str, logger: logging.Logger, hdlr: logging.Handler) -> None:
        self.handlers[hdlr] = place

    def _filters_warnings(self, place: str, action: str, *args: Any, **kwargs: Any) -> None:
        kinds = [kind for kind in (*args, *kwargs.values()) if isinstance(kind, type)]
        self.filters[action, kinds[0] if kinds else Warning] = place

    def _registers_at_exit(self, place: str, *_: Any, **__: Any) -> None:
        self.at_exit.append(place)

    def _handles_signal(self, place: str, number: int, *_: Any) -> None:
        self.signals[int(number)] = place

    def _sets_variable(self, place: str, environ: Any, key: str, *_: Any) -> None:
        self.variables[key] = place

    def _is_permanent(self, called: str, place: str, *_: Any, **__: Any) -> None:
        self.permanent.append(Thing(text=f"{called}() {_PERMANENT}", place=place, own=True))

    def _heard(self, event: str, args: tuple[Any, ...]) -> None:
        if event == "open":
            path = args[0]
            if isinstance(path, (str, bytes)) and (place := self.of_caller()):
                self.paths[os.path.abspath(os.fsdecode(path))] = place
        elif event == "socket.__new__" and (place := self.of_caller()):
            self.sockets[args[0]] = place
