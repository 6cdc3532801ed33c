"""Watch mode: the affected tests, about the newest bytes, and nothing left behind."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.terminal import wait_for
from tests.reloader.workshop import eventually
from tests.testing.watched import Watched, children_of, delete, is_alive, make_project, save

pytestmark = pytest.mark.skipif(os.name != "posix", reason="watch mode needs a POSIX system for now")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make_project(tmp_path)


@pytest.fixture
def watched(project: Path) -> Iterator[Watched]:
    """Watch the project until its first, full verdict."""
    with Watched(project) as watched:
        assert watched.verdict()["passed"] == 4
        yield watched


def plugin(project: Path, name: str) -> Path:
    return project / "plugins" / name


def test_an_edit_reruns_the_plugins_tests_and_its_dependents_only(watched: Watched, project: Path) -> None:
    """A .py or .json edit of greeter reruns greeter's and pipeline's tests, not counter's; a touch reruns none."""
    save(plugin(project, "greeter") / "text.py", "{WORD} {name}", "{WORD}, {name}")
    assert watched.chosen() == {"test_it_greets", "test_it_pipes"}
    verdict = watched.verdict()
    assert (verdict["passed"], verdict["failed"]) == (2, 0)

    save(plugin(project, "greeter") / "words.json", '"hello"}', '"good day"}')
    assert watched.chosen() == {"test_it_greets", "test_it_pipes"}
    assert watched.verdict()["passed"] == 2

    os.utime(plugin(project, "greeter") / "text.py")
    watched.wait_for_text("saved with the same content")
    save(plugin(project, "counter") / "main.py", "return 1", "return 2 - 1")
    assert watched.chosen() == {"test_it_counts"}
    assert watched.verdict()["passed"] == 1


def test_the_reason_of_each_choice_is_told(watched: Watched, project: Path) -> None:
    """Every selected test carries why; the others are counted."""
    watched.next("armed")  # by then the watch has learned what each test uses
    save(plugin(project, "greeter") / "main.py", "'you'", "'us'")
    selected = watched.next("selected")
    assert {test["because"] for test in selected["tests"]} == {"plugins/greeter/main.py: the module's body changed"}
    assert selected["left_out"] == 2
    failed = watched.verdict()
    assert [failure["nodeid"] for failure in failed["failures"]] == ["plugins/greeter/test_greeter.py::test_it_greets"]
    assert failed["failures"][0]["path"].endswith("test_greeter.py")
    assert failed["failures"][0]["line"] == 2


def test_a_save_during_a_run_restarts_it_and_the_last_bytes_decide(watched: Watched, project: Path) -> None:
    """Broken, then mended while the tests run: exactly one verdict comes, and it is green."""
    began = project / "began"
    (plugin(project, "counter") / "test_counter.py").write_text(
        "import pathlib, threading\n\n\ndef test_it_counts(hotplug):\n    answer = hotplug.load().execute()\n"
        f"    if answer == 99:\n        pathlib.Path({str(began)!r}).touch()\n        threading.Event().wait(60)\n"
        "    assert answer == 1\n"
    )
    watched.verdict()
    main = plugin(project, "counter") / "main.py"
    save(main, "return 1", "return 99")
    wait_for(began)  # in the middle of the test, which would not end by itself
    save(main, "return 99", "return 1")
    verdict = watched.verdict()
    assert (verdict["passed"], verdict["failed"]) == (1, 0)
    save(main, "return 1", "return 2")
    assert watched.verdict()["failed"] == 1


def test_a_refused_version_is_shown_at_once(watched: Watched, project: Path) -> None:
    """The production reloader refuses it and says what keeps serving; restoring the file recovers."""
    text = plugin(project, "greeter") / "text.py"
    watched.next("reloaded", plugin="pipeline")
    save(text, "return f", "return = f")
    refused = watched.next("refused")
    assert refused["plugin"] == "greeter"
    assert refused["serving"] == 1
    assert "generation 1 keeps serving" in refused["error"]
    assert "text.py:8" in refused["error"]
    assert watched.verdict()["failed"] == 2
    save(text, "return = f", "return f")
    assert watched.verdict()["passed"] == 2


def test_a_broken_conftest_is_an_error_and_recovers(watched: Watched, project: Path) -> None:
    """A run that could not begin is never shown as green; its tests wait and run once it is mended."""
    (project / "conftest.py").write_text("raise RuntimeError('broken')\n")
    verdict = watched.verdict()
    assert (verdict["errors"], verdict["outdated"]) == (1, 4)
    assert "exit code 4" in verdict["failures"][-1]["message"]
    (project / "conftest.py").write_text("\n")
    assert watched.verdict()["passed"] == 4


