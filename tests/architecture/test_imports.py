"""Imports run down the storeys, and production carries no test tools."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.architecture.project import HEAVY, PACKAGE, PROJECT, ask, python

TEST_TOOLS = ["_pytest", "coverage", "pytest", "xdist"]

IMPORT_ALL_WITHOUT_TEST_TOOLS = """
import importlib, json, pkgutil, sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in sys.argv[2:]:
            raise ImportError(f"{name} was imported by production code")

sys.meta_path.insert(0, Blocker())
already = [name for name in sys.argv[2:] if name in sys.modules]
top = importlib.import_module(sys.argv[1])
below = pkgutil.walk_packages(getattr(top, "__path__", []), top.__name__ + ".")
names = [top.__name__, *(found.name for found in below if not found.name.endswith("__main__"))]
for name in names:
    importlib.import_module(name)
print(json.dumps({"already": already, "imported": names}))
"""

IMPORTED_BY = """
import importlib, json, sys
before = set(sys.modules)
importlib.import_module(sys.argv[1])
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def storeys() -> list[str]:
    found = [*PACKAGE.glob("*.py"), *(package.parent for package in PACKAGE.glob("*/__init__.py"))]
    return sorted({path.stem for path in found} - {"__init__", "__main__", "testing"})


def test_imports_run_down_only(tmp_path: Path) -> None:
    """Who reads a storey needs to know only the storeys below it: `.importlinter` holds."""
    cache = tmp_path / "cache"
    script = "from importlinter.cli import lint_imports_command as command; command()"
    done = python("-c", script, "--cache-dir", str(cache), "--config", ".importlinter", cwd=PROJECT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


@pytest.mark.parametrize("storey", storeys())
def test_production_imports_where_no_test_tool_is_installed(storey: str, tmp_path: Path) -> None:
    """A worker's machine needs neither pytest nor coverage nor xdist: each storey imports without them."""
    answer = ask(IMPORT_ALL_WITHOUT_TEST_TOOLS, f"pytest_hotplug.{storey}", *TEST_TOOLS, cwd=tmp_path)
    assert answer["already"] == []
    assert f"pytest_hotplug.{storey}" in answer["imported"]


def test_the_blocker_of_test_tools_blocks(tmp_path: Path) -> None:
    """The proof above can fail: a module that imports pytest does."""
    (tmp_path / "stray.py").write_text("import pytest\n")
    done = python("-c", IMPORT_ALL_WITHOUT_TEST_TOOLS, "stray", *TEST_TOOLS, cwd=tmp_path)
    assert done.returncode == 1
    assert "pytest was imported by production code" in done.stderr


def test_importing_the_package_is_cheap(tmp_path: Path) -> None:
    """`import pytest_hotplug` loads no watcher, event loop, database, screen or command line."""
    imported = ask(IMPORTED_BY, "pytest_hotplug", cwd=tmp_path)
    assert "pytest_hotplug" in imported
    assert [name for name in imported if name.partition(".")[0] in HEAVY] == []
