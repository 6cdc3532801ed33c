"""Write down what a load changes outside the plugin, and find what an old version leaves running.

Functions through which code reaches out are tapped; what has none (sys.path, attributes of other
modules, sys.excepthook) is compared before and after. Changes are attributed to a plugin by its own
frames and its own objects, never by the clock, so that what other threads do meanwhile is not blamed
on it. The one exception is a list of sys that another thread changes during the load of a plugin
whose code speaks of that list.
"""

from __future__ import annotations

import builtins
import functools
import itertools
import operator
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from pytest_hotplug.reloader.ledger import STOP_FIRST, Change, Ledger, belongs
from pytest_hotplug.reloader.taps import install_taps, remove_taps

__all__ = ["end_threads", "left_open", "recording"]

_MISSING = object()
_LISTS = {"path": (b"sys.path", b"addsitedir"), "meta_path": (b"meta_path",), "path_hooks": (b"path_hooks",)}
_STREAMS = ("stdin", "stdout", "stderr")
_START_METHOD = (b"set_start_method",)


@contextmanager
def recording(ledger: Ledger) -> Iterator[None]:
    """Write into the ledger what the block's code changes, whether or not the block fails."""
    if ledger.open:
        yield  # a module that is imported within the import of another one
        return
    lists = {name: list(getattr(sys, name)) for name in _LISTS}
    streams = {name: getattr(sys, name) for name in _STREAMS}
    method = _start_method()
    ledger.open = True
    for module in (sys, builtins, threading):
        ledger.see(module)
    install_taps()
    try:
        yield
    finally:
        remove_taps()
        ledger.open = False
        for name, before in lists.items():
            _compare_list(ledger, name, before)
        for name, stream in streams.items():
            _compare_value(ledger, sys, name, stream, (b"sys." + name.encode(),))
        _compare_modules(ledger)
        _compare_start_method(ledger, method)


def _compare_list(ledger: Ledger, name: str, before: list[Any]) -> None:
    now = getattr(sys, name)
    if now == before or not ledger.mentions(*_LISTS[name]):
        return
    left = list(before)
    for item in now:
        if item in left:
            left.remove(item)
            continue
        key = item if isinstance(item, str) else type(item).__qualname__
        words = _words_for(item, ledger)
        text = f"the entry {item!r} of sys.{name}"
        undo = functools.partial(_remove, now, item)
        place = ledger.line_with(*_LISTS[name])
        ledger.add(Change(f"sys.{name}", key, text, undo, place, words=words))


def _words_for(item: Any, ledger: Ledger) -> tuple[bytes, ...]:
    """Return what code that relies on finding an entry is bound to contain: the path, or its last part."""
    if not isinstance(item, str):  # an object of the plugin's own making can't serve the next version
        return () if belongs(item, ledger) else (type(item).__qualname__.encode(),)
    last = os.path.basename(item.rstrip(os.sep)).encode("utf-8", "surrogateescape")
    quoted = (b"'" + last + b"'", b'"' + last + b'"', b"/" + last + b"'", b"/" + last + b'"') if last else ()
    near_itself = (b"__file__",) if ledger.place and f"{ledger.place}{os.sep}".startswith(item) else ()
    return (item.encode("utf-8", "surrogateescape"), *quoted, *near_itself)


def _remove(items: list[Any], item: Any, _: Any) -> str:
    if item in items:
        items.remove(item)
    return ""


def _compare_value(ledger: Ledger, module: ModuleType, name: str, before: Any, words: tuple[bytes, ...]) -> None:
    """Write down a new value of an attribute if the plugin's code speaks of it."""
    now = getattr(module, name)
    if now is not before and ledger.mentions(*words):
        _note(ledger, module, name, before, now, ledger.line_with(*words))


def _compare_modules(ledger: Ledger) -> None:
    """Write down which attributes of modules that the code imported are of the plugin's own making now."""
    seen, ledger.seen = ledger.seen, {}
    for module, before in seen.values():
        now = vars(module)
        if len(before) == len(now) and all(map(operator.is_, before.values(), now.values())):
            continue
        for name, value in list(now.items()):
            was = before.get(name, _MISSING)
            if was is not value and belongs(value, ledger):
                _note(ledger, module, name, was, value, _place_of(value, ledger))


