"""Watch mode with warm processes: the same verdicts as fresh ones, from the level that is promised, nothing left."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.cli.terminal import wait_for
from tests.reloader.workshop import eventually
from tests.testing.watched import Watched, children_of, delete, is_alive, make_project, save

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="warm processes need Linux")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The project of three plugins, with a source that one test file imports."""
    root = make_project(tmp_path)
    (root / "words.py").write_text("WORD = 'hello'\n")
    (root / "tests" / "test_word.py").write_text(
        "from words import WORD\n\n\ndef test_word():\n    assert WORD.startswith('h')\n"
    )
    save(root / "pyproject.toml", "testpaths", 'pythonpath = ["."]\ntestpaths')
    return root


@pytest.fixture
def watched(project: Path) -> Iterator[Watched]:
    """Watch the project until all tests are collected beside the watch."""
    with Watched(project) as watched:
        assert watched.verdict()["passed"] == 5
        watched.next("armed")
        yield watched


def main_of(project: Path, name: str) -> Path:
    return project / "plugins" / name / "main.py"


def level(watched: Watched) -> str:
    return str(watched.next("run")["level"])


def counts(verdict: dict[str, Any]) -> tuple[int, int, int]:
    return verdict["passed"], verdict["failed"], verdict["errors"]


def chain_of(watched: Watched) -> list[psutil.Process]:
    """Return the parked processes: the configured one, then the one that has collected."""
    for child in psutil.Process(watched.process.pid).children():
        if "pytest" in child.cmdline() and child.children():
            return [child, *child.children()]
    raise AssertionError("there is no chain")


# -- levels -----------------------------------------------------------------------------------


def test_an_edit_of_a_plugin_leaves_what_is_collected(watched: Watched, project: Path) -> None:
    """Plugins are loaded at run time: edit after edit is run from the same collection, and sees the last bytes."""
    for old, new, expected in (("1", "2", (0, 1, 0)), ("2", "3", (0, 1, 0)), ("3", "1", (1, 0, 0))):
        save(main_of(project, "counter"), f"return {old}", f"return {new}")
        assert level(watched) == "collected"
        assert counts(watched.verdict()) == expected
    save(project / "plugins" / "greeter" / "words.json", '"hello"}', '"good day"}')
    assert level(watched) == "collected"
    assert counts(watched.verdict()) == (2, 0, 0)
    assert not [event for event in watched.events if event["event"] == "fallback"]


def test_an_edit_of_a_test_or_a_source_is_collected_anew(watched: Watched, project: Path) -> None:
    """The run begins where nothing of the project is imported; afterwards all is collected again beside."""
    test = project / "plugins" / "counter" / "test_counter.py"
    save(test, "== 1", "== 2")
    run = watched.next("run")
    assert (run["level"], "test_counter.py" in run["because"]) == ("configured", True)
    assert counts(watched.verdict()) == (0, 1, 0)
    watched.next("armed")
    save(main_of(project, "counter"), "return 1", "return 2")
    assert level(watched) == "collected"
    assert counts(watched.verdict()) == (1, 0, 0)

    save(project / "words.py", "'hello'", "'bye'")
    run = watched.next("run")
    assert (run["level"], run["because"]) == (
        "configured",
        "words.py was imported or read by the collection",
    )
    # The test that was edited just before may come along; the three that never import it do not.
    assert counts(watched.verdict()) in ((0, 1, 0), (1, 1, 0))


def test_a_plugin_that_a_test_imports_itself_is_collected_anew(watched: Watched, project: Path) -> None:
    """The test module holds the plugin's objects: an edit of it is an edit of what was collected."""
    test = project / "plugins" / "counter" / "test_counter.py"
    test.write_text("from plugins.counter.main import run\n\n\ndef test_it_counts():\n    assert run() == 1\n")
    assert counts(watched.verdict()) == (1, 0, 0)
    watched.next("armed")
    save(main_of(project, "counter"), "return 1", "return 2")
    run = watched.next("run")
    assert (run["level"], run["because"]) == ("configured", "main.py was imported or read by the collection")
    assert counts(watched.verdict()) == (0, 1, 0)


def test_an_edit_of_the_configuration_starts_all_anew(watched: Watched, project: Path) -> None:
    """pytest has read it: that run gets a fresh process, with a line, and the next ones are warm again."""
    save(project / "pyproject.toml", "testpaths", 'addopts = ["-k", "not pipes"]\ntestpaths')
    assert "pyproject.toml configures pytest" in watched.next("fallback")["reason"]
    assert level(watched) == "cold"
    assert counts(watched.verdict()) == (4, 0, 0)
    watched.next("armed")
    save(main_of(project, "counter"), "return 1", "return 2")
    assert level(watched) == "collected"
    assert counts(watched.verdict()) == (0, 1, 0)


