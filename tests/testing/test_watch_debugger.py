"""Watch mode: a debugger in a test has the terminal, for as long as it takes, and nothing gets lost meanwhile."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.reloader.workshop import eventually
from tests.testing.terminals import PDB, Shell
from tests.testing.watched import children_of, is_alive, make_project

termios = pytest.importorskip("termios", reason="a terminal needs POSIX")
pexpect = pytest.importorskip("pexpect", reason="a pseudo-terminal needs POSIX")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make_project(tmp_path)


def counter(project: Path) -> Path:
    return project / "plugins" / "counter" / "main.py"


def count_to(project: Path, value: int, line: str = "") -> None:
    """Save a whole new plugin, `line` first in its function."""
    counter(project).write_text(f"def run():\n    {line or 'pass'}\n    return {value}\n")


@pytest.mark.parametrize("warm", [True, False], ids=["warm", "cold"])
def test_a_failing_test_is_debugged_and_an_edit_heals_it(project: Path, sit: Any, warm: bool) -> None:
    """--pdb as everywhere: look at a value, go on, save the plugin; the verdict follows and the keys work again."""
    watch = sit("--pdb", **({} if warm else {"HOTPLUG_WATCH_COLD": "1"}))
    watch.sees("4 passed", "q quits")
    count_to(project, 2)
    watch.sees("entering PDB", PDB)
    watch.types("p 'the answer is', 6 * 7")
    watch.sees("'the answer is', 42", PDB)
    watch.types("p hotplug.load().execute() + 40")
    watch.sees("42", PDB)
    watch.types("c")
    watch.sees("hotplug: 1 failed", "q quits")
    watch.works()
    count_to(project, 1)
    watch.sees("hotplug: 1 passed", "q quits")
    watch.works()
    watch.leaves(0)


def test_a_test_left_with_q_runs_with_the_next_edit(project: Path, sit: Any) -> None:
    """`q` ends the run, as plain pytest does, and the watch goes on; the test stays pending."""
    watch = sit("--pdb", "-s")
    watch.sees("4 passed", "q quits")
    count_to(project, 2)
    watch.sees(PDB)
    watch.types("q")
    watch.sees("Quitting debugger", "stay pending", "q quits")
    watch.works()
    count_to(project, 1)
    watch.sees("hotplug: 1 passed", "q quits")
    watch.leaves(0)


def test_a_save_at_the_prompt_is_judged_afterwards(project: Path, sit: Any) -> None:
    """The debugger is left alone; once the user goes on, the last bytes are run."""
    watch = sit("--pdb", "--hotplug-events=events.jsonl")
    watch.sees("4 passed", "q quits")
    count_to(project, 2)
    watch.sees(PDB)
    count_to(project, 1)
    events = project / "events.jsonl"
    eventually(lambda: events.read_text().count('"event": "change"') == 2, "the change")
    watch.types("p 'still', 'here'")
    watch.sees("'still', 'here'", PDB)
    watch.types("c")
    watch.sees(r"counter/main\.py changed", "a file changed during the run", "hotplug: 1 passed", "q quits")
    watch.leaves(0)


def test_ctrl_c_at_the_prompt_takes_back_a_line_and_ends_nothing(project: Path, sit: Any) -> None:
    """It is pdb's, as in a shell: the prompt comes anew."""
    watch = sit("--pdb")
    watch.sees("4 passed", "q quits")
    count_to(project, 2)
    watch.sees(PDB)
    watch.presses("p 'never")
    watch.presses("\x03")
    watch.sees("KeyboardInterrupt", PDB)
    watch.types("p 'after', 'it'")
    watch.sees("'after', 'it'", PDB)
    watch.types("c")
    watch.sees("hotplug: 1 failed", "q quits")
    watch.works()


@pytest.mark.parametrize("option", ["-s", "--capture=fd", "--capture=sys"])
@pytest.mark.parametrize("call", ["breakpoint()", "import pdb; pdb.set_trace()"])
def test_a_breakpoint_in_a_plugin_stops_there(project: Path, sit: Any, option: str, call: str) -> None:
    """Step on from it, go on, and the test gets its verdict; the next run stops there again."""
    watch = sit(option)
    watch.sees("4 passed", "q quits")
    count_to(project, 2, f"{call}; seen = 'from the plugin'")
    watch.sees(r"main\.py\(2\)run|main\.py\(3\)run", PDB)
    watch.types("n")
    watch.sees(PDB)
    watch.types("p seen.upper()")
    watch.sees("FROM THE PLUGIN", PDB)
    watch.types("c")
    watch.sees("hotplug: 1 failed", "q quits")
    watch.works()
    count_to(project, 1, call)
    watch.sees(PDB)
    watch.types("c")
    watch.sees("hotplug: 1 passed", "q quits")
    watch.leaves(0)


