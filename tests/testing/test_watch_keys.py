"""The keys of watch mode, typed into a real terminal."""

from __future__ import annotations

import io
import os
import queue
import re
import select
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.cells import cell_len

from pytest_hotplug.testing.watch import keys
from pytest_hotplug.testing.watch.commands import COMMANDS
from pytest_hotplug.testing.watch.filters import Filters
from pytest_hotplug.testing.watch.prompt import Prompt
from pytest_hotplug.testing.watch.screen import Screen
from tests.cli.terminal import wait_for
from tests.reloader.workshop import eventually
from tests.testing.terminals import PDB, Sitting
from tests.testing.watched import Watched, make_project, save

pexpect = pytest.importorskip("pexpect", reason="a pseudo-terminal needs POSIX")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with a file that nothing uses."""
    root = make_project(tmp_path / "project")
    (root / "notes").mkdir()
    (root / "notes" / "notes.txt").write_text("nobody reads this")
    return root


@pytest.fixture(params=[100, 24], ids=["wide", "tight"])
def terminal(project: Path, request: pytest.FixtureRequest) -> Iterator[Any]:
    """Watch mode in a pseudo-terminal, once its first run is over."""
    environment = {**os.environ, "TERM": "xterm-256color"}
    child = pexpect.spawn(
        sys.executable, ["-m", "pytest", "--hotplug-watch"], cwd=str(project), env=environment,
        encoding="utf-8", timeout=40, dimensions=(30, request.param),
    )  # fmt: skip
    child.expect("hotplug: 4 passed")
    child.expect("watching")
    yield child
    child.send("q")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus in (0, 1)


def test_p_and_t_narrow_what_runs_until_they_are_emptied(terminal: Any, project: Path) -> None:
    """Promise 7: p by file, t by name; typed as in any line, taken back with Backspace, left with Escape."""
    terminal.send("p")
    terminal.expect("only files with")
    terminal.send("greexx\x7f\x7ft\r")
    terminal.expect("hotplug: 1 passed")
    terminal.expect("only where")
    terminal.send("p")
    terminal.expect("only files with")
    terminal.send("\x1b")
    terminal.expect("\n")  # sent together they would be Alt-t
    terminal.send("t")
    terminal.expect("only names with")
    terminal.send("pipes\r")
    terminal.expect("nothing runs")
    terminal.send("p")
    terminal.expect("only files with")
    terminal.send("\r")
    terminal.expect("hotplug: 1 passed")
    terminal.send("t")
    terminal.expect("only names with")
    terminal.send("\r")
    terminal.expect("all tests again")
    terminal.expect("hotplug: 4 passed")


def test_what_a_filter_leaves_out_waits_for_its_turn(terminal: Any, project: Path) -> None:
    """A test that an edit affects and the filter keeps out runs once the filter is gone, and is counted till then."""
    terminal.send("t")
    terminal.expect("only names with")
    terminal.send("counts\r")
    terminal.expect("hotplug: 1 passed")
    terminal.expect("3 pending")
    save(project / "plugins" / "greeter" / "text.py", "} {name}", "}, {name}")
    terminal.expect("nothing runs")
    terminal.send("t")
    terminal.expect("only names with")
    terminal.send("\r")
    terminal.expect("hotplug: 4 passed")


def test_space_pauses_and_what_changed_meanwhile_runs_afterwards(terminal: Any, project: Path) -> None:
    """Promise 7: in a pause nothing runs by itself, and nothing is forgotten."""
    terminal.send(" ")
    terminal.expect("paused")
    save(project / "plugins" / "counter" / "main.py", "return 1", "return 2")
    terminal.expect("so it waits")
    terminal.send(" ")
    terminal.expect("hotplug: 1 failed")


def test_r_starts_the_warm_processes_anew(project: Path) -> None:
    """Something changed that no file tells: at a key all that is kept ready is made again, and runs as before."""
    watch = Sitting(project, "--hotplug-events=events.jsonl")
    events = project / "events.jsonl"
    watch.sees("4 passed", "q quits")
    for number in (1, 2, 3):
        eventually(lambda: events.read_text().count('"armed"') == number, "the collection")  # noqa: B023
        watch.presses("r")
        watch.sees("started anew")
    eventually(lambda: events.read_text().count('"armed"') == 4, "the last collection")
    save(project / "plugins" / "counter" / "main.py", "return 1", "return 2")
    watch.sees("hotplug: 1 failed", "q quits")
    assert '"level": "collected"' in events.read_text()
    watch.leaves(1)


def test_r_in_the_middle_of_a_run_begins_it_again(project: Path) -> None:
    """The run comes from what is thrown away: it is not lost."""
    began, go = project.parent / "began", project.parent / "go"
    watch = Sitting(project)
    watch.sees("4 passed", "q quits")
    (project / "tests" / "test_apart.py").write_text(
        "import os, pathlib, time\n\n\ndef test_apart():\n"
        f"    with open({str(began)!r}, 'a') as file:\n        file.write('x')\n"
        f"    while not pathlib.Path({str(go)!r}).exists():\n        time.sleep(0.01)\n"
    )
    wait_for(began)
    watch.presses("r")
    eventually(lambda: began.read_text() == "xx", "the second run")
    go.touch()
    watch.sees("hotplug: 1 passed", "q quits")
    watch.leaves(0)


def test_arrows_and_the_like_are_no_keys_of_the_watch(terminal: Any) -> None:
    """An arrow in a prompt leaves it open; Alt-q and a function key don't quit."""
    terminal.send("p")
    terminal.expect("only files with")
    terminal.send("gre\x1b[Det\x1bOHer\r")
    terminal.expect("hotplug: 1 passed")
    terminal.expect("only where file contains 'greeter'")
    terminal.send("\x1bq\x1b[15~\x1b[1;5A")
    terminal.send("p")
    terminal.expect("only files with")
    terminal.send("\r")
    terminal.expect("hotplug: 4 passed")


