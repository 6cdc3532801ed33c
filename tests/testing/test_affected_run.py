"""Only affected tests, without watching: what each option promises, in every surrounding that pytest has."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.testing.affected_project import AffectedProject

FILES = {
    "pyproject.toml": '[tool.pytest.ini_options]\npythonpath = ["."]\naddopts = ["--doctest-modules"]\n',
    "lib/__init__.py": "",
    "lib/calc.py": """
        def add(a, b):
            return a + b


        def sub(a, b):
            '''Subtract.

            >>> sub(3, 1)
            2
            '''
            return a - b


        async def later(a):
            return add(a, 1)
        """,
    "lib/data.py": """
        from pathlib import Path


        def words():
            return Path(__file__).with_name("words.txt").read_text().split()
        """,
    "lib/words.txt": "one two\n",
    "conftest.py": """
        import pytest

        from lib.data import words


        @pytest.fixture(scope="module")
        def vocabulary():
            return words()
        """,
    "tests/test_add.py": """
        import asyncio
        import unittest

        from lib.calc import add, later


        def test_add():
            assert add(1, 2) == 3


        def test_later():
            assert asyncio.run(later(1)) == 2


        class TestOld(unittest.TestCase):
            @classmethod
            def setUpClass(cls):
                cls.two = add(1, 1)

            def test_first(self):
                self.assertEqual(self.two, 2)

            def test_second(self):
                self.assertEqual(self.two, 2)
        """,
    "tests/test_sub.py": """
        from lib.calc import sub


        def test_sub():
            assert sub(2, 1) == 1


        def test_words(vocabulary):
            assert vocabulary == ["one", "two"]


        def test_words_again(vocabulary):
            assert len(vocabulary) == 2
        """,
}
ADD = {"test_add", "test_later", "TestOld::test_first", "TestOld::test_second"}
SUB = {"test_sub", "lib.calc.sub"}
WORDS = {"test_words", "test_words_again"}


@pytest.fixture
def project(tmp_path: Path) -> AffectedProject:
    """A project that was recorded once."""
    project = AffectedProject(tmp_path / "project", FILES)
    assert set(project.run("--hotplug-record", code=0).names) == ADD | SUB | WORDS
    return project


def edit_add(project: AffectedProject) -> None:
    project.edit("lib/calc.py", "a + b", "b + a")


def edit_sub(project: AffectedProject) -> None:
    project.edit("lib/calc.py", "a - b", "a - b + 0")


def names(ran_names: list[str]) -> set[str]:
    return set(ran_names)


def test_unittest_and_async_tests_are_selected_like_others(project: AffectedProject) -> None:
    """What `setUpClass` used counts for each test of the class, and a coroutine's functions for its test."""
    edit_add(project)
    assert names(project.affected(code=0).names) == ADD


def test_a_doctest_depends_on_what_it_calls_and_on_its_text(project: AffectedProject) -> None:
    """An edit of the function, or of the example alone, runs the doctest."""
    edit_sub(project)
    assert names(project.affected(code=0).names) == SUB
    project.edit("lib/calc.py", ">>> sub(3, 1)", ">>> sub(4, 2)")
    assert "lib.calc.sub" in project.affected(code=0).names


def test_what_a_wider_fixture_opened_counts_for_each_test_that_uses_it(project: AffectedProject) -> None:
    """Not for the one alone that happened to be first."""
    project.write("lib/words.txt", "two one\n")
    ran = project.affected(code=1)
    assert names(ran.names) == WORDS
    assert "lib/words.txt changed" in ran.out


def test_a_failed_test_runs_until_it_passes(project: AffectedProject) -> None:
    """A red verdict never hides behind "nothing is affected"."""
    project.write("lib/words.txt", "two one\n")
    project.affected(code=1)
    again = project.affected(code=1)
    assert again.names == ["test_words"]
    assert "it failed last time" in again.out
    project.write("lib/words.txt", "one two\n")
    project.affected(code=0)
    assert project.affected(code=0).names == []


def test_a_narrower_run_leaves_the_rest_pending(project: AffectedProject) -> None:
    """`-k` and node ids narrow the selection, never switch it off; what they left out runs next time."""
    edit_add(project)
    ran = project.affected("-k", "later or sub", code=0)
    assert ran.names == ["test_later"]
    assert "3 tests more are affected and stay pending" in ran.line
    assert project.affected("tests/test_add.py::test_add", code=0).names == ["test_add"]
    assert names(project.affected(code=0).names) == ADD - {"test_later", "test_add"}


