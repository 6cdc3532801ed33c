"""Watch mode: a run that doesn't come to its end, or doesn't run everything, is never taken for a whole one."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.cli.terminal import wait_for
from tests.reloader.workshop import eventually
from tests.testing.watched import Watched, is_alive, make_project, save

pytestmark = pytest.mark.skipif(os.name != "posix", reason="watch mode needs a POSIX system for now")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make_project(tmp_path)


def counter(project: Path) -> Path:
    return project / "plugins" / "counter"


def write_test(project: Path, body: str) -> Path:
    """Let counter's only test be `body`, with os, pytest and signal at hand."""
    path = counter(project) / "test_counter.py"
    path.write_text(f"import os, pathlib, signal, subprocess, sys\nimport pytest\n\n\n{body}")
    return path


def test_what_maxfail_left_out_is_not_forgotten(project: Path) -> None:
    """With -x the second affected test doesn't run: it counts as outdated, and runs with the next change."""
    with Watched(project, "-x") as watched:
        assert watched.verdict()["passed"] == 4
        save(project / "plugins" / "greeter" / "text.py", "{WORD} {name}", "{WORD} {name}!")
        verdict = watched.verdict()
        assert (verdict["failed"], verdict["passed"], verdict["outdated"]) == (1, 0, 1)
        save(counter(project) / "main.py", "return 1", "return 2 - 1")
        assert watched.chosen() == {"test_it_pipes", "test_it_counts"}
        assert watched.verdict()["outdated"] == 1  # the pipe failed first


def test_a_test_that_never_ran_is_chosen_whatever_changes(project: Path) -> None:
    """The first run ends at its first failure: nobody knows what the later tests use."""
    (counter(project) / "main.py").write_text("def run():\n    return 2\n")
    with Watched(project, "--maxfail=1") as watched:
        verdict = watched.verdict()
        assert (verdict["failed"], verdict["passed"], verdict["outdated"]) == (1, 0, 3)
        (project / "notes.txt").write_text("about nothing")
        assert watched.chosen() == {"test_it_greets", "test_it_pipes", "test_apart"}
        verdict = watched.verdict()
        assert (verdict["passed"], verdict["outdated"]) == (3, 0)
        assert [failure["nodeid"] for failure in verdict["failures"]] == [
            "plugins/counter/test_counter.py::test_it_counts"
        ]


@pytest.mark.parametrize("code", [0, 1, 5])
def test_a_test_that_leaves_the_process_has_not_passed(project: Path, code: int) -> None:
    """os._exit with an exit code that pytest uses, too: an error, and the tests wait until they can run."""
    with Watched(project) as watched:
        watched.verdict()
        main = counter(project) / "main.py"
        main.write_text(f"import os\n\n\ndef run():\n    os._exit({code})\n")
        verdict = watched.verdict()
        assert (verdict["passed"], verdict["errors"], verdict["outdated"]) == (0, 1, 1)
        assert f"in the middle of the run, with exit code {code}" in verdict["failures"][-1]["message"]
        main.write_text("def run():\n    return 1\n")
        verdict = watched.verdict()
        assert (verdict["passed"], verdict["errors"], verdict["outdated"]) == (1, 0, 0)


def test_a_test_that_stops_pytest_has_not_passed(project: Path) -> None:
    """pytest.exit with exit code 0: neither that test nor the one behind it counts as passed."""
    with Watched(project) as watched:
        watched.verdict()
        test = write_test(project, "def test_one():\n    pytest.exit('bye', 0)\n\n\ndef test_two():\n    pass\n")
        verdict = watched.verdict()
        assert (verdict["passed"], verdict["errors"], verdict["outdated"]) == (0, 1, 2)
        assert "bye" in verdict["failures"][-1]["message"]
        save(test, "    pytest.exit('bye', 0)", "    pass")
        verdict = watched.verdict()
        assert (verdict["passed"], verdict["errors"], verdict["outdated"]) == (2, 0, 0)


def test_a_child_that_a_test_left_does_not_hold_the_verdict_back(project: Path) -> None:
    """A forked child goes on for long: the verdict comes when pytest has ended, and the child ends with it."""
    pid_file = project / "child.pid"
    with Watched(project) as watched:
        watched.verdict()
        write_test(
            project,
            "def test_forks():\n    child = os.fork()\n    if child == 0:\n        signal.pause()\n"
            f"    pathlib.Path({str(pid_file)!r}).write_text(str(child))\n",
        )
        assert watched.verdict()["passed"] == 1
        child = int(pid_file.read_text())
        eventually(lambda: not is_alive(child), "the end of the child")