def test_breakpoints_set_at_the_prompt_are_met(project: Path, sit: Any) -> None:
    """pytest captures again after `c`, and pdb stops a second time in the same test."""
    test = project / "tests" / "test_apart.py"
    watch = sit()
    watch.sees("4 passed", "q quits")
    test.write_text("def test_apart():\n    breakpoint()\n    one = 1\n    print(one)\n    two = 2\n    print(two)\n")
    watch.sees(PDB)
    watch.types("b 6")
    watch.sees("Breakpoint 1", PDB)
    watch.types("c")
    watch.sees(r"test_apart\.py\(6\)", PDB)
    watch.types("p one + two + 39")
    watch.sees("42", PDB)
    watch.types("c")
    watch.sees("hotplug: 1 passed", "q quits")
    watch.works()


def test_trace_stops_at_the_first_line_of_each_test(project: Path, sit: Any) -> None:
    """--trace from the first run on; stepping past the end of a test loses nothing."""
    watch = sit("--trace", "tests")
    watch.sees(r"test_apart\.py\(2\)", PDB)
    watch.types("c")
    watch.sees("hotplug: 1 passed", "q quits")
    watch.works()
    watch.presses("a")
    watch.sees(r"test_apart\.py\(2\)", PDB)
    watch.types("n")
    watch.sees("--Return--", PDB)
    watch.types("c")
    watch.sees("hotplug: 1 passed", "q quits")
    watch.works()


def test_pdbcls_is_heeded(project: Path, sit: Any) -> None:
    """A debugger of one's own, from the project."""
    (project / "mine.py").write_text(
        "import pdb\n\n\nclass Mine(pdb.Pdb):\n    def do_mine(self, arg):\n        print('it is', 'mine', arg)\n"
    )
    watch = sit("--pdb", "--pdbcls=mine:Mine", PYTHONPATH=str(project))
    watch.sees("4 passed", "q quits")
    count_to(project, 2)
    watch.sees(PDB)
    watch.types("mine indeed")
    watch.sees("it is mine indeed", PDB)
    watch.types("c")
    watch.sees("hotplug: 1 failed")


def test_with_pdb_no_run_is_split(project: Path, sit: Any) -> None:
    """-n is said not to count; several failing tests are debugged one after the other."""
    for name in ("one", "two"):
        (project / "tests" / f"test_{name}.py").write_text(
            f"import time\n\n\ndef test_{name}(hotplug):\n    time.sleep(0.1)\n"
            f"    assert hotplug.load('counter').execute() == 1\n"
        )
    watch = sit("--pdb", "-p", "xdist", "-n", "2")
    watch.sees("-n 2 is not heeded: with --pdb", "6 passed", "q quits")
    count_to(project, 2)
    for _ in range(3):
        watch.sees("entering PDB", PDB)
        watch.types("c")
    watch.sees("hotplug: 3 failed", "q quits")


def test_breakpoints_in_a_split_run_come_one_after_the_other(project: Path, sit: Any) -> None:
    """Without --pdb the tests run in two processes: one has the terminal, the other waits for it."""
    for name in ("one", "two"):
        (project / "tests" / f"test_{name}.py").write_text(
            f"import time\n\n\ndef test_{name}(hotplug):\n    time.sleep(0.1)\n"
            f"    name = '{name}'.upper()\n    assert hotplug.load('counter').execute() == 1\n"
        )
    watch = sit("-p", "xdist", "-n", "2", "--hotplug-events=events.jsonl")
    watch.sees("6 passed", "q quits")
    eventually(lambda: '"armed"' in (project / "events.jsonl").read_text(), "the collection")
    count_to(project, 1, "breakpoint()")
    for _ in range(3):
        watch.sees(PDB)
        watch.types("c")
    watch.sees("hotplug: 3 passed", "q quits")
    assert '"processes": 2' in (project / "events.jsonl").read_text()
    watch.works()


DEAF = """
import pdb, signal


class Deaf(pdb.Pdb):
    def preloop(self):
        heard = signal.getsignal(signal.SIGTERM)
        signal.signal(signal.SIGTERM, lambda number, frame: signal.signal(number, heard))
"""


@pytest.mark.parametrize("warm", [True, False], ids=["warm", "cold"])
def test_a_prompt_that_missed_its_end_is_told_again(project: Path, sit: Any, warm: bool) -> None:
    """A signal that comes between the prompt and its read wakes nobody up; fixtures are torn down all the same."""
    (project / "deaf.py").write_text(DEAF)
    torn = note_teardown(project)
    environment = {"PYTHONPATH": str(project), **({} if warm else {"HOTPLUG_WATCH_COLD": "1"})}
    watch = sit("--pdb", "--pdbcls=deaf:Deaf", **environment)
    watch.sees("4 passed", "q quits")
    torn.unlink()
    count_to(project, 2)
    watch.sees(PDB)
    eventually(lambda: watch.group != watch.child.pid, "the hand-over")
    os.kill(watch.child.pid, signal.SIGINT)
    watch.sees("run cancelled")
    watch.works()
    assert torn.exists()