def test_a_selection_that_can_never_match_is_not_green(project: AffectedProject) -> None:
    """Nothing affected is exit code 0, a misspelled `-k` stays 5."""
    assert project.affected(code=0).names == []
    project.affected("-k", "nosuchtest", code=5)


def test_a_conftest_and_pytests_settings_run_everything(project: AffectedProject) -> None:
    """They configure all tests; each says so."""
    project.edit("conftest.py", "return words()", "return list(words())")
    assert names(project.affected(code=0).names) >= ADD | WORDS
    project.edit("pyproject.toml", "pythonpath", "# moved\npythonpath")
    ran = project.affected(code=0)
    assert names(ran.names) == ADD | SUB | WORDS
    assert "pyproject.toml changed" in ran.out


def test_a_variable_of_the_environment_runs_everything_and_is_named(project: AffectedProject) -> None:
    """Nobody sees who reads the environment; what belongs to the terminal or the CI job doesn't count."""
    environment = {"APP_MODE": "one", "GITHUB_RUN_ID": "1"}
    project.affected(code=0, **environment)
    assert project.affected(code=0, **{**environment, "GITHUB_RUN_ID": "2"}).names == []
    ran = project.affected(code=0, **{**environment, "APP_MODE": "two"})
    assert names(ran.names) == ADD | SUB | WORDS
    assert "the variable APP_MODE changed" in ran.out


def test_xdist_workers_record_and_leave_out(project: AffectedProject) -> None:
    """With `-n 2` the same tests run as without, for edits before and after."""
    xdist = ("-p", "xdist", "-n", "2")
    edit_add(project)
    ran = project.affected(*xdist, code=0)
    assert names(ran.names) == ADD
    assert ran.line == "4 tests affected, 4 verdicts still stand"
    assert project.affected(*xdist, code=0).line.startswith("nothing is affected, 8 verdicts")
    edit_sub(project)
    assert names(project.affected(code=0).names) == SUB


def test_tests_whose_ids_change_run_each_time_and_are_forgotten(project: AffectedProject) -> None:
    """A clock in an id doesn't fill the map, and nothing else is run for it."""
    project.write(
        "tests/test_clock.py",
        "import time, pytest\n@pytest.mark.parametrize('t', [time.time_ns()])\ndef test_now(t): pass\n",
    )
    for _ in range(3):
        assert [name[:8] for name in project.affected(code=0).names] == ["test_now"]
    with sqlite3.connect(project.path / ".hotplug" / "affected.sqlite") as database:
        known = [row[0] for row in database.execute("SELECT nodeid FROM tests WHERE nodeid LIKE '%test_now%'")]
    database.close()
    assert len(known) == 1


@pytest.mark.parametrize("damage", [b"", b"no database at all" * 100, None])
def test_a_damaged_map_costs_a_line_and_a_full_run(project: AffectedProject, damage: bytes | None) -> None:
    """Truncated, overwritten or cut in the middle: everything runs, is recorded anew, and next time it is right."""
    file = project.path / ".hotplug" / "affected.sqlite"
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2] if damage is None else damage)
    ran = project.affected(code=0)
    assert names(ran.names) == ADD | SUB | WORDS
    assert "Traceback" not in ran.out
    assert project.affected(code=0).names == []
    shutil.rmtree(project.path / ".hotplug")
    assert len(project.affected(code=0).names) == 8


