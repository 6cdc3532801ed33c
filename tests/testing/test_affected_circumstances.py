"""What comes from outside the files: options that may change an outcome make everybody run again."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_hotplug.testing.affected.circumstances import options_that_count
from tests.testing.affected_project import AffectedProject

FILES = {
    "conftest.py": """
        def pytest_addoption(parser):
            parser.addoption("--target", default="here")
        """,
    "test_target.py": """
        def test_target(request):
            assert request.config.getoption("--target") == "here"
        """,
}


@pytest.mark.parametrize(
    "shown",
    [["-v"], ["-xvs", "--tb=short"], ["-k", "one", "-m", "not slow"], ["-rfE", "-n", "2", "-pxdist"], ["--cov=a"]],
)
def test_what_selects_or_shows_does_not_count(shown: list[str]) -> None:
    """A verdict stands whether I look at it with -v or not."""
    assert options_that_count([*shown, "tests/test_a.py"], ["tests/test_a.py"]) == ""


@pytest.mark.parametrize("given", [["-W", "error"], ["--target=there"], ["-pno:logging"], ["-o", "xfail_strict=1"]])
def test_what_may_change_an_outcome_counts(given: list[str]) -> None:
    """Warnings as errors, a project's own option, a plugin less: nobody knows what they do to a test."""
    assert options_that_count(["-q", *given, "tests"], ["tests"]) == " ".join(given)


def test_options_in_the_environment_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """PYTEST_ADDOPTS is read as the command line is."""
    monkeypatch.setenv("PYTEST_ADDOPTS", "-q -W error")
    assert options_that_count(["-v"], []) == "-W error"


def test_another_value_of_a_projects_option_runs_the_tests_again(tmp_path: Path) -> None:
    """What passed for one target says nothing of another one."""
    project = AffectedProject(tmp_path, FILES)
    project.affected(code=0)
    assert project.affected("-q", code=0).names == []
    ran = project.affected("--target=there", code=1)
    assert ran.outcomes == {"test_target": "FAILED"}
    assert "pytest's options changed" in ran.out
