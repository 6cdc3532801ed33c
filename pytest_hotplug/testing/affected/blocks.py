"""Cut a source into blocks (functions, class bodies, the module's body) and give each a fingerprint.

A fingerprint is made of the syntax tree and the Python version, so comments, formatting and moved
lines change nothing. Decorators, defaults, annotations and names of what is defined belong to the
block around, which therefore changes when a block comes or goes. A docstring counts only where the
function (or its class) is decorated; all docstrings together are a block of their own, for tests of
code that reads `__doc__`. Never made of code objects: `hash(code)` and `repr(co_consts)` differ from
process to process. Reads and executes nothing.
"""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

__all__ = ["BODY", "DOCSTRINGS", "WHOLE", "Blocks", "digest_of", "read_blocks"]

BODY = "<module>"
DOCSTRINGS = "<docstrings>"
WHOLE = "*"  # all blocks of a file together

_VERSION = "{}.{}".format(*sys.version_info)
_Function = (ast.FunctionDef, ast.AsyncFunctionDef)
_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def digest_of(data: bytes) -> str:
    """Return the fingerprint of bytes."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


@dataclass(frozen=True, slots=True)
class Blocks:
    """The blocks of one source by name, with their fingerprints; `broken` when it doesn't compile.

    `at` leads from what a code object tells of itself, `qualified.name@first line`, to the block.
    """

    digests: dict[str, str]
    at: dict[str, str] = field(default_factory=dict)
    broken: bool = False

    def digest(self, name: str) -> str:
        """Return a block's fingerprint, "" when there is no such block."""
        return self.digests[WHOLE] if self.broken else self.digests.get(name, "")


def read_blocks(data: bytes) -> Blocks:
    """Return the blocks of a source; one that can't be compiled is one block, whatever is asked for."""
    try:
        tree = ast.parse(data)
        return _Reader(tree).blocks()
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return Blocks({WHOLE: f"broken {digest_of(data)}"}, broken=True)


class _Reader:
    """Goes through one tree; a block is fed to its own hash, its header to the one around."""

    def __init__(self, tree: ast.Module) -> None:
        self._digests: dict[str, str] = {}
        self._at: dict[str, str] = {}
        self._docstrings: list[str] = []
        self._read(BODY, tree.body, "", decorated=False)

    def blocks(self) -> Blocks:
        self._digests[DOCSTRINGS] = _hash(self._docstrings)
        without = sorted(item for item in self._digests.items() if item[0] != DOCSTRINGS)
        self._digests[WHOLE] = _hash(part for item in without for part in item)
        return Blocks(self._digests, self._at)

    def _read(self, name: str, body: list[ast.stmt], prefix: str, *, decorated: bool) -> None:
        """Fingerprint one block, then those that are defined in it."""
        docstring = _docstring(body)
        if docstring is not None:
            self._docstrings += (name, docstring)
        out: list[str] = []
        inner: list[_Definition] = []
        for statement in body if docstring is None or decorated else body[1:]:
            _feed(statement, out, inner)
        self._digests[name] = _hash(out)
        for node in inner:
            self._define(node, prefix, decorated=decorated and isinstance(node, _Function))

    def _define(self, node: _Definition, prefix: str, *, decorated: bool) -> None:
        is_function = isinstance(node, _Function)
        qualified = f"{prefix}{node.name}"
        name = self._free(f"{qualified.replace('.<locals>', '')}()" if is_function else f"class {qualified}")
        line = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
        self._at.setdefault(f"{qualified}@{line}", name)
        inside = f"{qualified}.<locals>." if is_function else f"{qualified}."
        self._read(name, node.body, inside, decorated=decorated or bool(node.decorator_list))

    def _free(self, name: str) -> str:
        """Return the name, numbered when it is taken: a property's setter, the other branch of an `if`."""
        number, free = 1, name
        while free in self._digests:
            number += 1
            free = f"{name} #{number}"
        return free


def _feed(node: object, out: list[str], inner: list[_Definition]) -> None:
    """Write a tree down, without positions; of definitions only the header."""
    if isinstance(node, ast.AST):
        if isinstance(node, ast.expr_context):
            return
        out.append(type(node).__name__)
        header: Iterable[str] = node._fields
        if isinstance(node, _Definition):
            inner.append(node)
            header = (name for name in node._fields if name != "body")
        for name in header:
            _feed(getattr(node, name, None), out, inner)
    elif isinstance(node, list):
        out.append("[")
        for item in node:
            _feed(item, out, inner)
        out.append("]")
    else:
        out.append(f"{type(node).__name__} {node!r}")


def _docstring(body: list[ast.stmt]) -> str | None:
    first = body[0] if body else None
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        return first.value.value
    return None


def _hash(parts: Iterable[str]) -> str:
    return digest_of("\0".join(_with_version(parts)).encode("utf-8", "surrogatepass"))[:16]


def _with_version(parts: Iterable[str]) -> Iterator[str]:
    yield _VERSION
    yield from parts
