"""The few functions through which code reaches out of itself, tapped while a load executes code.

`atexit.register`, `Logger.addHandler`, setting a variable, starting a thread...: what they are asked
for is written into the ledger of the generation whose code asked. Not what a library does to itself
while it is imported for the first time: that is the library's. Outside of loads the real functions
stand where they belong. For `side_effects` only.
"""

from __future__ import annotations

import atexit
import codecs
import copyreg
import functools
import inspect
import logging
import os
import re
import sys
import threading
import warnings
from collections.abc import Callable
from types import FrameType
from typing import Any

from pytest_hotplug.reloader import transaction
from pytest_hotplug.reloader.errors import near
from pytest_hotplug.reloader.ledger import CANARY, Change, Ledger, belongs

__all__ = ["install_taps", "remove_taps"]

_MISSING = object()
_lock = threading.Lock()  # guards _users and _originals; a load that hangs keeps the taps, others come and go
_users = 0
_originals: dict[tuple[Any, str], Any] = {}


def install_taps() -> None:
    """Let the tapped functions pass through here until `remove_taps` was called as often."""
    global _users
    with _lock:
        _users += 1
        if _users == 1:
            for (owner, name), tap in _TAPS.items():
                _originals[owner, name] = getattr(owner, name)
                setattr(owner, name, tap)


def remove_taps() -> None:
    """Put the real functions back; what somebody else put there meanwhile stays."""
    global _users
    with _lock:
        _users -= 1
        if _users == 0:
            for (owner, name), tap in _TAPS.items():
                if getattr(owner, name) is tap:
                    setattr(owner, name, _originals[owner, name])


def _asking() -> tuple[Ledger, str] | None:
    """Return the ledger of the plugin code that called a tapped function during a load, and from where."""
    if transaction.current() is None:
        return None
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        canary = frame.f_globals.get(CANARY)
        if canary is not None:
            return canary.ledger, f"{near(frame.f_globals.get('__file__') or '?')}:{frame.f_lineno}"
        if frame.f_code.co_name == "<module>":
            return None  # a library is being imported
        frame = frame.f_back
    return None