def test_a_test_file_that_does_not_compile_hides_no_other(watched: Watched, project: Path) -> None:
    """Its error stands in every verdict until it is mended; edits elsewhere still get theirs."""
    test = plugin(project, "counter") / "test_counter.py"
    save(test, "def test_it_counts", "def broken(:\n\n\ndef test_it_counts")
    assert watched.verdict()["errors"] == 1
    save(plugin(project, "greeter") / "main.py", "return hello(name)", "return hello(str(name))")
    verdict = watched.verdict()
    assert verdict["passed"] == 1
    assert [failure["nodeid"] for failure in verdict["failures"]] == ["plugins/counter/test_counter.py"]
    save(test, "def broken(:\n\n\n", "")
    assert watched.verdict()["failures"] == []


def test_plugins_come_and_go(watched: Watched, project: Path) -> None:
    """A new plugin directory brings its tests, a deleted one takes them along."""
    delete(plugin(project, "counter"))
    fresh = plugin(project, "fresh")
    fresh.mkdir()
    (fresh / "main.py").write_text("def run():\n    return 7\n")
    (fresh / "test_fresh.py").write_text("def test_fresh(hotplug):\n    assert hotplug.load().execute() == 7\n")
    while not any(event.get("nodeid", "").endswith("::test_fresh") for event in watched.events):
        watched.verdict()
    save(fresh / "main.py", "7", "8")
    assert watched.chosen() == {"test_fresh"}
    assert watched.verdict()["failed"] == 1


def test_an_edit_of_a_test_runs_that_file(watched: Watched, project: Path) -> None:
    """New tests are found, deleted ones forgotten."""
    test = plugin(project, "counter") / "test_counter.py"
    save(test, "def test_it_counts", "def test_new():\n    assert False\n\n\ndef test_it_counts")
    assert watched.verdict()["failed"] == 1
    save(test, "def test_new():\n    assert False\n\n\n", "")
    verdict = watched.verdict()
    assert (verdict["passed"], verdict["failed"], verdict["failures"]) == (1, 0, [])


def test_a_file_that_a_test_opened_counts(watched: Watched, project: Path) -> None:
    """Data outside any plugin is a dependency of the test that read it, and of no other."""
    data = project / "tests" / "data.txt"
    data.write_text("1")
    reader = project / "tests" / "test_reader.py"
    reader.write_text(
        "from pathlib import Path\n\n\ndef test_reads():\n"
        "    assert Path(__file__).with_name('data.txt').read_text() == '1'\n"
    )
    while not any(event.get("nodeid", "").endswith("::test_reads") for event in watched.events):
        watched.verdict()
    save(data, "1", "2")
    assert watched.chosen() == {"test_reads"}
    assert watched.verdict()["failed"] == 1


def test_a_test_that_imports_its_plugin_directly_is_chosen(watched: Watched, project: Path) -> None:
    """Two test files import counter themselves: an edit reruns both, although it was loaded once."""
    for number in (1, 2):
        path = plugin(project, "counter") / f"test_direct_{number}.py"
        path.write_text(f"from .main import run\n\n\ndef test_direct_{number}():\n    assert run()\n")
    seen: set[str] = set()
    while not {"test_direct_1", "test_direct_2"} <= seen:  # one batch or two
        watched.verdict()
        seen |= {event["nodeid"].rpartition("::")[2] for event in watched.events if event["event"] == "report"}
    save(plugin(project, "counter") / "main.py", "return 1", "return 2 - 1")
    assert watched.chosen() == {"test_direct_1", "test_direct_2", "test_it_counts"}
    assert watched.verdict()["passed"] == 3


def test_a_plugin_that_kills_its_process_hurts_only_the_host(watched: Watched, project: Path) -> None:
    """The host is started again, with a line; the tests run all the same."""
    watched.next("reloaded", plugin="pipeline")
    save(
        plugin(project, "counter") / "main.py",
        "def run",
        "import os\nif 'host' in open('/proc/self/cmdline').read():\n    os._exit(7)\n\n\ndef run",
    )
    fallback = watched.next("fallback")
    assert "exit code 7" in fallback["reason"]
    assert watched.process.poll() is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_nothing_is_left_behind(project: Path, number: signal.Signals) -> None:
    """After SIGTERM or Ctrl-C no process of ours is alive; the exit code tells the last verdict."""
    with Watched(project) as watched:
        watched.verdict()
        children = children_of(watched.process.pid)
        assert children, "the plugin host runs"
        assert watched.end(number) == 0
    assert not [pid for pid in children if is_alive(pid)]


