"""Watch mode: where it looks, and what it was told on its command line."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.reloader.workshop import eventually
from tests.testing.terminals import Shell
from tests.testing.watched import COUNTER, PATIENCE, Watched, make_project, save

pytestmark = pytest.mark.skipif(os.name != "posix", reason="watch mode needs a POSIX system for now")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "project").mkdir()
    return make_project(tmp_path / "project")


def run_pytest(project: Path, *arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    """Run pytest once, without a terminal."""
    command = [sys.executable, "-m", "pytest", *arguments]
    keywords = {"stdin": subprocess.DEVNULL, **options}
    return subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=PATIENCE, **keywords)  # type: ignore[call-overload]


def test_a_directory_made_during_the_watch_is_watched(project: Path) -> None:
    """mkdir newtests in the project's root, a test in it, an edit of that test: all are seen."""
    with Watched(project, ".") as watched:
        watched.verdict()
        (project / "newtests").mkdir()
        test = project / "newtests" / "test_new.py"
        test.write_text("def test_new():\n    assert False\n")
        assert watched.chosen() == {"newtests/test_new.py"}
        assert watched.verdict()["failed"] == 1
        save(test, "False", "True")
        assert watched.verdict()["failures"] == []


def linked_plugin(project: Path) -> Path:
    """Put a plugin beside the project and link it into the plugin dir."""
    place = project.parent / "elsewhere" / "linked"
    place.mkdir(parents=True)
    for name, text in COUNTER.items():
        (place / name.replace("counter", "linked")).write_text(text.replace("counter", "linked"))
    (project / "plugins" / "linked").symlink_to(place)
    return place


def test_edits_of_a_plugin_that_was_linked_during_the_watch_count(project: Path) -> None:
    """ln -s into the plugin dir brings its tests; edits of the place it leads to, or through the link, run them."""
    with Watched(project) as watched:
        watched.verdict()
        place = linked_plugin(project)
        while not any(event.get("nodeid", "").startswith("plugins/linked/") for event in watched.events):
            watched.verdict()
        save(place / "main.py", "return 1", "return 2")
        assert watched.chosen() == {"test_it_counts"}
        assert watched.verdict()["failed"] == 1
        save(project / "plugins" / "linked" / "main.py", "return 2", "return 1")
        assert watched.chosen() == {"test_it_counts"}
        assert watched.verdict()["failures"] == []


def test_edits_of_a_plugin_that_is_a_link_count(project: Path) -> None:
    """The link was there before the watch."""
    place = linked_plugin(project)
    with Watched(project) as watched:
        assert watched.verdict()["passed"] == 5
        save(place / "main.py", "return 1", "return 2")
        assert watched.chosen() == {"test_it_counts"}
        assert watched.verdict()["failed"] == 1


def test_links_in_a_circle_do_no_harm(project: Path) -> None:
    """A directory linked into itself is looked at once."""
    (project / "tests" / "again").symlink_to(project / "tests")
    with Watched(project) as watched:
        watched.verdict()
        save(project / "plugins" / "counter" / "main.py", "return 1", "return 2 - 1")
        assert watched.chosen() == {"test_it_counts"}


# -- the events' file and pytest's rootdir --------------------------------------------------------


