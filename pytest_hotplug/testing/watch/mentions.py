"""Which plugins a test file names in its imports, read from its source.

A plugin that is imported directly is loaded once per process, so that watching what gets loaded
would credit the first test file only. Executes nothing.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

from pytest_hotplug.reloader.discovery import Found

__all__ = ["mentioned_plugins"]


def mentioned_plugins(file: Path, plugins: Mapping[str, Found]) -> frozenset[str]:
    """Return the plugins that a test file imports by public, relative or flat name; a broken file names none."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError, OSError):
        return frozenset()
    home = next((p for p in plugins.values() if file.is_relative_to(p.path)), None)
    return frozenset(
        name
        for module, level in _imports(tree)
        for name, found in plugins.items()
        if _names(module, level, found, home is found)
    )


def _imports(tree: ast.AST) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, 0) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or "", node.level
            yield from (
                (f"{node.module}.{alias.name}" if node.module else alias.name, node.level) for alias in node.names
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isprintable():
            yield node.value, 0  # mock.patch("plugins.x.main.f"), importlib.import_module("plugins.x")


def _names(module: str, level: int, found: Found, own: bool) -> bool:
    if level:
        return own
    if f"{module}.".startswith(f"{found.public}."):
        return True
    first = module.partition(".")[0]
    return (
        own
        and first.isidentifier()
        and any((found.path / place).exists() for place in (f"{first}.py", f"{first}/__init__.py"))
    )
