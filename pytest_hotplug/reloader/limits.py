"""Find code whose behaviour in an old version Python decides, not we; and say where it stands.

A call that began before a swap goes on in old code. Some forms reach the newest version from there
however private imports are, because they go by name. They are found in the syntax tree at load,
told once per version with file and line, and forbid nothing. docs/explanation/limits.md explains
each. Executes nothing.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from pytest_hotplug.reloader.fingerprint import Snapshot

__all__ = ["Limits", "limits_of"]

_WORTH_PARSING = (b"sys.modules", b"get_type_hints", b"__file__", b"ProcessPoolExecutor", b"multiprocessing", b"pickle")
_SPAWNING = {"ProcessPoolExecutor": "a process pool", "Process": "a child process", "Pool": "a process pool"}
_PICKLING = {"dump", "dumps", "Pickler"}


@dataclass(frozen=True, slots=True)
class Limits:
    """What is said of one version: a line for each place, and by the MD5 of each source what was found in it."""

    lines: tuple[str, ...] = ()
    by_md5: Mapping[str, tuple[tuple[int, str], ...]] = field(default_factory=dict)


def limits_of(snapshot: Snapshot, before: Limits) -> Limits:
    """Return each place in a version's sources that is subject to a known limit; what stood in `before` is taken over.

    Nothing else is remembered: a process that reloads for years must not grow.
    """
    lines: list[str] = []
    found = {}
    for file, md5 in sorted(snapshot.md5.items()):
        if file.endswith(".py"):
            known = before.by_md5.get(md5)
            found[md5] = here = _limits_in(snapshot.files[file]) if known is None else known
            if here:
                lines += [f"{file}:{line}: {said}" for line, said in here]
    return Limits(tuple(lines), found)


def _limits_in(source: bytes) -> tuple[tuple[int, str], ...]:
    return _parsed(source) if any(word in source for word in _WORTH_PARSING) else ()


def _parsed(source: bytes) -> tuple[tuple[int, str], ...]:
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return ()  # compiling it says what is wrong
    return tuple(sorted(set(_found(tree))))


def _found(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for function in ast.walk(tree):
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            for node in ast.walk(function):
                if said := _said_of(node):
                    yield getattr(node, "lineno", 0), said


def _said_of(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute) and node.attr == "modules" and _name(node.value) == "sys":
        return "sys.modules holds the newest version's modules, also for calls on an older one"
    if isinstance(node, ast.Name) and node.id == "__file__":
        return "a file that a call opens is read as it is on disk then; importlib.resources serves the version's own"
    if not isinstance(node, ast.Call):
        return ""
    called = _name(node.func)
    last = called.rpartition(".")[2]
    if last == "get_type_hints":
        return "get_type_hints of a class looks its names up in the newest version"
    if last in _SPAWNING and called != last.lower():
        return f"{_SPAWNING[last]} imports the plugin anew, from what is on disk then"
    if last in _PICKLING and called.partition(".")[0] in ("pickle", "cPickle", "dill", "cloudpickle"):
        return "pickling an instance of an older version's class fails once a newer one serves; pickle plain data"
    return ""


def _name(node: ast.AST) -> str:
    """Return a dotted name, or an empty string for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    return f"{_name(node.value)}.{node.attr}" if isinstance(node, ast.Attribute) else ""
