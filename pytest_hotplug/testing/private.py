"""Where a sandbox lies: plugin dirs of its own under the names of the real ones, and no trace of them afterwards."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Set
from dataclasses import replace
from pathlib import Path

from pytest_hotplug.reloader.names import is_test
from pytest_hotplug.reloader.settings import Layout
from pytest_hotplug.testing.project import TestProject

__all__ = ["drop_made_up_packages", "packages_above", "private_layouts"]


def private_layouts(project: TestProject | None, tmp_path: Path) -> list[tuple[Layout, Layout | None]]:
    """Return the sandbox's layouts, each with the original's: same names, same packages, private places."""
    if project is None:
        return [(Layout(path=tmp_path / "plugins", package="plugins"), None)]
    private: list[tuple[Layout, Layout | None]] = []
    for number, layout in enumerate(project.layouts):
        taken = {other.path for other, _ in private}
        path = tmp_path / layout.path.name
        if path in taken:
            path = tmp_path / f"{layout.path.name}-{number}"
        private.append((replace(layout, path=path, beside=layout.path), layout))
    return private


def packages_above(packages: Iterable[str]) -> frozenset[str]:
    """Return which of these packages and of those around them are imported.

    Asks by name: to walk through all modules costs a forked process a copy of every page that they lie in.
    """
    around: set[str] = set()
    for package in packages:
        while package:
            around.add(package)
            package = package.rpartition(".")[0]
    return frozenset(package for package in around if package in sys.modules)


def _is_collected(module: str) -> bool:
    """Tell whether a module is a plugin's test, which stands there by its public name and needs no parent."""
    return any(is_test(part) or is_test(f"{part}.py") for part in module.split("."))


def drop_made_up_packages(package: str, before: Set[str]) -> None:
    """Remove namespace packages that exist only because a sandboxed plugin needed a parent."""
    while package:
        module = sys.modules.get(package)
        children = any(name.startswith(package + ".") and not _is_collected(name) for name in list(sys.modules))
        if module is None or package in before or children or getattr(module, "__file__", None) is not None:
            return
        del sys.modules[package]
        parent, _, child = package.rpartition(".")
        if parent in sys.modules and vars(sys.modules[parent]).get(child) is module:
            delattr(sys.modules[parent], child)
        package = parent