def test_runs_at_once_keep_what_each_learned(project: AffectedProject) -> None:
    """Two terminals, one map: no "database is locked", and nothing is lost."""
    edit_add(project)
    edit_sub(project)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--hotplug-affected"]
    runs = [
        subprocess.Popen(
            [*command, file], cwd=project.path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for file in ("tests/test_add.py", "tests/test_sub.py", "lib")
    ]
    outs = [run.communicate(timeout=120)[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0, 0], outs
    assert not any("locked" in out or "could not be kept" in out for out in outs), outs
    assert project.affected(code=0).names == []


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_a_run_that_is_killed_leaves_a_map_that_is_right(project: AffectedProject) -> None:
    """After `kill -9` in the middle of a run the affected tests are still affected."""
    edit_add(project)
    project.write("tests/test_zz.py", f"import os\ndef test_end(): os.kill(os.getpid(), {int(signal.SIGKILL)})\n")
    project.affected(code=-signal.SIGKILL)
    (project.path / "tests/test_zz.py").unlink()
    assert names(project.affected(code=0).names) == ADD


def test_since_a_revision_runs_what_differs_even_if_it_ran_already(project: AffectedProject) -> None:
    """A branch's check: what differs from main runs, whatever was recorded meanwhile; git's tree is untouched."""
    project.write(".gitignore", "__pycache__\n")
    project.git("init", "-q")
    project.git("add", "-A")
    project.git("commit", "-qm", "first")
    edit_sub(project)
    project.affected(code=0)
    before = (project.path / ".git" / "index").read_bytes()
    ran = project.run("--hotplug-since=HEAD", "--hotplug-why", code=0)
    assert names(ran.names) == SUB
    assert "lib/calc.py: sub() changed" in ran.out
    assert (project.path / ".git" / "index").read_bytes() == before
    assert "[unknown-ref]" in project.run("--hotplug-since=nowhere", code=4).out


def test_related_runs_whoever_uses_the_file(project: AffectedProject) -> None:
    """Whether or not it changed, and whether it is code or data; may be repeated."""
    ran = project.run("--hotplug-related=lib/words.txt", "--hotplug-why", code=0)
    assert names(ran.names) == WORDS
    assert "it opens lib/words.txt" in ran.out
    assert "[no-such-file]" in project.run("--hotplug-related=lib/nowhere.txt", code=4).out
    of_all = project.run("--hotplug-related=lib", code=0)  # a directory stands for the files below it
    assert names(of_all.names) >= WORDS | ADD


def test_failures_are_annotated_on_github(project: AffectedProject) -> None:
    """In a pull request the failure stands beside its line; elsewhere nothing of that is printed."""
    project.edit("tests/test_sub.py", "== 1", "== 5")
    ran = project.affected(code=1, GITHUB_ACTIONS="true")
    assert "::error file=tests/test_sub.py,line=5,title=tests/test_sub.py%3A%3Atest_sub::" in ran.out
    assert "::error" not in project.affected(code=1).out


def test_an_edit_during_the_run_makes_its_tests_run_again(project: AffectedProject) -> None:
    """Nobody knows which bytes a test saw that ran while its file was written."""
    edit_add(project)
    project.edit("tests/test_add.py", "assert add(1, 2) == 3", "assert add(1, 2) == 3\n    import edited_meanwhile")
    project.write(
        "edited_meanwhile.py",
        "import subprocess, sys\nfile = __file__.replace('edited_meanwhile', 'lib/calc')\n"
        'code = f\'p = {file!r}; t = open(p).read(); open(p, "w").write(t.replace("b + a", "a + b + 0"))\'\n'
        "subprocess.run([sys.executable, '-c', code], check=True)\n",
    )
    project.affected(code=0)
    ran = project.affected(code=0)
    assert names(ran.names) >= ADD, ran.out


def hotplug(project: AffectedProject, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest_hotplug", *words]
    return subprocess.run(command, cwd=project.path, capture_output=True, text=True, timeout=60, env=dict(os.environ))


def test_the_command_prints_affected_tests(project: AffectedProject) -> None:
    """`hotplug affected FILE` for hooks and scripts: tests one a line, JSON on demand, 0 when there are none."""
    assert hotplug(project, "affected").stdout == ""
    unchanged = hotplug(project, "affected", "lib/words.txt")
    assert {line.split("::")[1] for line in unchanged.stdout.split()} == WORDS
    edit_sub(project)
    told = json.loads(hotplug(project, "affected", "lib/calc.py", "--json").stdout)
    assert told["schema_version"] == 1
    assert {test["nodeid"].split("::")[1] for test in told["tests"]} == SUB
    assert told["left_out"] == 6
    assert hotplug(project, "affected", "nowhere.py").returncode == 4
    shutil.rmtree(project.path / ".hotplug")
    no_map = hotplug(project, "affected")
    assert (no_map.returncode, "[no-map]" in no_map.stderr) == (1, True)