@pytest.mark.parametrize("columns", [20, 40, 100])
def test_a_prompt_stays_in_its_line(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However much is typed: what doesn't fit scrolls out to the left, and nothing of it stays behind."""
    monkeypatch.setenv("COLUMNS", str(columns))
    out = io.StringIO()
    screen = Screen(out, keys=True)
    prompt = Prompt("only files with (empty: all)", lambda text: None)
    for key in "plugins/" * 20 + "\u6f22" * 30 + "\x7f" * 100:
        prompt.feed(key)
        screen.ask(prompt.line)
    lines = out.getvalue().split("\r")[1:]
    assert max(cell_len(line.replace("\b", "")) for line in lines) == columns - 1
    assert all(ord(char) >= 32 or char == "\b" for line in lines for char in line)
    assert lines[-1].rstrip("\b ").endswith(("plugins/" * 20)[:-70][-5:])


@pytest.mark.parametrize(("variables", "columns"), [({"TERM": "dumb"}, 80), ({"NO_COLOR": "1"}, 40)])
def test_a_plain_terminal_gets_plain_text(project: Path, variables: dict[str, str], columns: int) -> None:
    """TERM=dumb: no escape sequence at all; NO_COLOR: no colour. Every key works."""
    watch = Sitting(project, columns=columns, **variables)
    watch.child.logfile_read = io.StringIO()
    watch.sees("4 passed", "quits")
    for key, answer in (("h", "run all"), ("f", "no test fails"), ("w", "all tests ran"), ("x", "first"),
                        ("u", "git"), (" ", "paused"), (" ", "going on"), ("r", "anew")):  # fmt: skip
        watch.presses(key)
        watch.sees(answer)
    watch.presses("p")
    watch.presses("counter\x7f\x7f\r")
    watch.sees("hotplug: 1 passed", "quits")
    watch.presses("c")
    watch.leaves(0)
    shown = watch.child.logfile_read.getvalue()
    assert "\x1b" not in shown if "TERM" in variables else not re.search(r"\x1b\[[0-9;]*3[0-9]", shown)


@pytest.mark.skipif(os.name != "posix", reason="watch mode needs a POSIX system for now")
def test_without_a_terminal_no_key_is_promised(project: Path) -> None:
    """An editor that shows what the watch says doesn't send its user to keys that nobody reads."""
    with Watched(project) as watched:
        watched.wait_for_text("no terminal, so no keys")
        assert "Enter" not in "".join(watched.said)


@pytest.mark.skipif(os.name != "posix", reason="watch mode needs a POSIX system for now")
def test_hotplug_why_says_unasked_what_w_says(project: Path) -> None:
    """Promise 6: with the option each choice comes with its reasons, and each edit that chose none."""
    with Watched(project, "--hotplug-why") as watched:
        watched.verdict()
        save(project / "plugins" / "counter" / "main.py", "return 1", "return 2 - 1")
        watched.wait_for_text("test_counter.py::test_it_counts: ")
        watched.verdict()
        save(project / "notes" / "notes.txt", "nobody", "still nobody")
        watched.wait_for_text("notes.txt chose none: ")


def test_w_says_why_the_last_tests_were_chosen_and_why_none(terminal: Any, project: Path) -> None:
    """Promise 6: for each test chosen, why; for an edit that chose none, that."""
    terminal.send("w")
    terminal.expect("all tests ran")
    save(project / "plugins" / "counter" / "main.py", "return 1", "return 2")
    terminal.expect("hotplug: 1 failed")
    save(project / "notes" / "notes.txt", "nobody", "still nobody")
    terminal.expect("no test depends on it")
    terminal.send("w")
    terminal.expect(r"counter/main\.py: run\(\) changed")
    terminal.expect("notes.txt chose none")


def test_x_lets_the_tests_that_failed_last_run_first(terminal: Any, project: Path) -> None:
    """Promise 7: while one test is being mended, its verdict comes before all others."""
    save(project / "plugins" / "pipeline" / "main.py", "'pipe'", "'tube'")
    terminal.expect("hotplug: 1 failed")
    terminal.send("x")
    terminal.expect("failed last run first")
    terminal.send("a")
    terminal.expect(r"test_pipeline\.py [^\n]*F")
    terminal.expect(r"test_counter\.py [^\n]*\.")
    terminal.expect("hotplug: 1 failed")


def test_u_shows_the_changed_lines_that_no_test_runs(terminal: Any, project: Path) -> None:
    """Promise 7: before a commit one sees at a key what of one's edit is untested; where there is no git, that."""
    terminal.send("u")
    terminal.expect("git")
    for command in ("init -q", "add .", "-c user.name=a -c user.email=a@example.org commit -qm one"):
        subprocess.run(["git", *command.split()], cwd=project, check=True)
    terminal.send("u")
    terminal.expect("no Python file differs")
    main = project / "plugins" / "counter" / "main.py"
    save(main, "    return 1\n", "    if __name__ == 'never':\n        return 2\n    return 1\n")
    terminal.expect("hotplug: 1 passed")
    terminal.send("u")
    terminal.expect(r"no test runs plugins/counter/main\.py:3[^-,]")


def test_a_key_that_somebody_else_has_read_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The terminal had a key, a shell took it, and the watch got its terminal back: it goes on, and reads the next."""
    master, slave = os.openpty()
    inbox: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()
    plain, asked = select.select, threading.Event()

    def too_late(*wanted: Any) -> Any:
        """Tell once that there is something to read, as it was when the reader was woken up."""
        if slave_file.fileno() in wanted[0] and not asked.is_set():
            asked.set()
            return [slave_file.fileno()], [], []
        return plain(*wanted)

    rescue = threading.Timer(5, os.write, (master, b"!"))  # whoever waits for a key gets this one
    with os.fdopen(slave, "r") as slave_file:
        monkeypatch.setattr(sys, "stdin", slave_file)
        monkeypatch.setattr(keys, "select", SimpleNamespace(select=too_late))
        with keys.Keys(inbox, lambda: None, lambda: None):
            rescue.start()
            assert asked.wait(5)
        rescue.cancel()
        assert inbox.empty()
    os.close(master)


def test_every_key_of_the_help_is_a_command_and_no_key_means_two() -> None:
    """The help is made from the table that the loop acts by."""
    from pytest_hotplug.testing.watch.typed import Typed

    anything: Any = SimpleNamespace(root=None, screen=None, shown=None)
    typed = Typed(anything, anything, anything, lambda: None)

    keys = [key for command in COMMANDS for key in command.keys]
    assert len(keys) == len(set(keys))
    assert all(hasattr(typed, f"_do_{command.name}") for command in COMMANDS)


def test_a_prompt_takes_a_line_and_gives_up_on_escape() -> None:
    """Ctrl-U empties the line; control keys are no text."""
    heard: list[str] = []
    prompt = Prompt("only names with", heard.append)
    assert all(prompt.feed(key) for key in "ab\x15c\x01d")
    assert prompt.line == "only names with: cd"
    assert not prompt.feed("\r")
    assert heard == ["cd"]
    assert not Prompt("x", heard.append).feed("\x1b")
    assert heard == ["cd"]


def test_filters_look_at_file_and_name_apart() -> None:
    """A whole test file goes by its path alone: nobody knows the names in it yet."""
    both = Filters(file="Greet", name="hello")
    assert both.let_through("plugins/greeter/test_x.py::test_Hello")
    assert not both.let_through("plugins/greeter/test_x.py::test_bye")
    assert not both.let_through("plugins/counter/test_x.py::test_hello")
    assert both.let_through("plugins/greeter/test_x.py")
    assert not Filters()


@pytest.fixture
def slow(project: Path) -> Path:
    """Let the test apart note each of its beginnings and wait until it may end."""
    began, go = project.parent / "began", project.parent / "go"
    (project / "tests" / "test_apart.py").write_text(
        "import os, pathlib, time\n\n\ndef test_apart(hotplug):\n    answer = hotplug.load('counter').execute()\n"
        f"    with open({str(began)!r}, 'a') as file:\n        file.write('x')\n"
        f"    while not pathlib.Path({str(go)!r}).exists():\n        time.sleep(0.01)\n    assert answer == 1\n"
    )
    return began


def test_a_pause_that_ends_during_a_run_leaves_the_run_alone(project: Path, slow: Path) -> None:
    """Twice space while a test runs: it isn't begun a second time beside itself."""
    watch = Sitting(project, "tests")
    wait_for(slow)
    watch.presses(" ")
    watch.sees("paused")
    watch.presses(" ")
    watch.sees("going on")
    watch.presses("h")
    watch.sees("run all tests")
    (project.parent / "go").touch()
    watch.sees("hotplug: 1 passed", "q quits")
    assert slow.read_text() == "x"
    watch.leaves(0)


def test_an_edit_in_a_pause_during_a_run_is_not_lost(project: Path, slow: Path) -> None:
    """The run ends in the pause, about old bytes: no verdict of it stands, and with space the new ones are run."""
    (project.parent / "go").touch()
    watch = Sitting(project)
    watch.sees("hotplug: 4 passed", "q quits")
    (project.parent / "go").unlink()
    slow.unlink()
    watch.presses("a")
    wait_for(slow)
    watch.presses(" ")
    watch.sees("paused")
    save(project / "plugins" / "counter" / "main.py", "return 1", "return 2")
    watch.sees("so it waits")
    (project.parent / "go").touch()
    watch.sees("the watch is paused", "q quits")
    watch.presses(" ")
    watch.sees("hotplug: 2 failed", "q quits")
    watch.leaves(1)


def test_lines_that_nobody_measured_are_not_called_untested(project: Path) -> None:
    """`u` with a breakpoint on the way: the debugger takes the measuring's place, and that is said."""
    for command in ("init -q", "add .", "-c user.name=a -c user.email=a@example.org commit -qm one"):
        subprocess.run(["git", *command.split()], cwd=project, check=True)
    watch = Sitting(project)
    watch.sees("hotplug: 4 passed", "q quits")
    save(project / "plugins" / "counter" / "main.py", "    return 1\n", "    breakpoint()\n    return 1\n")
    watch.sees(PDB)
    watch.types("c")
    watch.sees("hotplug: 1 passed", "q quits")
    watch.presses("u")
    watch.sees(PDB)
    watch.types("c")
    watch.sees("hotplug: 1 passed", "could not tell which lines", "q quits")
    watch.leaves(0)
