"""Let every function of a plugin say which version it is of, and wait there if somebody asked for it.

The source goes through an AST pass: each function begins with a call of `__hotplug_saw__(token)`, a builtin
of the child that verifies. What a probe's call went through is then known whatever it answers.
"""

from __future__ import annotations

import ast
import builtins
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

__all__ = ["Call", "Parking", "calling", "hear_tokens", "with_token"]

_HOOK = "__hotplug_saw__"
_RELOADERS = ("hotplug-reload", "hotplug-stop")  # the reloader's threads, which load and end versions
_PATIENCE = 30.0  # seconds; a call that is parked goes on by itself when nobody lets it


@dataclass(slots=True)
class Parking:
    """Where a call is to wait: at its `number`th function, until it may go on."""

    number: int
    reached: threading.Event = field(default_factory=threading.Event)
    go: threading.Event = field(default_factory=threading.Event)


@dataclass(slots=True)
class Call:
    """One call: the tokens of the functions that it went through, in order."""

    tokens: list[int] = field(default_factory=list)
    parking: Parking | None = None

    def saw(self, token: int) -> None:
        """Write a function down, and wait there if this is the place."""
        self.tokens.append(token)
        parking = self.parking
        if parking is not None and len(self.tokens) == parking.number:
            parking.reached.set()
            parking.go.wait(_PATIENCE)


_call: ContextVar[Call | None] = ContextVar("hotplug_call", default=None)


@contextmanager
def calling(parking: Parking | None = None) -> Iterator[Call]:
    """Hear which functions are gone through in this block."""
    call = Call(parking=parking)
    before = _call.set(call)
    try:
        yield call
    finally:
        _call.reset(before)


def hear_tokens() -> None:
    """Put the builtin in place; modules that are loaded from now on find it."""
    setattr(builtins, _HOOK, _saw)


def _saw(token: int) -> None:
    call = _call.get()
    # A load is no part of the call that noticed the change: both versions hand their state over in it.
    if call is not None and not threading.current_thread().name.startswith(_RELOADERS):
        call.saw(token)


def with_token(source: bytes, token: int) -> bytes:
    """Return a program whose functions tell that they are of version `token`; raises SyntaxError."""
    tree = _Marked(token).visit(ast.parse(source))
    return ast.unparse(ast.fix_missing_locations(tree)).encode()


class _Marked(ast.NodeTransformer):
    def __init__(self, token: int) -> None:
        self._token = token

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return self._marked(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self._marked(node)

    def _marked(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.AST:
        self.generic_visit(node)
        hook = ast.Expr(ast.Call(ast.Name(_HOOK, ast.Load()), [ast.Constant(self._token)], []))
        documented = ast.get_docstring(node, clean=False) is not None
        node.body.insert(int(documented), hook)
        return node
