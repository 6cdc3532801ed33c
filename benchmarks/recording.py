"""Claim: a full run that records what each test uses costs little more than a plain one.

Each contestant runs pytest over a project of its own (twenty modules, 400 tests, half of them in sandboxes
of plugins) in a fresh process, with bytecode kept as users keep it. A run that records and keeps nothing,
or passes fewer tests, is wrong.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.harness import Claim, Contestant, allow_bytecode, run

MODULES = 20
TESTS_OF_EACH = 10
PLAIN = "pytest"

MODULE = """
def work(n):
    return sum(step(i) for i in range(n))


def step(i):
    return i * {number}
"""
TESTS = """
import pytest
from lib.module_{number} import work


@pytest.mark.parametrize("n", range({tests}))
def test_module(n):
    assert work(n + 2000) == {number} * sum(range(n + 2000))


@pytest.mark.parametrize("n", range({tests}))
def test_plugin(hotplug, n):
    assert hotplug.load("plugin_{number}").execute(n=n) == n + {number}
"""


def claims() -> Iterator[Claim]:
    """Yield the claim, with projects that live as long as it is measured."""
    with tempfile.TemporaryDirectory() as directory:
        contestants = [
            contestant(Path(directory) / "plain", PLAIN),
            contestant(Path(directory) / "recording", "pytest --hotplug-record", "--hotplug-record"),
        ]
        yield Claim(f"a full run of {MODULES * TESTS_OF_EACH * 2} tests", PLAIN, contestants)


def contestant(project: Path, name: str, *options: str) -> Contestant:
    """Return a way to run pytest over a fresh project."""
    write_project(project)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", *options]
    kept = {
        **os.environ,
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTEST_PLUGINS": "pytest_hotplug.testing.pytest_plugin",
    }

    def run_tests(number: int) -> str:
        return subprocess.run(command, cwd=project, env=kept, capture_output=True, text=True, check=False).stdout

    def verify(number: int, out: object) -> str:
        if f"{MODULES * TESTS_OF_EACH * 2} passed" not in str(out):
            return "not all tests passed"
        return "nothing was kept" if options and not (project / ".hotplug" / "affected.sqlite").exists() else ""

    run_tests(-1)  # compiles what a user's second run finds compiled
    return Contestant(name, run_tests, verify)


def write_project(project: Path) -> None:
    """Write modules, plugins and the tests of both."""
    files = {"pyproject.toml": '[tool.pytest.ini_options]\npythonpath = ["."]\n', "lib/__init__.py": ""}
    for number in range(MODULES):
        files[f"lib/module_{number}.py"] = MODULE.format(number=number)
        files[f"plugins/plugin_{number}/main.py"] = f"def run(n):\n    return n + {number}\n"
        files[f"tests/test_{number}.py"] = TESTS.format(number=number, tests=TESTS_OF_EACH)
    for name, text in files.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    allow_bytecode()
    raise SystemExit(run("recording", claims))
