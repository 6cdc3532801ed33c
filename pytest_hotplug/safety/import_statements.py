"""What a source imports, read from its text alone. Executes nothing, resolves nothing to files."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Sequence

__all__ = ["Imports", "read_imports"]

_BY_NAME = {
    "__import__", "import_module", "run_path", "run_module", "spec_from_file_location", "importorskip", "resolve_name",
}  # fmt: skip
_TEXT = re.compile(r"([^\W\d]\w*(?:\.[^\W\d]\w*)*)(?::[\w.]*)?")  # "package.module.name", "package.module:name"
_DOCSTRINGS = {"__doc__", "getdoc"}


class Imports:
    """The import statements of one source.

    `texts`: what may be the name of a module, or of something in it; `computed`: a module is named by an
    expression; `reads_docstrings`: what `__doc__` says matters to it.
    """

    def __init__(
        self,
        names: Sequence[tuple[str, int]],
        texts: Iterable[str] = (),
        *,
        computed: bool = False,
        reads_docstrings: bool = False,
    ) -> None:
        self.names = names
        self.texts = texts
        self.computed = computed
        self.reads_docstrings = reads_docstrings


def read_imports(data: bytes) -> Imports:
    """Return (dotted name, level) of everything that a source imports or names in `import_module("...")`."""
    try:
        tree = ast.parse(data)
    except (SyntaxError, ValueError, RecursionError):
        return Imports(())  # it can't be executed
    names: list[tuple[str, int]] = []
    texts: set[str] = set()
    computed = reads_docstrings = False
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [(alias.name, 0) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            names += [(f"{module}.{alias.name}".lstrip("."), node.level) for alias in node.names]
            names.append((module, node.level))
        elif isinstance(node, ast.Constant):
            named = _TEXT.fullmatch(node.value) if isinstance(node.value, str) else None
            if named:
                texts.add(named[1])
        elif isinstance(node, ast.Name | ast.Attribute) and _word(node) in _DOCSTRINGS:
            reads_docstrings = True
        elif isinstance(node, ast.Call) and _word(node.func) in _BY_NAME:
            first = node.args[0] if node.args else None
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                names.append((first.value.lstrip("."), 1 if first.value.startswith(".") else 0))
            else:
                computed = True
    return Imports(names, texts, computed=computed, reads_docstrings=reads_docstrings)


def _word(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