def _note(ledger: Ledger, module: ModuleType, name: str, was: Any, value: Any, place: str) -> None:
    full = f"{module.__name__}.{name}"

    def undo(before: Any) -> str:
        if vars(module).get(name, _MISSING) is not value:
            return f"{place}: {full} was replaced by others since, and may stay inside; {STOP_FIRST}"
        if before is _MISSING:
            delattr(module, name)
        else:
            setattr(module, name, before)
        return ""

    if not any((change.kind, change.key) == ("patch", full) for change in ledger.changes):
        ledger.add(Change("patch", full, f"the replaced {full}", undo, place, was, value, shared=True))


def _place_of(value: Any, ledger: Ledger) -> str:
    """Return the `file:line` at which a function or class of the plugin is defined, as far as it is known."""
    code = getattr(getattr(value, "__func__", value), "__code__", None)
    if code is not None:
        name = next((n for n in ledger.sources if code.co_filename.replace("\\", "/").endswith(f"/{n}")), "")
        return f"{name or code.co_filename}:{code.co_firstlineno}"
    kind = value if isinstance(value, type) else type(value)
    return ledger.line_with(f"class {kind.__name__}".encode())


def _start_method() -> Any:
    multiprocessing = sys.modules.get("multiprocessing")
    return multiprocessing.get_start_method(allow_none=True) if multiprocessing is not None else None


def _compare_start_method(ledger: Ledger, before: Any) -> None:
    now = _start_method()
    if now == before or not ledger.mentions(*_START_METHOD):
        return

    def undo(before: Any) -> str:
        if _start_method() == now:
            sys.modules["multiprocessing"].set_start_method(before, force=True)
        return ""

    text, place = f"multiprocessing's start method {now!r}", ledger.line_with(*_START_METHOD)
    ledger.add(Change("start-method", "", text, undo, place, before, shared=True, words=_START_METHOD))


# -- what an old version leaves running -----------------------------------------------------------


def end_threads(ledger: Ledger, known: Iterable[threading.Thread], deadline: float) -> list[str]:
    """Cancel timers, wait for the other threads that a load started, and name those that run on.

    `known` are left out: somebody else ends and names them. `deadline` is a `time.monotonic()`.
    """
    problems = []
    threads = [(thread, place) for thread, place in ledger.threads if thread not in set(known)]
    for thread, _ in threads:
        if isinstance(thread, threading.Timer):
            thread.cancel()
    for thread, place in threads:
        if thread is not threading.current_thread():
            thread.join(max(0.0, deadline - time.monotonic()))
        if thread.is_alive():
            problems.append(f"{place}: thread {thread.name!r}, started while it was loaded, runs on in the old code")
    ledger.threads = [(thread, place) for thread, place in threads if thread.is_alive()]
    return problems


def left_open(modules: Iterable[ModuleType], name_of: Callable[[ModuleType], str]) -> list[str]:
    """Name what stands in a generation's modules and outlives it: child processes and open sockets."""
    there = ((getattr(sys.modules.get(module), name, None), still_open) for module, name, still_open in _OUTLIVING)
    kinds: dict[type, Callable[[Any], str]] = {kind: still_open for kind, still_open in there if kind is not None}
    classes = tuple(kinds)
    modules = list(modules)
    if not any(issubclass(kind, classes) for kind in _kinds_in(modules)):
        return []
    return [
        f"{name_of(module)}: {name} is {what} of the old version"
        for module in modules
        for name, value in list(vars(module).items())
        if isinstance(value, classes) and (what := next(kinds[c] for c in classes if isinstance(value, c))(value))
    ]


def _kinds_in(modules: Iterable[ModuleType]) -> Iterable[type]:
    """Return the types of what stands in modules: they are few, where hardly any of all the names holds a process."""
    values = itertools.chain.from_iterable([list(vars(module).values()) for module in modules])
    kinds = list(map(type, values))
    # By id: a metaclass may make other classes equal, or forbid to hash them.
    return dict(zip(map(id, kinds), kinds, strict=True)).values()


def _running_child(child: Any) -> str:
    runs = child.poll() is None if hasattr(child, "poll") else child.is_alive()
    return f"a child process ({child.pid}) that still runs" if runs else ""


def _open_socket(found: Any) -> str:
    return "an open socket" if found.fileno() != -1 else ""


# What is looked for, if its module was imported by anybody at all.
_OUTLIVING: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
    ("subprocess", "Popen", _running_child),
    ("multiprocessing.process", "BaseProcess", _running_child),
    ("socket", "socket", _open_socket),
)