def test_a_forked_child_that_comes_back_into_pytest_tells_nothing(project: Path) -> None:
    """The child fails in the place of the test; the verdict is the parent's."""
    with Watched(project) as watched:
        watched.verdict()
        write_test(
            project,
            "def test_forks():\n    child = os.fork()\n    assert child\n    os.waitpid(child, 0)\n",
        )
        verdict = watched.verdict()
        assert (verdict["passed"], verdict["failed"], verdict["failures"]) == (1, 0, [])


def test_a_cancelled_run_is_told(project: Path) -> None:
    """Ctrl-C: a verdict counts what was chosen and did not run; the next change runs it."""
    began = project / "began"
    with Watched(project) as watched:
        watched.verdict()
        test = write_test(
            project,
            f"def test_one():\n    pass\n\n\ndef test_two():\n    pathlib.Path({str(began)!r}).touch()\n"
            "    signal.pause()\n",
        )
        wait_for(began)
        watched.next("report")
        watched.process.send_signal(signal.SIGINT)
        verdict = watched.verdict()
        # What the watch had not yet heard of the first test's end counts as not run.
        assert (verdict["errors"], verdict["passed"] + verdict["outdated"]) == (0, 2)
        assert verdict["outdated"] >= 1
        save(test, "    signal.pause()\n", "")
        assert watched.verdict()["passed"] == 2


def test_a_class_that_cannot_be_collected_stays_an_error(project: Path) -> None:
    """Its error stands in later verdicts and in the exit code, until the file is mended."""
    with Watched(project) as watched:
        watched.verdict()
        write_test(
            project,
            "class TestIt:\n    @pytest.mark.parametrize('missing', [1])\n    def test_it(self):\n        pass\n",
        )
        assert watched.verdict()["errors"] == 1
        save(project / "plugins" / "greeter" / "main.py", "return hello(name)", "return hello(str(name))")
        assert [f["nodeid"] for f in watched.verdict()["failures"]] == ["plugins/counter/test_counter.py::TestIt"]
        assert watched.end() == 1


def test_a_test_file_that_its_plugin_broke_runs_when_the_plugin_is_mended(project: Path) -> None:
    """The file imports its plugin and could never be collected: none of its tests is known, yet it is chosen."""
    main = counter(project) / "main.py"
    main.write_text("def run(:\n")
    write_test(project, "from plugins.counter.main import run\n\n\ndef test_it():\n    assert run() == 1\n")
    with Watched(project) as watched:
        assert watched.verdict()["errors"] == 1
        main.write_text("def run():\n    return 1\n")
        verdict = watched.verdict()
        assert (verdict["passed"], verdict["failures"]) == (1, [])


def test_an_entry_that_was_gone_and_is_back_is_tried_again(project: Path) -> None:
    """No test names the module; the manifest does, by its default."""
    main = counter(project) / "main.py"
    text = main.read_text()
    with Watched(project) as watched:
        assert watched.verdict()["passed"] == 4
        watched.next("armed")
        main.unlink()
        assert watched.verdict()["failed"] == 1
        watched.next("armed")  # by then the watch has learned what the failed test used
        main.write_text(text)
        verdict = watched.verdict()
        assert (verdict["passed"], verdict["failures"]) == (1, [])


def test_test_files_that_a_source_broke_run_when_the_source_is_as_before(project: Path) -> None:
    """Its bytes are those that the recorded tests saw, and yet what could not be collected must run."""
    source = project / "words.py"
    source.write_text("WORD = 'hello'\n")
    save(project / "pyproject.toml", "testpaths", 'pythonpath = ["."]\ntestpaths')
    write_test(project, "from words import WORD\n\n\ndef test_it():\n    assert WORD == 'hello'\n")
    with Watched(project) as watched:
        assert watched.verdict()["passed"] == 4
        save(source, "WORD", "WORD(]")
        assert watched.verdict()["errors"] == 1
        save(source, "WORD(]", "WORD")
        verdict = watched.verdict()
        assert (verdict["passed"], verdict["failures"]) == (1, [])


def test_what_a_run_writes_does_not_begin_it_again(project: Path) -> None:
    """A report in the project's root, another one each time, and a file that a test writes: there is a verdict."""
    write_test(
        project, f"def test_writes():\n    pathlib.Path({str(project / 'out.txt')!r}).write_text(str(os.getpid()))\n"
    )
    with Watched(project, "--junitxml=report.xml") as watched:
        assert watched.verdict()["passed"] == 4
        save(counter(project) / "main.py", "return 1", "return 3")
        save(project / "plugins" / "greeter" / "main.py", "return hello(name)", "return hello(str(name))")
        assert watched.verdict()["errors"] == 0
        assert len([event for event in watched.events if event["event"] == "selected"]) < 10