def test_the_events_file_does_not_move_the_rootdir_of_the_runs(project: Path) -> None:
    """A file outside the project, named apart, comes to be during the watch; the runs keep the project's settings."""
    file = project.parent / "events.jsonl"
    command = [sys.executable, "-m", "pytest", "--hotplug-watch", "--hotplug-events", str(file)]
    watch = subprocess.Popen(command, cwd=project, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    assert watch.stdout is not None
    with watch, watch.stdout:
        said = []
        for line in watch.stdout:
            said.append(line)
            if re.match(r"hotplug: .* in [\d.]+ s", line):
                break
        watch.terminate()
    assert said[-1].startswith("hotplug: 4 passed")
    assert f"rootdir: {project}\n" in said
    assert '"nodeid": "plugins/counter/test_counter.py::test_it_counts"' in file.read_text()


@pytest.mark.parametrize("in_variable", [False, True])
def test_an_events_file_that_moves_the_rootdir_is_refused(
    project: Path, in_variable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It exists already and is named apart: pytest would look for its settings there. Joined it is well."""
    file = project.parent / "events.jsonl"
    file.touch()
    apart = ["--hotplug-events", str(file)]
    if in_variable:
        monkeypatch.setenv("PYTEST_ADDOPTS", " ".join(apart))
        apart = []
    ran = run_pytest(project, *apart)
    assert ran.returncode == 4
    assert f"Write --hotplug-events={file} [taken-as-path]" in ran.stderr
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    assert run_pytest(project, f"--hotplug-events={file}").returncode == 0


def test_values_apart_that_move_nothing_are_taken(project: Path) -> None:
    """A file in the project, a plugin dir, `-` and numbers, each as a word of its own."""
    (project / "events.jsonl").touch()
    ran = run_pytest(
        project,
        *("--hotplug-events", "events.jsonl", "--hotplug-plugins", "plugins", "--hotplug-poll", "1"),
        *("--hotplug-debounce", "0.1", "tests"),
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert f"rootdir: {project}\n" in ran.stdout


@pytest.mark.parametrize("target", ["missing/events.jsonl", "plugins"])
def test_an_events_file_that_cannot_be_written_is_a_usage_error(project: Path, target: str) -> None:
    """Exit code 4 and one line with the reason, no traceback."""
    ran = run_pytest(project, "--hotplug-watch", f"--hotplug-events={target}")
    assert ran.returncode == 4
    assert f"--hotplug-events: {target} can't be written" in ran.stderr
    assert "Traceback" not in ran.stderr + ran.stdout


# -- streams and debuggers ------------------------------------------------------------------------


def test_a_closed_stdin_is_no_terminal(project: Path) -> None:
    """`pytest --hotplug-watch <&-` is one ordinary run with a note."""
    command = f"exec '{sys.executable}' -m pytest --hotplug-watch <&-"
    ran = subprocess.run(["sh", "-c", command], cwd=project, capture_output=True, text=True, timeout=PATIENCE)
    assert ran.returncode == 0, ran.stderr
    assert "4 passed" in ran.stdout
    assert "there is no terminal" in ran.stderr


def test_a_run_that_does_not_watch_keeps_to_what_is_affected(project: Path) -> None:
    """`--hotplug-watch --hotplug-affected` without a terminal: the ordinary run is one of the affected tests."""
    command = [sys.executable, "-m", "pytest", "--hotplug-watch", "--hotplug-affected"]

    def ran() -> str:
        done = subprocess.run(
            command, cwd=project, check=True, capture_output=True, text=True, timeout=PATIENCE, stdin=subprocess.DEVNULL
        )
        assert "one ordinary run" in done.stderr
        return done.stdout

    assert "4 passed" in ran()
    save(project / "plugins" / "counter" / "main.py", "return 1", "return 1 + 0")
    assert "hotplug: 1 test affected, 3 verdicts still stand" in ran()


def test_a_watch_with_closed_stdin_gets_its_verdicts(project: Path) -> None:
    """The pipes to the run don't land where stdin was."""
    command = f"exec '{sys.executable}' -m pytest --hotplug-watch --hotplug-events=events.jsonl <&-"
    watch = subprocess.Popen(["sh", "-c", command], cwd=project, stdout=subprocess.PIPE, text=True)
    assert watch.stdout is not None
    with watch, watch.stdout:
        said = next((line for line in watch.stdout if line.startswith("hotplug: 4 passed")), "")
        watch.terminate()
    assert said


@pytest.mark.parametrize("option", ["--pdb", "--trace"])
def test_without_a_terminal_a_debugger_option_is_said_to_do_nothing(project: Path, option: str) -> None:
    """One line at the start; a failing test fails as ever."""
    with Watched(project, option) as watched:
        watched.wait_for_text(f"there is no terminal for a debugger, so {option} does nothing")
        assert watched.verdict()["passed"] == 4
        save(project / "plugins" / "counter" / "main.py", "return 1", "return 2")
        verdict = watched.verdict()
        assert (verdict["failed"], verdict["errors"]) == (1, 0)


@pytest.mark.parametrize("call", ["breakpoint()", "__import__('pdb').set_trace()"])
def test_without_a_terminal_a_breakpoint_fails_with_a_reason(project: Path, call: str) -> None:
    """The message points to the line of the breakpoint and says what to do."""
    with Watched(project) as watched:
        watched.verdict()
        test = project / "plugins" / "counter" / "test_counter.py"
        save(test, "    assert hotplug", f"    {call}\n    assert hotplug")
        failure = watched.verdict()["failures"][0]
        assert "the watch has no terminal for a debugger [no-debugger]" in failure["message"]
        assert (Path(failure["path"]).name, failure["line"]) == ("test_counter.py", 2)


# -- what serves ----------------------------------------------------------------------------------


def test_a_refusal_is_taken_back(project: Path) -> None:
    """Broken, then put back to the exact old bytes: `reloaded` tells which generation serves, the same as before."""
    with Watched(project) as watched:
        loaded = watched.next("reloaded", plugin="counter")
        watched.verdict() if not any(e["event"] == "verdict" for e in watched.events) else None
        main = project / "plugins" / "counter" / "main.py"
        save(main, "return 1", "return = 1")
        assert watched.next("refused")["plugin"] == "counter"
        save(main, "return = 1", "return 1")
        again = watched.next("reloaded", plugin="counter")
        assert (again["generation"], again["digest"]) == (loaded["generation"], loaded["digest"])
        watched.wait_for_text("counter generation 1 serves again")


# -- Ctrl-Z ---------------------------------------------------------------------------------------


def test_keys_work_after_a_suspension(project: Path, shell: Shell) -> None:
    """Ctrl-Z gives the shell its terminal as it was; fg takes it again, and keys do what they did."""
    shell.types(f"'{sys.executable}' -m pytest --hotplug-watch")
    shell.sees("4 passed", "q quits")
    assert not shell.reads_lines
    shell.presses("\x1a")
    shell.sees("Stopped", "ready> ")
    assert shell.reads_lines
    save(project / "plugins" / "counter" / "main.py", "return 1", "return 2")
    shell.types("fg")
    shell.sees("hotplug: 1 failed", "q quits")
    eventually(lambda: not shell.reads_lines, "single keys")
    shell.presses("h")
    shell.sees("run all tests")
    shell.presses("q")
    shell.sees("ready> ")
    assert shell.reads_lines


def test_a_suspension_stops_the_run_too(project: Path, shell: Shell) -> None:
    """Ctrl-Z in the middle of a test, bg: the run goes on in the background; fg brings the keys back."""
    began, go = project / "began", project / "go"
    os.mkfifo(go)
    (project / "tests" / "test_slow.py").write_text(
        "import os, pathlib\n\n\ndef test_slow():\n"
        f"    pathlib.Path({str(began)!r}).write_text(str(os.getpid()))\n    open({str(go)!r}).read()\n"
    )
    shell.types(f"'{sys.executable}' -m pytest --hotplug-watch")
    eventually(lambda: began.exists() and bool(began.read_text()), "the test's begin")
    run = int(began.read_text())
    shell.presses("\x1a")
    shell.sees("Stopped", "ready> ")
    eventually(lambda: state_of(run) == "T", "the run's stop")
    shell.types("bg")
    eventually(lambda: state_of(run) != "T", "the run's continuation")
    go.write_text("")
    shell.sees("hotplug: 5 passed")
    shell.types("fg")
    eventually(lambda: not shell.reads_lines, "single keys")
    shell.presses("h")
    shell.sees("run all tests")
    shell.presses("q")
    shell.sees("ready> ")


def state_of(pid: int) -> str:
    """Return the state of a process: R, S, T (stopped)."""
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]


@pytest.mark.parametrize("way", ["moved", "deleted"])
def test_a_project_that_is_gone_ends_the_watch(project: Path, way: str) -> None:
    """I move or delete the directory that I watch: one line says so, no traceback, and the exit code isn't 0."""
    with Watched(project) as watched:
        watched.verdict()
        if way == "moved":
            project.rename(project.with_name("elsewhere"))
        else:
            while project.exists():  # the map of the first run may be on its way to the disk
                shutil.rmtree(project, ignore_errors=True)
        while "[project-gone]" not in watched.next("fallback")["reason"]:
            pass  # its warm processes may have ended before
        assert watched.process.wait(20) == 1
        assert "Traceback" not in "".join(watched.said)


def test_a_plugin_dir_of_the_command_line_is_all_that_is_needed(project: Path) -> None:
    """--hotplug-plugins counts from the start, also where no other plugin dir is."""
    (project / "plugins").rename(project / "mine")
    (project / "pyproject.toml").write_text("[tool.pytest.ini_options]\n")
    command = [sys.executable, "-m", "pytest", "--hotplug-plugins=mine", "-q", "mine"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1, done.stdout  # pipeline names the package that its plugin dir gives to greeter
    assert "test_it_counts" not in done.stdout
    assert "2 passed" in done.stdout


def test_a_plugin_dir_that_is_not_there_is_refused(project: Path) -> None:
    """A typo in --hotplug-plugins is told before anything runs."""
    command = [sys.executable, "-m", "pytest", "--hotplug-plugins=nosuch", "-q"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 4
    assert "--hotplug-plugins=nosuch: there is no such directory [no-such-directory]" in done.stderr