def test_a_killed_watcher_takes_its_run_along(project: Path) -> None:
    """SIGKILL in the middle of a test: neither the run, nor what the test started, nor the host stays."""
    began = project / "began"
    (project / "tests" / "test_slow.py").write_text(
        "import pathlib, subprocess, sys\n\n\ndef test_slow():\n"
        "    child = subprocess.Popen([sys.executable, '-c', 'import threading; threading.Event().wait(60)'])\n"
        f"    pathlib.Path({str(began)!r}).touch()\n    child.wait()\n"
    )
    with Watched(project) as watched:
        wait_for(began)
        children = children_of(watched.process.pid)
        assert len(children) == 3
        watched.process.kill()
        watched.process.wait()
        eventually(lambda: not [pid for pid in children if is_alive(pid)], "the end of all of them")


def test_without_a_terminal_it_is_one_ordinary_run(project: Path, pytester: pytest.Pytester) -> None:
    """Scripts and CI get a plain run with a note."""
    result = pytester.runpytest_subprocess("--hotplug-watch", "--rootdir", str(project), str(project))
    result.assert_outcomes(passed=4)
    result.stderr.fnmatch_lines(["*there is no terminal*"])


class Terminal:
    """Watch mode in a pseudo-terminal."""

    def __init__(self, project: Path, columns: int = 100) -> None:
        import pexpect

        environment = {**os.environ, "TERM": "xterm-256color"}
        self.child = pexpect.spawn(
            sys.executable, ["-m", "pytest", "--hotplug-watch"], cwd=str(project), env=environment,
            encoding="utf-8", timeout=40, dimensions=(30, columns),
        )  # fmt: skip

    def sees(self, pattern: str) -> None:
        self.child.expect(pattern)


@pytest.mark.parametrize("columns", [100, 20])
def test_keys_work_at_any_time(project: Path, columns: int) -> None:
    """Enter and a run all, f the failed ones, h helps, q quits; a tight terminal changes nothing."""
    terminal = Terminal(project, columns)
    terminal.sees("4 passed")
    terminal.sees("watching")
    terminal.child.send("h")
    terminal.sees("run all tests")
    terminal.child.send("f")
    terminal.sees("no test fails")
    terminal.child.send("a")
    terminal.sees("hotplug: 4 passed")
    save(plugin(project, "counter") / "main.py", "return 1", "return 3")
    terminal.sees("hotplug: 1 failed")
    terminal.child.send("f")
    terminal.sees("hotplug: 1 failed")
    terminal.child.send("q")
    terminal.child.expect_eof() if hasattr(terminal.child, "expect_eof") else terminal.child.wait()
    terminal.child.close()
    assert terminal.child.exitstatus == 1


def test_the_terminal_is_put_back(project: Path) -> None:
    """After q the terminal echoes and is line-buffered as before."""
    import termios

    terminal = Terminal(project)
    before = termios.tcgetattr(terminal.child.child_fd)
    terminal.sees("watching")
    assert termios.tcgetattr(terminal.child.child_fd)[3] != before[3]
    terminal.child.send("q")
    terminal.child.wait()
    assert termios.tcgetattr(terminal.child.child_fd)[3] == before[3]
    terminal.child.close()


def test_ctrl_c_cancels_the_run_and_then_quits(project: Path) -> None:
    """The first Ctrl-C ends the run, the second the watch."""
    (project / "tests" / "test_slow.py").write_text(
        "import threading\n\n\ndef test_slow():\n    threading.Event().wait(60)\n"
    )
    terminal = Terminal(project)
    terminal.sees("test_slow.py")
    terminal.child.sendintr()
    terminal.sees("run cancelled")
    terminal.child.sendintr()
    terminal.child.wait()
    terminal.child.close()
    assert terminal.child.exitstatus == 0


def test_an_edit_under_a_terminal_shows_only_the_affected(project: Path) -> None:
    """The screen tells what changed, what serves and the verdict."""
    terminal = Terminal(project)
    terminal.sees("4 passed")
    terminal.sees("watching")
    save(plugin(project, "greeter") / "text.py", "{WORD} {name}", "{WORD}: {name}")
    terminal.sees(r"plugins/greeter/text\.py changed")
    terminal.sees(r"hotplug: 2 passed in [\d.]+ s; 2 not affected")
    terminal.child.send("q")
    terminal.child.wait()
    terminal.child.close()
