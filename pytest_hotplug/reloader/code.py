"""Compile the bytes that were hashed; never read or write a .pyc.

Compiled code is kept by (file, MD5), so that a reload compiles only what changed, and a rollback
nothing. The cache is shared by the process and bounded, per file and in all; nothing in it keeps a
generation alive.
"""

from __future__ import annotations

import os
import re
import threading
from collections import OrderedDict
from collections.abc import Callable
from types import CodeType

__all__ = ["compile_source", "compile_with"]

MAX_FILES = 20_000
MAX_VERSIONS = 5  # of one file; as many as are kept to go back to, unless keep_versions says otherwise
_COOKIE = re.compile(rb"\A(?:[^\n]*\n)?[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)")
_codes: OrderedDict[str, OrderedDict[str, CodeType]] = OrderedDict()  # by file, then by MD5; used last, last
_lock = threading.Lock()  # guards _codes
_compiler: Callable[[bytes, str], CodeType] | None = None


def compile_with(compiler: Callable[[bytes, str], CodeType] | None) -> Callable[[], None]:
    """Let another compiler make the code of plugins, as a recording of tests does; return the undo."""
    global _compiler
    before, _compiler = _compiler, compiler
    with _lock:
        _codes.clear()

    def undo() -> None:
        compile_with(before)

    return undo


def compile_source(data: bytes, filename: str, md5: str) -> CodeType:
    """Return the code of a module whose bytes have this MD5; raises SyntaxError."""
    with _lock:
        versions = _codes.get(filename)
        if versions is not None and md5 in versions:
            versions.move_to_end(md5)
            _codes.move_to_end(filename)
            return versions[md5]
    made = _compile(data, filename)
    with _lock:
        versions = _codes.setdefault(filename, OrderedDict())
        versions[md5] = made
        versions.move_to_end(md5)
        _codes.move_to_end(filename)
        while len(versions) > MAX_VERSIONS:
            versions.popitem(last=False)
        while len(_codes) > MAX_FILES:
            _codes.popitem(last=False)
    return made


def _compile(data: bytes, filename: str) -> CodeType:
    cookie = _COOKIE.match(data)
    if cookie and cookie[1].replace(b"_", b"-").lower() in (b"utf-7", b"utf7", b"u7"):
        raise SyntaxError("utf-7 is no encoding for source", (filename, 1, 1, ""))
    try:
        if _compiler is not None:
            return _compiler(data, filename)
        return compile(data, filename, "exec", dont_inherit=True)
    except SyntaxError:
        raise
    except Exception as error:  # noqa: BLE001  # null bytes, a nesting too deep for the compiler, what a codec has to say
        said = f"it can't be compiled: {type(error).__name__} {error}".rstrip()
        raise SyntaxError(said, (filename, 1, 1, "")) from None


def _after_fork_in_child() -> None:
    """Start with a lock that no thread of the parent holds."""
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
