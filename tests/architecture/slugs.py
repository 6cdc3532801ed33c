"""Find the slugs that the code can print, by reading it.

A slug is what stands in brackets at the end of a message, what is handed to a parameter or field
called `slug`, and every hyphenated word in a function that has `slug` in its name. Where such a
function builds one (`f"{step}-error"`), the open part may be anything.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

IN_BRACKETS = re.compile(r"\[([a-z]{2,}(?:-[a-z]+)*)\]\s*$")
HYPHENATED = re.compile(r"[a-z]+(?:-[a-z]+)+")
WORD = re.compile(r"[a-z]+(?:-[a-z]+)*")


@dataclass
class Slugs:
    """The slugs that the code names, and patterns of those that it builds."""

    named: dict[str, str] = field(default_factory=dict)
    patterns: set[str] = field(default_factory=set)

    def knows(self, slug: str) -> bool:
        """Tell whether the code can print `slug`."""
        return slug in self.named or any(re.fullmatch(pattern, slug) for pattern in self.patterns)

    def add(self, slug: str, place: str) -> None:
        self.named.setdefault(slug, place)


def slugs_in(sources: Iterable[Path]) -> Slugs:
    """Return the slugs of all `sources`."""
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in sources}
    takers = dict(pair for tree in trees.values() for pair in _takers(tree))
    found = Slugs()
    for path, tree in trees.items():
        for slug, line in [*_bracketed(tree), *_handed(tree, takers), *_named_by_functions(tree, found)]:
            found.add(slug, f"{path.name}:{line}")
    return found


def _takers(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield (name of a function or class, position of its parameter or field `slug`)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            names = [argument.arg for argument in node.args.args if argument.arg not in {"self", "cls"}]
            if "slug" in names and node.name != "__init__":
                yield node.name, names.index("slug")
        elif isinstance(node, ast.ClassDef):
            yield from _class_taker(node)


def _class_taker(node: ast.ClassDef) -> Iterator[tuple[str, int]]:
    annotated = [inner.target for inner in node.body if isinstance(inner, ast.AnnAssign)]
    fields = [target.id for target in annotated if isinstance(target, ast.Name)]
    for inner in node.body:
        if isinstance(inner, ast.FunctionDef) and inner.name == "__init__":
            fields = [argument.arg for argument in inner.args.args[1:]]
    if "slug" in fields:
        yield node.name, fields.index("slug")


def _bracketed(tree: ast.AST) -> Iterator[tuple[str, int]]:
    documentation = set(_docstrings(tree))
    for node in ast.walk(tree):
        if not isinstance(node, ast.Constant) or not isinstance(node.value, str) or node in documentation:
            continue
        if found := IN_BRACKETS.search(node.value):
            yield found[1], node.lineno


def _docstrings(tree: ast.AST) -> Iterator[ast.Constant]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield node.value


def _handed(tree: ast.AST, takers: dict[str, int]) -> Iterator[tuple[str, int]]:
    """Yield the literals that calls hand to a parameter called `slug`."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        given = [keyword.value for keyword in node.keywords if keyword.arg == "slug"]
        position = takers.get(_called(node))
        if position is not None and position < len(node.args):
            given.append(node.args[position])
        for value in (part for argument in given for part in _choices(argument)):
            yield value, node.lineno


def _choices(node: ast.expr) -> Iterator[str]:
    """Yield the words that `node` may be: a literal, or either side of a conditional."""
    if isinstance(node, ast.IfExp):
        yield from _choices(node.body)
        yield from _choices(node.orelse)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str) and WORD.fullmatch(node.value):
        yield node.value


def _called(node: ast.Call) -> str:
    if isinstance(node.func, ast.Attribute):
        return node.func.attr
    return node.func.id if isinstance(node.func, ast.Name) else ""


def _named_by_functions(tree: ast.AST, found: Slugs) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and "slug" in node.name:
            for inner in ast.walk(node):
                if isinstance(inner, ast.JoinedStr):
                    found.patterns |= set(_pattern(inner))
                elif isinstance(inner, ast.Constant) and HYPHENATED.fullmatch(str(inner.value)):
                    yield str(inner.value), inner.lineno


def _pattern(node: ast.JoinedStr) -> Iterator[str]:
    """Yield a pattern for a slug with open parts, such as `f"{step}-error"`."""
    parts = [str(part.value) if isinstance(part, ast.Constant) else None for part in node.values]
    if HYPHENATED.fullmatch("".join("x" if part is None else part for part in parts)):
        yield "".join("[a-z-]+" if part is None else re.escape(part) for part in parts)