def note_teardown(project: Path) -> Path:
    """Give the counter's test a fixture; return the file that its teardown writes."""
    torn = project / "torn"
    (project / "plugins" / "counter" / "test_counter.py").write_text(
        "import pathlib, pytest\n\n\n@pytest.fixture\ndef place():\n    yield\n"
        f"    pathlib.Path({str(torn)!r}).touch()\n\n\n"
        "def test_it_counts(hotplug, place):\n    assert hotplug.load().execute() == 1\n"
    )
    return torn


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_nothing_is_left_of_a_watch_that_ends_at_the_prompt(project: Path, sit: Any, number: signal.Signals) -> None:
    """The terminal is as before, no process is left, and fixtures are torn down where there is time."""
    torn = note_teardown(project)
    watch = sit("--pdb")
    watch.sees("4 passed", "q quits")
    torn.unlink()
    count_to(project, 2)
    watch.sees(PDB)
    eventually(lambda: watch.group != watch.child.pid, "the hand-over")
    children = children_of(watch.child.pid)
    os.kill(watch.child.pid, number)
    if number == signal.SIGINT:  # cancels the run
        watch.sees("run cancelled")
        watch.works()
        watch.presses("q")
    watch.sees(pexpect.EOF)
    eventually(lambda: not [pid for pid in children if is_alive(pid)], "the end of all of them")
    assert termios.tcgetattr(watch.child.child_fd)[3] == watch.before[3]
    assert torn.exists() or number == signal.SIGKILL


def test_a_debugged_process_that_is_killed_gives_the_terminal_back(project: Path, sit: Any) -> None:
    """SIGKILL at its prompt: an error, and the keys work."""
    watch = sit("--pdb")
    watch.sees("4 passed", "q quits")
    count_to(project, 2)
    watch.sees(PDB)
    eventually(lambda: watch.group != watch.child.pid, "the hand-over")
    os.kill(watch.group, signal.SIGKILL)
    watch.sees("stay pending", "q quits")
    watch.works()
    count_to(project, 1)
    watch.sees("hotplug: 1 passed")


def test_another_debugger_in_the_environment_is_said_to_have_no_terminal(project: Path, sit: Any) -> None:
    """PYTHONBREAKPOINT names something that pytest knows nothing of; 0 is heeded."""
    watch = sit(PYTHONBREAKPOINT="json.loads")
    watch.sees("4 passed", "q quits")
    count_to(project, 1, "breakpoint()")
    watch.sees("name its class with --pdbcls", "hotplug: 1 failed")


def test_whoever_is_continued_again_and_again_goes_on(project: Path, sit: Any) -> None:
    """Shells and what waits above the watch may continue it several times; a debugger keeps the terminal."""
    watch = sit("--pdb")
    watch.sees("4 passed", "q quits")
    count_to(project, 2)
    for _ in range(400):
        os.killpg(watch.child.pid, signal.SIGCONT)
    watch.sees(PDB)
    for _ in range(400):
        os.killpg(watch.child.pid, signal.SIGCONT)
    watch.types("p 'still', 'here'")
    watch.sees("'still', 'here'", PDB)
    watch.types("c")
    watch.sees("hotplug: 1 failed", "q quits")
    watch.works()


def test_ctrl_z_at_the_prompt_suspends_the_whole_watch(project: Path, shell: Shell) -> None:
    """The shell has its terminal as it was; fg brings the debugger back, and after it the keys."""
    shell.types(f"'{sys.executable}' -m pytest --hotplug-watch --pdb")
    shell.sees("4 passed", "q quits")
    count_to(project, 2)
    shell.sees(PDB)
    shell.presses("\x1a")
    shell.sees("Stopped", "ready> ")
    assert shell.reads_lines
    shell.types("echo the shell is $((6 * 7))")
    shell.sees("the shell is 42", "ready> ")
    shell.types("bg")
    shell.sees("ready> ")
    shell.types("fg")
    shell.sees(PDB)
    shell.types("p 'here', 'again'")
    shell.sees("'here', 'again'", PDB)
    shell.types("c")
    shell.sees("hotplug: 1 failed", "q quits")
    eventually(lambda: not shell.reads_lines, "single keys")
    shell.presses("h")
    shell.sees("run all tests")
    shell.presses("q")
    shell.sees("ready> ")
    assert shell.reads_lines
