"""Whoever has the package installed and doesn't use it pays nothing for it.

Other plugins are kept out of these runs: pytest-asyncio and pytest-cov import by themselves what
is looked for here, and would hide that we did."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.architecture.project import HEAVY, PYTEST_PLUGIN, ask, plugin_is_installed, python

ROUNDS = 9
BUDGET = 0.010

RUN = """
import json, pytest, sys, time
code = pytest.main(sys.argv[1:])
print(json.dumps({"exit": int(code), "modules": sorted(sys.modules), "cpu": time.process_time()}))
"""

IMPORT = f"""
import json, pytest, time
start = time.process_time()
import {PYTEST_PLUGIN}
print(json.dumps(time.process_time() - start))
"""


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A project with one plugin, the plugin's own test and a test of the project."""
    plugin = tmp_path / "plugins" / "hello"
    plugin.mkdir(parents=True)
    (plugin / "plugin.json").write_text(json.dumps({"name": "hello", "version": "1.0"}))
    (plugin / "main.py").write_text("def run():\n    return 'hello'\n")
    (plugin / "test_hello.py").write_text("def test_own():\n    pass\n")
    (tmp_path / "test_project.py").write_text("def test_one():\n    pass\n")
    (tmp_path / "pyproject.toml").write_text("[tool.pytest.ini_options]\n")
    return tmp_path


@pytest.fixture
def compiled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Let the children keep bytecode, as an installed package has it, but not in the checkout."""
    kept = tmp_path_factory.mktemp("bytecode")
    bytecode = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(kept)}
    return {**bytecode, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}


def run_pytest(tiny: Path, settings: dict[str, str], *options: str) -> dict[str, object]:
    answer = ask(RUN, "-q", "-p", "no:cacheprovider", *options, cwd=tiny, **settings)
    assert answer["exit"] == 0
    return dict(answer)


def test_a_plain_run_imports_nothing_heavy_because_of_us(tiny: Path, compiled: dict[str, str]) -> None:
    """A run without an option of ours has no watcher, coverage, event loop, database, screen or commands."""
    without = run_pytest(tiny, compiled)["modules"]
    with_us = run_pytest(tiny, compiled, "-p", PYTEST_PLUGIN)["modules"]
    assert isinstance(without, list)
    assert isinstance(with_us, list)
    assert PYTEST_PLUGIN in with_us
    added = set(with_us) - set(without)
    assert sorted(name for name in added if name.partition(".")[0] in HEAVY) == []


def test_importing_the_pytest_plugin_takes_less_than_10_ms(tiny: Path, compiled: dict[str, str]) -> None:
    """Every pytest run of everybody imports our plugin: at most 10 ms of CPU (the best of several)."""
    ask(IMPORT, cwd=tiny, **compiled)
    assert min(ask(IMPORT, cwd=tiny, **compiled) for _ in range(ROUNDS)) < BUDGET


def test_a_plain_run_pays_less_than_10_ms(tiny: Path, compiled: dict[str, str]) -> None:
    """Import, options, collection and all hooks together: at most 10 ms of CPU in a whole run.

    With and without us take turns, and the best of each is compared, so that a busy machine can't decide."""
    best = {"": 9e9, PYTEST_PLUGIN: 9e9}
    for _ in range(ROUNDS):
        for plugin in best:
            cpu = run_pytest(tiny, compiled, *(["-p", plugin] if plugin else []))["cpu"]
            assert isinstance(cpu, float)
            best[plugin] = min(best[plugin], cpu)
    assert best[PYTEST_PLUGIN] - best[""] < BUDGET


@pytest.mark.skipif(not plugin_is_installed(), reason="the package is on the path but not installed")
def test_an_installed_package_is_found_and_can_be_switched_off(tiny: Path) -> None:
    """`pip install` is all the set-up; `-p no:hotplug` leaves the plugin out."""
    shown = python("-m", "pytest", "--trace-config", cwd=tiny).stdout
    assert PYTEST_PLUGIN in shown
    left_out = python("-m", "pytest", "--trace-config", "-p", "no:hotplug", cwd=tiny)
    assert left_out.returncode == 0, left_out.stdout
    assert f"{PYTEST_PLUGIN}" not in left_out.stdout