def test_new_and_deleted_tests_are_found(watched: Watched, project: Path) -> None:
    """A new test file runs at once and belongs to the next collection; a deleted one is gone from it."""
    (project / "tests" / "test_new.py").write_text("def test_new(hotplug):\n    assert hotplug.load('counter')\n")
    assert level(watched) == "configured"
    assert counts(watched.verdict()) == (1, 0, 0)
    watched.next("armed")
    save(main_of(project, "counter"), "return 1", "return 2 - 1")
    assert "test_it_counts" in watched.chosen()  # the new one only loads the plugin
    assert level(watched) == "collected"
    assert watched.verdict()["failed"] == 0
    delete(project / "plugins" / "counter")
    while watched.next("armed")["tests"] != 5:  # as often as it is found half deleted
        continue


def test_a_conftest_is_executed_again(watched: Watched, project: Path) -> None:
    """A new conftest and each edit of it count at once."""
    conftest = project / "plugins" / "counter" / "conftest.py"
    conftest.write_text("import pytest\n\n\n@pytest.fixture(autouse=True)\ndef broken():\n    assert 1 == 2\n")
    assert counts(watched.verdict()) == (0, 0, 1)
    save(conftest, "1 == 2", "2 == 2")
    assert counts(watched.verdict()) == (1, 0, 0)


def test_a_file_that_appears_where_modules_are_looked_for_changes_nothing(watched: Watched, project: Path) -> None:
    """The import system lists the project's root; a file there that is no source is nothing that was collected."""
    (project / "notes.txt").write_text("1")
    watched.next("change", paths=["notes.txt"])
    save(main_of(project, "counter"), "return 1", "return 2")
    assert level(watched) == "collected"


# -- the same verdicts ------------------------------------------------------------------------

EDITS: list[tuple[str, str, str]] = [
    ("plugins/counter/main.py", "return 1", "return 2"),
    ("plugins/counter/main.py", "return 2", "return = 2"),
    ("plugins/counter/main.py", "return = 2", "return 1"),
    ("plugins/greeter/words.json", ': "hello"}', ': "hello"'),
    ("plugins/greeter/words.json", ': "hello"', ': "hello"}'),
    ("words.py", "'hello'", "'bye'"),
    ("tests/test_word.py", "assert", "assert not"),
    ("plugins/counter/test_counter.py", "def test_it_counts", "def broken(:\n\n\ndef test_it_counts"),
    ("plugins/counter/test_counter.py", "def broken(:\n\n\n", ""),
    ("plugins/greeter/plugin.json", '"greeter"', '"welcome"'),
]


def play(project: Path, **environment: str) -> list[Any]:
    """Return what stands after each edit; how many tests ran for it depends on how quickly the next one comes."""
    told = []
    with Watched(project, environment=environment) as watched:
        watched.verdict()
        if not environment:
            watched.next("armed")
        for file, old, new in EDITS:
            save(project / file, old, new)
            verdict = watched.verdict()
            failures = sorted((failure["nodeid"], failure["line"]) for failure in verdict["failures"])
            told.append((file, new, verdict["skipped"], verdict["outdated"], failures))
    return told