def _register_at_exit(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Callable[..., Any]:
    asking, real = _asking(), _originals[atexit, "register"]
    if asking is None:
        return real(function, *args, **kwargs)  # type: ignore[no-any-return]
    ledger, place = asking
    # unregister() takes out all that equal a function: one that isn't the plugin's own is wrapped.
    own = function if belongs(function, ledger) else functools.partial(function)
    real(own, *args, **kwargs)
    text = f"atexit.register({getattr(function, '__qualname__', repr(function))})"
    ledger.add(Change("atexit", id(own), text, functools.partial(_without, atexit.unregister, own), place))
    return function


def _without(unregister: Callable[[Any], None], registered: Any, _: Any) -> str:
    unregister(registered)
    return ""


def _register_codec(search_function: Callable[[str], Any], /) -> None:
    asking = _asking()
    _originals[codecs, "register"](search_function)
    if asking is not None:
        ledger, place = asking
        undo = functools.partial(_without, codecs.unregister, search_function)
        ledger.add(Change("codecs", id(search_function), "codecs.register", undo, place))


def _pickle_by(ob_type: Any, pickle_function: Any, constructor_ob: Any = None) -> None:
    asking, table = _asking(), copyreg.dispatch_table
    before = table.get(ob_type, _MISSING)
    _originals[copyreg, "pickle"](ob_type, pickle_function, constructor_ob)
    if asking is not None:
        ledger, place = asking
        text = f"copyreg.pickle({getattr(ob_type, '__qualname__', ob_type)})"
        undo = functools.partial(_put_back, table, ob_type, pickle_function)
        ledger.add(Change("copyreg", ob_type, text, undo, place, before, shared=True))


def _add_handler(logger: logging.Logger, hdlr: logging.Handler) -> None:
    asking, there = _asking(), hdlr in logger.handlers
    _originals[logging.Logger, "addHandler"](logger, hdlr)
    if asking is None or there:
        return
    ledger, place = asking

    def undo(_: Any) -> str:
        if hdlr in logger.handlers:
            logger.removeHandler(hdlr)
            hdlr.close()
        return ""

    # A handler of the plugin's own class can't serve the next version: it would hold the old code.
    wanted_by = () if belongs(hdlr, ledger) else (b"addHandler", b"basicConfig", b"dictConfig", b"fileConfig")
    ledger.add(Change("logging", logger.name, f"a handler of logger {logger.name!r}", undo, place, words=wanted_by))


def _filtering(name: str) -> Callable[..., None]:
    """Return the tap of one of the functions that add a warnings filter."""
    signature = inspect.signature(getattr(warnings, name))

    @functools.wraps(getattr(warnings, name))
    def tap(*args: Any, **kwargs: Any) -> None:
        asking, before = _asking(), list(warnings.filters)
        _originals[warnings, name](*args, **kwargs)
        if asking is None:
            return
        ledger, place = asking
        given = signature.bind(*args, **kwargs)
        given.apply_defaults()
        item = _filter_of(**given.arguments)
        undo = functools.partial(_unfilter, item)
        ledger.add(Change("warnings", item, f"warnings.{name}", undo, place, item in before, shared=True))

    return tap


def _filter_of(
    action: str, category: type[Warning], lineno: int, append: bool, message: str = "", module: str = ""
) -> tuple[Any, ...]:
    """Return the entry that `warnings.filters` gets; equal ones are equal, since patterns are."""
    text = re.compile(message, re.IGNORECASE) if message else None
    return (action, text, category, re.compile(module) if module else None, lineno)


def _unfilter(item: Any, was_there: bool) -> str:
    if not was_there and item in warnings.filters:
        warnings.filters.remove(item)  # type: ignore[attr-defined]  # a list, whatever the stub says
        mutated = getattr(warnings, "_filters_mutated", None)  # what was already warned about depends on it
        if mutated is not None:
            mutated()
    return ""


def _set_variable(environ: Any, key: str, value: str) -> None:
    asking, before = _asking(), environ.get(key, _MISSING)
    _originals[type(environ), "__setitem__"](environ, key, value)
    _note_variable(asking, environ, key, before)


def _delete_variable(environ: Any, key: str) -> None:
    asking, before = _asking(), environ.get(key, _MISSING)
    _originals[type(environ), "__delitem__"](environ, key)
    _note_variable(asking, environ, key, before)


def _note_variable(asking: tuple[Ledger, str] | None, environ: Any, key: str, before: Any) -> None:
    if asking is None or environ is not os.environ:
        return
    ledger, place = asking
    earlier = next((c for c in ledger.changes if (c.kind, c.key) == ("environ", key)), None)
    if earlier is not None:
        ledger.changes.remove(earlier)
        before = earlier.before
    undo = functools.partial(_put_back, environ, key, environ.get(key, _MISSING))
    words = (key.encode("utf-8", "surrogateescape"),)
    ledger.add(Change("environ", key, f"os.environ[{key!r}]", undo, place, before, shared=True, words=words))


def _put_back(table: Any, key: Any, ours: Any, before: Any) -> str:
    """Give a table's entry the value that it had, unless somebody changed it since."""
    if table.get(key, _MISSING) is ours or table.get(key, _MISSING) == ours:
        if before is _MISSING:
            table.pop(key, None)
        else:
            table[key] = before
    return ""


def _start_thread(self: threading.Thread) -> None:
    asking = _asking()
    _originals[threading.Thread, "start"](self)
    if asking is not None:
        ledger, place = asking
        ledger.threads.append((self, place))


_TAPS: dict[tuple[Any, str], Callable[..., Any]] = {
    (atexit, "register"): _register_at_exit,
    (codecs, "register"): _register_codec,
    (copyreg, "pickle"): _pickle_by,
    (logging.Logger, "addHandler"): _add_handler,
    (warnings, "filterwarnings"): _filtering("filterwarnings"),
    (warnings, "simplefilter"): _filtering("simplefilter"),
    (type(os.environ), "__setitem__"): _set_variable,
    (type(os.environ), "__delitem__"): _delete_variable,
    (threading.Thread, "start"): _start_thread,
}


def _after_fork_in_child() -> None:
    """Start with a lock that no thread of the parent holds."""
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