def test_data_that_changes_while_a_test_reads_it_counts(project: Path) -> None:
    """In the first run nobody knows yet what reads it; at the end the run begins again, and the last bytes decide."""
    data, began, go = project / "tests" / "data.txt", project / "began", project / "go"
    data.write_text("old")
    (project / "tests" / "test_reader.py").write_text(
        "import pathlib, time\n\n\ndef test_reads():\n"
        f"    text = pathlib.Path({str(data)!r}).read_text()\n    pathlib.Path({str(began)!r}).touch()\n"
        f"    while text == 'old' and not pathlib.Path({str(go)!r}).exists(): time.sleep(0.01)\n"
        "    assert text == 'new'\n"
    )
    with Watched(project) as watched:
        wait_for(began)
        data.write_text("new")
        watched.next("change")
        go.touch()
        verdict = watched.verdict()
        assert (verdict["passed"], verdict["failed"]) == (5, 0)


@pytest.mark.parametrize("how", ["itself", "by a child", "as code"])
def test_a_test_that_writes_something_else_each_time_gets_its_verdict(project: Path, how: str) -> None:
    """A file that its code names appears with its first run, with other bytes each time: no endless round."""
    out = project / ("tests/generated.py" if how == "as code" else "out.txt")
    write = f"pathlib.Path({str(out)!r}).write_text(f'# {{time.time_ns()}}')"
    if how == "by a child":
        write = f"subprocess.run(['sh', '-c', 'date +%N > {out}'])"
    with Watched(project) as watched:
        watched.verdict()
        write_test(project, f"import time\n\n\ndef test_it_counts():\n    {write}\n    time.sleep(0.3)\n")
        verdict = watched.verdict()
        assert (verdict["passed"], verdict["failed"], verdict["errors"]) == (1, 0, 0)
        began = [event for event in watched.events if event["event"] == "run"]
        assert len(began) < 10
        save(counter(project) / "main.py", "return 1", "return 2 - 1")
        save(counter(project) / "test_counter.py", "def test_it_counts", "def test_still_counts")
        verdict = watched.verdict()
        assert (verdict["passed"], verdict["outdated"]) == (1, 0)


@pytest.mark.parametrize("tests", [True, False], ids=["tests", "no tests"])
@pytest.mark.parametrize("healed", ["mended", "deleted"])
def test_a_directory_that_its_conftest_broke_is_an_error_until_it_is_mended(
    project: Path, tests: bool, healed: str
) -> None:
    """Whether or not there are tests in it, as a fresh pytest would say; again and again."""
    directory = counter(project)
    conftest = directory / "conftest.py"
    conftest.write_text("\n")
    if not tests:
        (directory / "test_counter.py").unlink()
    with Watched(project) as watched:
        assert watched.verdict()["failures"] == []
        for _ in range(2):
            conftest.write_text("raise RuntimeError('broken')\n")
            assert "plugins/counter" in [failure["nodeid"] for failure in watched.verdict()["failures"]]
            if healed == "deleted":
                conftest.unlink()
            else:
                conftest.write_text("\n")
            verdict = watched.verdict()
            assert (verdict["failures"], verdict["outdated"]) == ([], 0)


def test_a_directory_that_its_conftest_broke_is_whole_when_what_it_imports_is_mended(project: Path) -> None:
    """Tests that were written meanwhile run then."""
    directory = counter(project)
    (project / "helping.py").write_text("HELP = 1\n")
    (directory / "conftest.py").write_text("from helping import HELP\n")
    with Watched(project, environment={"PYTHONPATH": str(project)}) as watched:
        assert watched.verdict()["failures"] == []
        (project / "helping.py").write_text("HELLO = 1\n")
        assert "plugins/counter" in [failure["nodeid"] for failure in watched.verdict()["failures"]]
        (directory / "test_more.py").write_text("def test_more():\n    assert 1 == 2\n")
        assert "plugins/counter" in [failure["nodeid"] for failure in watched.verdict()["failures"]]
        (project / "helping.py").write_text("HELP = 2\n")
        verdict = watched.verdict()
        assert [failure["nodeid"] for failure in verdict["failures"]] == ["plugins/counter/test_more.py::test_more"]
        assert verdict["outdated"] == 0


@pytest.mark.parametrize("broken", [False, True], ids=["fails", "can't be collected"])
def test_a_failed_test_that_is_deleted_fails_no_longer(project: Path, broken: bool) -> None:
    """The last verdict is about the last bytes: nothing runs, and what is gone is no failure any more."""
    test = project / "plugins" / "counter" / "test_counter.py"
    with Watched(project) as watched:
        watched.verdict()
        test.write_text("import nothing_of_that_name\n" if broken else "def test_it_counts():\n    assert 0\n")
        assert len(watched.verdict()["failures"]) == 1
        test.unlink()
        verdict = watched.verdict()
        assert (verdict["failures"], verdict["failed"], verdict["passed"]) == ([], 0, 0)
