"""Nine edits that break a test, each by a way that selections overlook: all of them are found."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.testing.affected_project import AffectedProject


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that was recorded once; each test edits a copy of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        patch.setenv("PYTEST_PLUGINS", "pytest_hotplug.testing.pytest_plugin")
        patch.delenv("CI", raising=False)
        project = AffectedProject(tmp_path_factory.mktemp("recorded") / "project")
        assert "no map yet" in project.affected(code=0).line
    return project.path


@pytest.fixture
def project(recorded: Path, tmp_path: Path) -> AffectedProject:
    copy = tmp_path / "project"
    shutil.copytree(recorded, copy)
    return AffectedProject(copy, {})


def _delete(name: str) -> Callable[[AffectedProject], None]:
    return lambda project: (project.path / name).unlink()


def _edit(name: str, old: str, new: str) -> Callable[[AffectedProject], None]:
    return lambda project: project.edit(name, old, new)


MUTATIONS = {
    "a value in plugin.json": (_edit("plugins/greeter/plugin.json", "hello", "hi"), {"test_data"}),
    "a function behind a dynamic import": (_edit("extra/one.py", "return 1", "return 2"), {"test_dynamic"}),
    "a constant behind a session fixture": (
        _edit("plugins/greeter/text.py", '"!"', '"?"'),
        {"test_constant_first", "test_constant_second"},
    ),
    "a source run by exec(compile())": (_edit("formula.py", "7", "8"), {"test_exec"}),
    "a script run in a process": (_edit("script.py", "a process", "another"), {"test_process"}),
    "a constant computed at import": (_edit("host/limits.py", '"3"', '"4"'), {"test_import_time"}),
    "a new plugin directory found by glob": (
        lambda project: project.write("plugins/young/main.py", "def run(): pass"),
        {"test_glob"},
    ),
    "a deleted plugin.json": (_delete("plugins/quiet/plugin.json"), {"test_described"}),
    "a syntax error": (
        _edit("plugins/greeter/main.py", "def mark", "def mark(:"),
        {"test_data", "test_greeter", "test_constant_first", "test_constant_second"},
    ),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_an_edit_that_breaks_a_test_chooses_it(mutation: str, project: AffectedProject) -> None:
    """Whatever I edit, the tests that it breaks run and fail."""
    mutate, breaks = MUTATIONS[mutation]
    mutate(project)
    ran = project.affected(code=1)
    assert {name for name, outcome in ran.outcomes.items() if outcome != "PASSED"} == breaks, ran.out


def test_nothing_runs_after_no_edit(project: AffectedProject) -> None:
    """A second run right away runs nothing, is green, and says how many verdicts stand."""
    ran = project.affected(code=0)
    assert ran.names == []
    assert ran.line == "nothing is affected, 11 verdicts still stand"


def test_an_edit_of_one_function_runs_its_callers_alone(project: AffectedProject) -> None:
    """Others of the same file and plugin stay where they are, and the reason names the function."""
    project.edit("plugins/greeter/text.py", "return name.upper()", "return name.upper() + ''")
    ran = project.affected(code=0)
    assert set(ran.names) == {"test_greeter", "test_process"}, ran.out
    assert "test_greeter: plugins/greeter/text.py: shout() changed" in ran.out


def test_a_comment_runs_no_test_of_the_plugin(project: AffectedProject) -> None:
    """Comments and formatting change nothing; the run says that the file chose no test of its own."""
    project.edit("plugins/greeter/text.py", "# loud", "#   very   loud\n")
    ran = project.affected(code=0)
    assert set(ran.names) <= {"test_process"}, ran.out
    assert "plugins/greeter/text.py chose no test: only comments or formatting changed" in ran.out
