"""Watch mode and the selection with pytest's own options, from the command line and from the settings.

Options that choose tests narrow a run, and never switch the selection off: what they leave out stays pending."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.testing.affected_project import AffectedProject
from tests.testing.watched import Watched, save

FILES = {
    "pyproject.toml": """
        [tool.hotplug]
        plugin_dirs = ["plugins"]

        [tool.pytest.ini_options]
        testpaths = ["plugins"]
        markers = ["slow: takes long"]
        filterwarnings = ["error"]
        """,
    "plugins/counter/plugin.json": '{"name": "counter"}',
    "plugins/counter/main.py": "def run():\n    return 1\n",
    "plugins/counter/test_counter.py": """
        import pytest


        def test_first(hotplug):
            assert hotplug.load().execute() == 1


        def test_second(hotplug):
            hotplug.load().execute()


        @pytest.mark.slow
        def test_slow(hotplug):
            hotplug.load().execute()
        """,
    "plugins/other/plugin.json": '{"name": "other"}',
    "plugins/other/main.py": "def run():\n    return 5\n",
    "plugins/other/test_other.py": """
        def test_other(hotplug):
            assert hotplug.load().execute() > 0


        def test_left_out(hotplug):
            hotplug.load().execute()
        """,
}
HERE = "plugins/counter/test_counter.py"
warm = sys.platform.startswith("linux")


@pytest.fixture
def project(tmp_path: Path) -> AffectedProject:
    return AffectedProject(tmp_path, FILES)


def last(nodeid: str) -> str:
    return nodeid.rpartition("::")[2]


def edit(watched: Watched, plugin: str, old: str, new: str) -> tuple[list[str], list[str], int]:
    """Save, and return what ran, what fails now, and how many tests are pending."""
    already = len(watched.events)
    save(watched.project / "plugins" / plugin / "main.py", old, new)
    verdict = watched.verdict()
    ran = [last(event["nodeid"]) for event in watched.events[already:] if event["event"] == "report"]
    return ran, [last(failure["nodeid"]) for failure in verdict["failures"]], verdict["outdated"]


# -- all at once ------------------------------------------------------------------------------

MANY = [
    "-q", "--strict-markers", "-p", "no:cacheprovider", "--import-mode=importlib", "-p", "xdist", "-n", "auto",
    "-k", "not second", "-m", "not slow", "--deselect", "plugins/other/test_other.py::test_left_out",
]  # fmt: skip


@pytest.mark.parametrize("where", ["command line", "addopts"])
def test_a_watch_heeds_options_wherever_they_come_from(project: AffectedProject, where: str) -> None:
    """-q, markers, import mode, -n auto, -k, -m, --deselect: red, green and left out, from what is collected."""
    pytest.importorskip("xdist")
    if where == "addopts":
        project.edit("pyproject.toml", "testpaths", f"addopts = {MANY}\ntestpaths")
    with Watched(project.path, *(MANY if where == "command line" else ())) as watched:
        assert watched.verdict()["passed"] == 2
        if warm:
            watched.next("armed")
        assert edit(watched, "counter", "return 1", "return 2") == (["test_first"], ["test_first"], 0)
        assert edit(watched, "counter", "return 2", "return 1") == (["test_first"], [], 0)
        assert edit(watched, "other", "return 5", "return 6") == (["test_other"], [], 0)
        assert not warm or [run["level"] for run in watched.events_of("run")[1:]] == ["collected"] * 3
        assert all("-n auto" in event["reason"] for event in watched.events_of("fallback"))


# -- what they leave out ----------------------------------------------------------------------

NARROWER = [
    (["-k", "first or other"], {"test_first"}),
    (["-m", "not slow"], {"test_first", "test_second"}),
    ([f"{HERE}::test_second"], {"test_second"}),
]


def test_what_options_leave_out_of_a_selection_stays_pending(project: AffectedProject) -> None:
    """Given on the command line, or where addopts come from the environment: the next run without them has the rest."""
    project.run("--hotplug-record", code=0)
    whole = {"test_first", "test_second", "test_slow"}
    for number, (options, tests) in enumerate(NARROWER):
        project.edit("plugins/counter/main.py", f"1{' + 0' * number}\n", f"1{' + 0' * (number + 1)}\n")
        in_environment = {"PYTEST_ADDOPTS": " ".join(f"'{word}'" for word in options)}
        ran = project.affected(code=0, **in_environment) if number % 2 else project.affected(*options, code=0)
        assert set(ran.names) == tests, options
        assert set(project.affected(code=0).names) == whole - tests, options


@pytest.mark.parametrize("option", ["--lf", "--sw", "--ff"])
def test_what_earlier_results_leave_out_of_a_watch_stays_pending(project: AffectedProject, option: str) -> None:
    """--lf runs what failed alone, --sw stops there: no trouble, but the rest counts as outdated, and runs after it."""
    project.edit("plugins/other/test_other.py", "def test_left_out", "def test_never")
    whole = ["test_first", "test_second", "test_slow"]
    with Watched(project.path, option) as watched:
        watched.verdict()
        if warm:
            watched.next("armed")
        first = (["test_first"], ["test_first"], 2)
        everything = (whole, ["test_first"], 0)
        assert edit(watched, "counter", "return 1", "return 2") == (first if option == "--sw" else everything)
        assert edit(watched, "counter", "return 2", "return 3") == (everything if option == "--ff" else first)
        last_run: tuple[list[str], list[str], int] = (["test_first"], [], 2) if option == "--lf" else (whole, [], 0)
        assert edit(watched, "counter", "return 3", "return 1") == last_run
        ran, failures, outdated = edit(watched, "other", "return 5", "return 6")
        pending = ["test_second", "test_slow"] if option == "--lf" else []
        assert (sorted(ran), failures, outdated) == (sorted([*pending, "test_other", "test_never"]), [], 0)
        assert not warm or {run["level"] for run in watched.events_of("run")[1:]} == {"configured"}


def test_what_lf_left_out_of_a_selection_stays_pending(project: AffectedProject) -> None:
    """--lf with --hotplug-affected: what failed runs, what else is affected runs without --lf."""

    def runs(tests: set[str], *options: str) -> None:
        command = [sys.executable, "-m", "pytest", "--hotplug-affected", "--hotplug-why", "-rpf", *options]
        # With pytest's cache, and the environment of a machine that builds.
        out = subprocess.run(command, cwd=project.path, capture_output=True, text=True, timeout=120, check=False).stdout
        assert set(re.findall(r"^(?:PASSED|FAILED) \S+::(\w+)", out, re.MULTILINE)) == tests, out

    whole = {"test_first", "test_second", "test_slow"}
    runs({*whole, "test_other", "test_left_out"})
    project.edit("plugins/counter/main.py", "return 1", "return 2")
    runs(whole)
    project.edit("plugins/counter/main.py", "return 2", "return 1")
    runs({"test_first"}, "--lf")
    runs({"test_second", "test_slow"})