def test_warm_and_fresh_processes_agree(project: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Any edit gets the same verdict, down to the lines of failures, whether or not processes are warm."""
    copy = tmp_path_factory.mktemp("copy") / "project"
    shutil.copytree(project, copy)
    assert play(project) == play(copy, HOTPLUG_WATCH_COLD="1")


def test_fresh_processes_can_be_asked_for(project: Path) -> None:
    """HOTPLUG_WATCH_COLD gives each run a process of its own, and says so."""
    with Watched(project, environment={"HOTPLUG_WATCH_COLD": "1"}) as watched:
        assert "HOTPLUG_WATCH_COLD is set" in watched.next("fallback")["reason"]
        watched.verdict()
        save(main_of(project, "counter"), "return 1", "return 2")
        assert level(watched) == "cold"
        assert counts(watched.verdict()) == (0, 1, 0)


def test_each_run_has_its_own_directory_output_and_chance(project: Path) -> None:
    """What a run leaves in tmp_path, prints or draws is not seen by the next one."""
    seen = project / "seen.txt"
    (project / "plugins" / "counter" / "test_counter.py").write_text(
        "import os, random\n\n\ndef test_it_counts(hotplug, tmp_path, capfd):\n    hotplug.load('counter').execute()\n"
        "    assert not list(tmp_path.glob('left'))\n    (tmp_path / 'left').touch()\n"
        "    print('once')\n    assert capfd.readouterr().out == 'once\\n'\n"
        f"    with open({str(seen)!r}, 'a') as seen:\n        seen.write(f'{{os.getpid()}} {{random.random()}}\\n')\n"
    )
    with Watched(project) as watched:
        watched.verdict()
        watched.next("armed")
        for number in range(1, 4):
            save(main_of(project, "counter"), f"return {number}", f"return {number + 1}")
            assert level(watched) == "collected"
            assert counts(watched.verdict()) == (1, 0, 0)
    lines = seen.read_text().splitlines()
    assert len({line.split()[0] for line in lines}) == len({line.split()[1] for line in lines}) == 4


# -- when it can't be done --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("conftest", "reason"),
    [
        ("import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n", "1 more thread"),
        ("import socket\nKEPT = socket.socket()\n", "leaves a connection"),
        ("import subprocess, sys\nKEPT = subprocess.Popen([sys.executable, '-c', 'input()'], stdin=-1)\n", "a process"),
    ],
)
def test_what_runs_cannot_share_is_not_shared(project: Path, conftest: str, reason: str) -> None:
    """A thread, a connection, a process that a conftest starts: each run has its own, with a line that says why."""
    (project / "conftest.py").write_text(conftest)
    with Watched(project) as watched:
        watched.verdict()
        assert reason in watched.next("fallback")["reason"]
        save(main_of(project, "counter"), "return 1", "return 2")
        assert level(watched) == "configured"
        assert watched.verdict()["failed"] == 1


def test_what_the_end_of_a_session_takes_away_is_there_for_the_next_run(project: Path) -> None:
    """A conftest makes a directory at the start and removes it at the end: each run begins at a start."""
    (project / "conftest.py").write_text(
        "import shutil, tempfile\n\n\ndef pytest_configure(config):\n    config.place = tempfile.mkdtemp()\n\n\n"
        "def pytest_unconfigure(config):\n    shutil.rmtree(config.place)\n"
    )
    (project / "plugins" / "counter" / "test_counter.py").write_text(
        "import os\n\n\ndef test_it_counts(hotplug, pytestconfig):\n    hotplug.load('counter').execute()\n"
        "    assert os.path.isdir(pytestconfig.place)\n"
    )
    with Watched(project) as watched:
        watched.verdict()
        for number in range(1, 4):
            watched.next("armed")
            save(main_of(project, "counter"), f"return {number}", f"return {number + 1}")
            assert level(watched) == "collected"
            assert counts(watched.verdict()) == (1, 0, 0)


def test_what_conftests_put_into_the_environment_is_there_for_imports(project: Path) -> None:
    """A module that reads it at import is not imported ahead of the conftest."""
    place = project / ".venv-like"
    place.mkdir()
    (place / "reads_early.py").write_text("import os\nSAW = os.environ.get('FOR_IMPORTS')\n")
    (project / "conftest.py").write_text("import os\nos.environ['FOR_IMPORTS'] = 'yes'\nimport reads_early\n")
    test = project / "plugins" / "counter" / "test_counter.py"
    test.write_text("import reads_early\n\n\ndef test_it_counts():\n    assert reads_early.SAW == 'yes'\n")
    with Watched(project, environment={"PYTHONPATH": str(place)}) as watched:
        watched.verdict()
        for number in range(3):
            watched.next("armed")
            test.write_text(test.read_text() + f"# {number}\n")
            assert level(watched) == "configured"
            assert counts(watched.verdict()) == (1, 0, 0)


# -- edits at any moment ----------------------------------------------------------------------


@pytest.mark.parametrize("moment", ["before", "collection", "test", "teardown"])
def test_an_edit_at_any_moment_is_not_lost(project: Path, moment: str) -> None:
    """Whatever a run is doing when the file is saved, the last verdict is about the last bytes."""
    began, go = project / "began", project / "go"
    wait = (
        f"import pathlib, time\n\n\ndef wait(now):\n    if now == {moment!r} and {str(began)!r}:\n"
        f"        pathlib.Path({str(began)!r}).touch()\n"
        f"        while not pathlib.Path({str(go)!r}).exists():\n            time.sleep(0.001)\n"
    )
    (project / "waiting.py").write_text(wait)
    test = project / "plugins" / "counter" / "test_counter.py"
    with Watched(project) as watched:
        watched.verdict()
        watched.next("armed")
        test.write_text(
            "import pytest\nfrom waiting import wait\n\nwait('collection')\n\n\n"
            "@pytest.fixture\ndef slow():\n    yield\n"
            "    wait('teardown')\n\n\ndef test_it_counts(hotplug, slow):\n    wait('test')\n"
            "    assert hotplug.load().execute() == 2\n"
        )
        if moment != "before":
            wait_for(began)
        save(main_of(project, "counter"), "return 1", "return 2")
        if moment != "before":
            watched.next("change", paths=["plugins/counter/main.py"])
        go.touch()
        assert counts(watched.verdict())[0] == 1


def test_a_file_that_is_written_in_two_steps_is_run_once(watched: Watched, project: Path) -> None:
    """A saver that truncates first: no failure of the empty file is ever told."""
    main = main_of(project, "counter")
    text = main.read_text().replace("return 1", "return 2 - 1")
    with open(main, "w") as file:
        watched.next("change")
        file.write(text)
    assert counts(watched.verdict()) == (1, 0, 0)
    assert {event["outcome"] for event in watched.events if event["event"] == "report"} == {"passed"}


# -- many tests -------------------------------------------------------------------------------


def test_many_tests_are_split_over_processes(project: Path) -> None:
    """Three files of slow tests run in two processes; the verdict and the failures are those of one run."""
    for name in ("one", "two", "three"):
        (project / "tests" / f"test_{name}.py").write_text(
            "import os, time\nfrom pathlib import Path\n\n\n"
            f"def test_{name}(hotplug):\n    hotplug.load('counter').execute()\n    time.sleep(1)\n"
            f"    Path({str(project / name)!r}).write_text(str(os.getpid()))\n    assert {name!r} != 'two'\n"
        )
    with Watched(project, "-p", "xdist", "-n", "2") as watched:
        assert "-n 2" in watched.next("fallback")["reason"]
        watched.verdict()
        watched.next("armed")
        save(main_of(project, "counter"), "return 1", "return 2 - 1")
        assert watched.next("run")["processes"] == 2
        verdict = watched.verdict()
        assert counts(verdict) == (3, 1, 0)
        assert [failure["nodeid"] for failure in verdict["failures"]] == ["tests/test_two.py::test_two"]
        watched.wait_for_text("assert 'two' != 'two'")
    assert len({(project / name).read_text() for name in ("one", "two", "three")}) == 2


# -- the spare --------------------------------------------------------------------------------


def await_end(process: int) -> None:
    eventually(lambda: not is_alive(process), f"the end of process {process}")


def spare_of(watched: Watched) -> psutil.Process:
    """Return the process that has been forked ahead, once it waits for its work."""
    collected = chain_of(watched)[1]
    there: list[psutil.Process] = []

    def waits() -> bool:
        there[:] = collected.children()
        try:
            return [child.status() for child in there] == ["sleeping"]
        except psutil.NoSuchProcess:  # the last run's process, just gone
            return False

    eventually(waits, "the spare")
    return there[0]


@pytest.fixture
def told(watched: Watched, project: Path) -> Path:
    """Return the file in which counter tells which process has executed it."""
    told = project.parent / "process.txt"
    text = f"import os, pathlib\n\n\ndef run():\n    pathlib.Path({str(told)!r}).write_text(str(os.getpid()))\n"
    main_of(project, "counter").write_text(f"{text}    return 1\n")
    assert counts(watched.verdict()) == (1, 0, 0)
    await_end(int(told.read_text()))
    return told


def test_the_process_of_the_next_run_is_there_before_the_edit(watched: Watched, project: Path, told: Path) -> None:
    """It waits where all is collected; each edit finds another one, and sees the last bytes."""
    for old, new, expected in (("1", "2", (0, 1, 0)), ("2", "3", (0, 1, 0)), ("3", "1", (1, 0, 0))):
        spare = spare_of(watched)
        save(main_of(project, "counter"), f"return {old}", f"return {new}")
        assert counts(watched.verdict()) == expected
        assert int(told.read_text()) == spare.pid
        await_end(spare.pid)


def test_an_order_of_many_tests_reaches_the_spare(project: Path) -> None:
    """It is longer than what a socket holds at once."""
    (project / "tests" / "many.txt").write_text("1")
    (project / "tests" / "test_many.py").write_text(
        "import pathlib, pytest\n\n\n@pytest.fixture(scope='module')\ndef many():\n"
        "    return pathlib.Path(__file__).with_name('many.txt').read_text()\n\n\n"
        "@pytest.mark.parametrize('number', [f'{number:0>150}' for number in range(1500)])\n"
        "def test_many(number, many):\n    assert many == '1'\n"
    )
    with Watched(project, "tests") as watched:
        assert watched.verdict()["passed"] == 1502
        watched.next("armed")
        spare_of(watched)
        save(project / "tests" / "many.txt", "1", "2")
        assert level(watched) == "collected"
        assert counts(watched.verdict()) == (0, 1500, 0)


def test_a_spare_that_is_killed_is_not_missed(watched: Watched, project: Path, told: Path) -> None:
    """The run is forked for when it is asked for; no line, no other level."""
    spare = spare_of(watched)
    spare.kill()
    await_end(spare.pid)
    said = len(watched.said)
    save(main_of(project, "counter"), "return 1", "return 2")
    assert level(watched) == "collected"
    assert counts(watched.verdict()) == (0, 1, 0)
    assert int(told.read_text()) != spare.pid
    assert not any("ended" in line for line in watched.said[said:])


def test_a_spare_ends_with_whoever_it_was_forked_from(watched: Watched, project: Path) -> None:
    """An edit of a test makes the collection old, and what was forked from it."""
    spare, collected = spare_of(watched), chain_of(watched)[1]
    save(project / "plugins" / "counter" / "test_counter.py", "== 1", "== 2")
    assert counts(watched.verdict()) == (0, 1, 0)
    await_end(collected.pid)
    await_end(spare.pid)


def test_a_spare_whose_parent_is_killed_ends(watched: Watched) -> None:
    """Nobody else would end it."""
    spare = spare_of(watched)
    chain_of(watched)[1].kill()
    await_end(spare.pid)


# -- ends -------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", [0, 1])
def test_a_warm_process_that_is_killed_is_started_again(watched: Watched, project: Path, which: int) -> None:
    """The watch says so, runs the next edit all the same, and is warm again; nothing is left of the old ones."""
    chain = chain_of(watched)
    chain[which].kill()
    assert "ended (signal 9)" in watched.next("fallback")["reason"]
    watched.next("armed")
    eventually(lambda: not is_alive(chain[1].pid), "the end of what it had forked")
    save(main_of(project, "counter"), "return 1", "return 2")
    assert level(watched) == "collected"
    assert counts(watched.verdict()) == (0, 1, 0)


@pytest.mark.parametrize("which", [0, 1])
def test_a_run_whose_warm_process_is_killed_begins_again(watched: Watched, project: Path, which: int) -> None:
    """In the middle of a test: the verdict comes, from another process."""
    began, go = project / "began", project / "go"
    main_of(project, "counter").write_text(
        f"import pathlib, time\n\n\ndef run():\n    pathlib.Path({str(began)!r}).touch()\n"
        f"    while not pathlib.Path({str(go)!r}).exists():\n        time.sleep(0.001)\n    return 1\n"
    )
    wait_for(began)
    chain_of(watched)[which].kill()
    watched.next("fallback")
    go.touch()
    assert counts(watched.verdict()) == (1, 0, 0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("running", [False, True], ids=["at rest", "in a test"])
def test_nothing_is_left_of_the_warm_processes(
    project: Path, tmp_path_factory: pytest.TempPathFactory, number: signal.Signals, running: bool
) -> None:
    """However the watch ends: no process, and no temporary file but what pytest itself keeps."""
    place = tmp_path_factory.mktemp("tmp")
    began = project / "began"
    with Watched(project, environment={"TMPDIR": str(place)}) as watched:
        watched.verdict()
        watched.next("armed")
        if running:
            main_of(project, "counter").write_text(
                f"import pathlib, signal\n\n\ndef run():\n    pathlib.Path({str(began)!r}).touch()\n"
                "    signal.pause()\n"
            )
            wait_for(began)
        children = children_of(watched.process.pid)
        assert len(children) >= 3
        watched.process.send_signal(number)
        if running and number == signal.SIGINT:  # the first one cancels the run
            watched.verdict()
            watched.process.send_signal(number)
        watched.process.wait(20)
        eventually(lambda: not [pid for pid in children if is_alive(pid)], "the end of all of them")
    kept = {path.name.split("-")[0] for path in place.iterdir()}
    assert kept <= {"pytest"}
    assert not list(place.rglob(".lock"))
    assert os.path.isdir(place)
