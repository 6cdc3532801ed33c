"""Edits without end under a watch: after each, what stands is what a fresh pytest says of all tests."""

from __future__ import annotations

import os
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.proof.edits import Editor
from tests.proof.standing import Standing, failing_when_cold
from tests.testing.watched import Watched

EXAMPLES = Path(__file__).parents[2] / "example_plugins"
EDITS = 12  # times --soak
_CONFIG = """\
[tool.hotplug]
plugin_dirs = ["example_plugins"]

[tool.pytest.ini_options]
testpaths = ["example_plugins"]
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(EXAMPLES, root / "example_plugins", ignore=ignored)
    shutil.copytree(EXAMPLES, tmp_path / "originals", ignore=ignored)
    (root / "pyproject.toml").write_text(_CONFIG)
    return root


@pytest.fixture
def lean_environment() -> dict[str, str]:
    """Let pytest load our plugin alone, and keep no bytecode that could be stale in the cold runs."""
    return {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_PLUGINS": "pytest_hotplug.testing.pytest_plugin"}


def contents_of(project: Path) -> dict[Path, bytes]:
    """Return every source and every JSON file with its content."""
    return {path: path.read_bytes() for kind in ("*.py", "*.json") for path in project.rglob(kind)}


@pytest.mark.timeout(0)
@pytest.mark.parametrize("seed", [int(os.environ.get("HOTPLUG_SOAK_SEED", "1"))])
def test_after_any_edits_what_stands_is_what_a_fresh_run_says(
    seed: int,
    project: Path,
    lean_environment: dict[str, str],
    soak: float,
    record_property: Callable[[str, object], None],
) -> None:
    """Single edits and several at once, at any moment of a run: no verdict is ever missing, old or wrong."""
    editor = Editor(project, "example_plugins", project.parent / "originals", seed)
    moments = random.Random(seed)
    story: list[str] = []
    unknown = 0
    with Watched(project, environment=lean_environment) as watched:
        standing = Standing(watched)
        while len(story) < EDITS * soak:
            before = contents_of(project)
            for _ in range(moments.choice([1, 1, 1, 2, 4])):
                story.append(editor.edit())
                time.sleep(moments.choice([0.0, 0.0, 0.02, 0.1, 0.4]))  # whatever the run is doing by then
            now = contents_of(project)
            moved = [path for path in before.keys() | now.keys() if before.get(path) != now.get(path)]
            try:
                standing.wait(changed=bool(moved))
            except AssertionError as error:
                raise AssertionError("\n".join([*story[-6:], f"changed: {moved}"])) from error
            cold = failing_when_cold(project, lean_environment)
            if standing.failing is None:
                unknown += 1  # it says itself that tests are outdated
                assert cold is None or cold, "\n".join(story[-12:])
            else:
                assert standing.failing == cold, "\n".join([*story[-12:], *watched.said[-30:]])
    record_property("edits", len(story))
    record_property("verdicts that were not known", unknown)
