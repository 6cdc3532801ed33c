"""Whoever has the package installed and doesn't use it pays nothing for it.

Other plugins are kept out of these runs: pytest-asyncio and pytest-cov import by themselves what
is looked for here, and would hide that we did."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.architecture.project import HEAVY, PYTEST_PLUGIN, plugin_is_installed, python

METER = Path(__file__).with_name("meter.py")
ROUNDS = 7
BUDGET = 0.010


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project that has nothing to do with plugins."""
    (tmp_path / "test_project.py").write_text("def test_one():\n    pass\n")
    (tmp_path / "pyproject.toml").write_text("[tool.pytest.ini_options]\n")
    return tmp_path


@pytest.fixture
def project_with_plugin(project: Path) -> Path:
    """The same project with one plugin, whose own test is collected too."""
    plugin = project / "plugins" / "hello"
    plugin.mkdir(parents=True)
    (plugin / "plugin.json").write_text(json.dumps({"name": "hello", "version": "1.0"}))
    (plugin / "main.py").write_text("def run():\n    return 'hello'\n")
    (plugin / "test_hello.py").write_text("def test_own():\n    pass\n")
    return project


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Let the children keep bytecode, as an installed package has it, but not in the checkout."""
    kept = tmp_path_factory.mktemp("bytecode")
    bytecode = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(kept)}
    return {**bytecode, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}


def run_pytest(project: Path, settings: dict[str, str], plugin: str) -> dict[str, Any]:
    """Return what the meter saw: `seconds` of CPU in our import and hooks, and the imported `modules`."""
    done = python(str(METER), plugin, "-q", "-p", "no:cacheprovider", cwd=project, **settings)
    assert done.returncode == 0, done.stdout + done.stderr
    seen: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert seen["exit"] == 0, done.stdout
    return seen


def heavy_because_of_us(project: Path, settings: dict[str, str]) -> list[str]:
    without = run_pytest(project, settings, "")["modules"]
    with_us = run_pytest(project, settings, PYTEST_PLUGIN)["modules"]
    assert PYTEST_PLUGIN in with_us
    return sorted(name for name in set(with_us) - set(without) if name.partition(".")[0] in HEAVY)


def test_a_plain_run_imports_nothing_heavy_because_of_us(project: Path, settings: dict[str, str]) -> None:
    """A run without an option of ours has no watcher, coverage, event loop, database, screen or commands."""
    assert heavy_because_of_us(project, settings) == []


def test_collecting_a_plugins_tests_imports_nothing_heavy(project_with_plugin: Path, settings: dict[str, str]) -> None:
    """Nor has one that collects the tests of a plugin."""
    assert heavy_because_of_us(project_with_plugin, settings) == []


def test_a_plain_run_pays_less_than_10_ms(project: Path, settings: dict[str, str]) -> None:
    """Import, options and all hooks together: at most 10 ms of CPU (the best of several runs)."""
    seconds = [run_pytest(project, settings, PYTEST_PLUGIN)["seconds"] for _ in range(ROUNDS)]
    assert 0 < min(seconds) < BUDGET


def test_a_plain_run_beside_plugins_stays_cheap(project_with_plugin: Path, settings: dict[str, str]) -> None:
    """A project with plugins, and tests inside them, imports no reloader as long as no test uses one."""
    runs = [run_pytest(project_with_plugin, settings, PYTEST_PLUGIN) for _ in range(ROUNDS)]
    assert min(seen["seconds"] for seen in runs) < 2 * BUDGET
    seen = runs[0]
    assert not {"msgspec", "pytest_hotplug.default", "pytest_hotplug.reloader.manager"} & set(seen["modules"])


def test_the_meter_counts_import_and_hooks(project: Path, settings: dict[str, str]) -> None:
    """The proof above can fail: a plugin that works 15 ms at import and 15 in each of two hooks costs 45."""
    (project / "pytest_hotplug_slow.py").write_text(
        "import time\nimport pytest\n"
        "def work():\n    end = time.process_time() + 0.015\n    while time.process_time() < end: pass\n"
        "work()\n"
        "def pytest_configure(config): work()\n"
        "@pytest.hookimpl(wrapper=True)\n"
        "def pytest_collection(session):\n    result = yield\n    work()\n    return result\n"
    )
    assert run_pytest(project, {**settings, "PYTHONPATH": str(project)}, "pytest_hotplug_slow")["seconds"] > 0.040


@pytest.mark.skipif(not plugin_is_installed(), reason="the package is on the path but not installed")
def test_an_installed_package_is_found_and_can_be_switched_off(project: Path) -> None:
    """`pip install` is all the set-up; `-p no:hotplug` leaves the plugin out."""
    shown = python("-m", "pytest", "--trace-config", cwd=project)
    assert PYTEST_PLUGIN in shown.stdout, shown.stdout + shown.stderr
    left_out = python("-m", "pytest", "--trace-config", "-p", "no:hotplug", cwd=project)
    assert left_out.returncode == 0, left_out.stdout
    assert PYTEST_PLUGIN not in left_out.stdout
