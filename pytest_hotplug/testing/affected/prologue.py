"""Let sources tell when their functions are entered, where Python has no `sys.monitoring` (3.11).

Each function and class body gets one call in front, on the line of its first statement and after its
docstring, so that line numbers, tracebacks, coverage and `inspect` stay as they are. The reloader
compiles plugins so while it records; other first-party modules are compiled anew by a finder of
their own, which neither reads nor writes a .pyc. Test files are left to pytest, which rewrites them: they count
as a whole.
"""

from __future__ import annotations

import ast
import builtins
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType, ModuleType

from pytest_hotplug.reloader import code as reloader_code

__all__ = ["Prologue", "has_calls"]

_CALL = "__hotplug_entered__"
_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


class Prologue:
    """Installed while recording; `tell` gets (file as compiled, qualified name@line)."""

    def __init__(self, tell: Callable[[str, str], bool], is_first_party: Callable[[str], str]) -> None:
        self._tell = tell
        self._is_first_party = is_first_party
        self._finder = _Finder(self)
        self._undo: Callable[[], None] = lambda: None

    def install(self) -> None:
        """Begin: what is compiled from now on tells."""
        setattr(builtins, _CALL, self._tell)
        sys.meta_path.insert(0, self._finder)
        self._undo = reloader_code.compile_with(self.compile)

    def remove(self) -> None:
        """End it. Functions that were compiled meanwhile go on telling, to nobody."""
        self._undo()
        sys.meta_path.remove(self._finder)
        setattr(builtins, _CALL, _to_nobody)

    def compile(self, data: bytes, filename: str) -> CodeType:
        """Return code whose functions tell; raises SyntaxError, and what else the compiler has to say."""
        tree = ast.parse(data, filename)
        _Insert(filename).visit(tree)
        code: CodeType = compile(tree, filename, "exec", dont_inherit=True)
        return code

    def wants(self, origin: str | None) -> bool:
        return origin is not None and origin.endswith(".py") and bool(self._is_first_party(origin))


class _Insert(ast.NodeTransformer):
    """Puts the call in front of each body."""

    def __init__(self, filename: str) -> None:
        self._filename = filename
        self._around = ""

    def _visit_definition(self, node: _Definition) -> ast.AST:
        before, qualified = self._around, f"{self._around}{node.name}"
        self._around = f"{qualified}." if isinstance(node, ast.ClassDef) else f"{qualified}.<locals>."
        self.generic_visit(node)
        self._around = before
        line = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
        at = 1 if ast.get_docstring(node, clean=False) is not None else 0
        # Where something is executed anyway: coverage counts no docstring and no declaration.
        executed = (each for each in node.body[at:] if not isinstance(each, ast.Global | ast.Nonlocal))
        node.body.insert(at, self._call(f"{qualified}@{line}", next(executed, node)))
        return node

    visit_FunctionDef = _visit_definition  # noqa: N815  # the names that NodeTransformer looks for
    visit_AsyncFunctionDef = _visit_definition  # noqa: N815
    visit_ClassDef = _visit_definition  # noqa: N815

    def _call(self, place: str, where: ast.stmt) -> ast.stmt:
        arguments: list[ast.expr] = [ast.Constant(self._filename), ast.Constant(place)]
        call = ast.Expr(ast.Call(ast.Name(_CALL, ast.Load()), arguments, []))
        for node in ast.walk(call):
            ast.copy_location(node, where)
        return ast.fix_missing_locations(call)


class _Finder:
    """Hands first-party modules a loader that compiles them with the calls; leaves all else to others."""

    def __init__(self, prologue: Prologue) -> None:
        self._prologue = prologue

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        index = sys.meta_path.index(self)
        for finder in sys.meta_path[index + 1 :]:
            if finder is not PathFinder:
                spec = finder.find_spec(fullname, path, target)
                if spec is not None:
                    return spec
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and type(spec.loader) is SourceFileLoader and self._prologue.wants(spec.origin):
            spec.loader = _Loader(self._prologue, fullname, spec.loader.path)
        return spec


class _Loader(SourceFileLoader):
    def __init__(self, prologue: Prologue, fullname: str, path: str) -> None:
        super().__init__(fullname, path)
        self._prologue = prologue

    def get_code(self, fullname: str) -> CodeType:
        """Compile the source as it is on disk: a .pyc would lack the calls, or carry them into other runs."""
        path = self.get_filename(fullname)
        return self._prologue.compile(self.get_data(path), path)


def _to_nobody(file: str, place: str) -> None:
    """Stand in for a recording that has ended."""


def has_calls(module: CodeType) -> bool:
    """Tell whether the functions of a module tell; one without functions has nothing to tell."""
    inner = [code for code in module.co_consts if isinstance(code, CodeType) and not code.co_name.startswith("<")]
    return all(_CALL in code.co_names for code in inner)
