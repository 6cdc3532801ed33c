"""Lines get into the files whole, from any number of processes, and a file that can't be written hurts nobody."""

from __future__ import annotations

import itertools
import logging
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from pytest_hotplug.reloader.file_lock import file_lock
from pytest_hotplug.worker.log_files import LogFile, LogFiles
from tests.architecture.project import PROJECT

LINE = re.compile(r"<(\w+:\d+):y*>")
PLAIN = logging.Formatter("%(message)s")
WRITER = """
import os, sys
from pathlib import Path
from pytest_hotplug.worker.log_files import LogFile
path, who, count, size, keep, acknowledged = sys.argv[1:]
file = LogFile(Path(path), int(size), int(keep))
told = os.open(acknowledged, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
print("ready", flush=True)
sys.stdin.readline()
number = 0
while int(count) < 0 or number < int(count):
    file.write(f"<{who}:{number}:{'y' * (number * 37 % 200)}>")
    os.write(told, f"{who}:{number}\\n".encode())
    number += 1
"""
posix = pytest.mark.skipif(os.name != "posix", reason="a file in use is renamed on POSIX alone")


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def starts(path: Path, who: str, count: int, size: int, keep: int, acknowledged: Path) -> subprocess.Popen[bytes]:
    """Start a process that appends lines; it waits for a line on stdin."""
    arguments = (str(path), who, str(count), str(size), str(keep), str(acknowledged))
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, *arguments], cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )


def go(*writers: subprocess.Popen[bytes]) -> None:
    """Let all of them write from the same moment on."""
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write(b"\n")
        writer.stdin.flush()


def ended(*writers: subprocess.Popen[bytes]) -> list[int]:
    codes = []
    for writer in writers:
        codes.append(writer.wait(60))
        for pipe in (writer.stdin, writer.stdout):
            if pipe is not None:
                pipe.close()
    return codes


def lines(directory: Path, name: str = "app.log") -> list[str]:
    """Return the lines of the file and of all older ones, as any reader of logs finds them by their names."""
    found = [path for path in directory.iterdir() if re.fullmatch(rf"{name}(\.\d+)?", path.name)]
    return [line for path in found for line in path.read_text("utf-8", "replace").split("\n")[:-1]]


def log(handler: LogFiles, text: str, level: int = logging.INFO) -> None:
    handler.handle(logging.makeLogRecord({"msg": text, "levelno": level, "levelname": logging.getLevelName(level)}))


@pytest.fixture
def handler() -> LogFiles:
    """Give a handler that writes nothing yet; tests configure it."""
    return LogFiles()


# -- many processes ----------------------------------------------------------------------------


@posix
def test_no_line_of_several_workers_is_lost_or_torn(tmp_path: Path) -> None:
    """Four processes that fill a file every few dozen lines: each line is there, once and whole."""
    logs, told = tmp_path / "logs", tmp_path / "told"
    writers = [starts(logs / "app.log", f"w{n}", 1500, 5000, 1000, told) for n in range(4)]
    go(*writers)
    assert ended(*writers) == [0, 0, 0, 0]
    found = lines(logs)
    assert len(found) == 6000
    assert {match[1] for line in found if (match := LINE.fullmatch(line))} == set(told.read_text().split())
    assert len(list(logs.glob("app.log.*"))) > 50, "nothing was rotated"


@posix
@pytest.mark.slow
def test_a_worker_that_is_killed_loses_nothing_that_was_logged(tmp_path: Path, soak: float) -> None:
    """kill -9, mostly in the middle of a rotation: every line whose call had returned can be found by its name."""
    logs, told, rng = tmp_path / "logs", tmp_path / "told", random.Random(7)
    for round_ in range(int(12 * soak)):
        writers = [starts(logs / "app.log", f"r{round_}w{n}", -1, 400, 100_000, told) for n in range(2)]
        go(*writers)
        before = told.stat().st_size
        while told.stat().st_size < before + rng.randrange(200, 4000):
            time.sleep(0.001)
        for writer in writers:
            writer.kill()
        assert ended(*writers) == [-signal.SIGKILL, -signal.SIGKILL]
    found = [match[1] for line in lines(logs) if (match := LINE.fullmatch(line))]
    assert set(told.read_text().split()) <= set(found)
    assert len(found) == len(set(found))


def test_what_a_dying_worker_left_unfinished_takes_no_other_line_along(tmp_path: Path) -> None:
    """A line without an end stays alone: the next one begins on a line of its own."""
    (tmp_path / "app.log").write_text("<whole:1:y>\n<torn:1:yy")
    file = LogFile(tmp_path / "app.log")
    file.write("<next:1:y>")
    file.write("<next:2:y>")
    file.close()
    assert (tmp_path / "app.log").read_text() == "<whole:1:y>\n<torn:1:yy\n<next:1:y>\n<next:2:y>\n"


def test_nobody_waits_for_a_worker_that_stands_still_while_it_rotates(tmp_path: Path) -> None:
    """Its lock is asked for and not waited for: lines go on into the file that is there, and it is rotated later."""
    file = LogFile(tmp_path / "app.log", max_bytes=10)
    with file_lock(tmp_path / ".rotation.lock", timeout=5):
        for number in range(3):
            file.write(f"<held:{number}:yyyyyyyyyy>")
    assert [path.name for path in tmp_path.glob("app.log*")] == ["app.log"]
    file.write("<free:1:y>")
    file.close()
    assert [path.name for path in tmp_path.glob("app.log*")] == ["app.log.1"]
    assert len(lines(tmp_path)) == 4


def test_as_many_older_files_are_kept_as_promised(tmp_path: Path) -> None:
    """The newest is .1; the oldest goes; a gap that a killed rotation left is filled before anything goes."""
    file = LogFile(tmp_path / "app.log", max_bytes=1, keep=3)
    for number in range(5):
        file.write(str(number))
    assert {path.name: path.read_text() for path in tmp_path.glob("app.log*")} == {
        "app.log.1": "4\n", "app.log.2": "3\n", "app.log.3": "2\n",
    }  # fmt: skip
    (tmp_path / "app.log.2").unlink()
    file.write("5")
    assert [(tmp_path / f"app.log.{n}").read_text() for n in (1, 2, 3)] == ["5\n", "4\n", "2\n"]
    file.close()


def test_a_rotation_that_fails_loses_no_line_and_is_told(tmp_path: Path) -> None:
    """The file grows on, and the health says why; when the cause is gone the file is rotated."""
    file = LogFile(tmp_path / "app.log", max_bytes=1)
    (tmp_path / ".rotation.lock").mkdir()
    file.write("one")
    file.write("two")
    assert "can't be rotated and grows on: " in file.rotation_problem
    assert lines(tmp_path) == ["one", "two"]
    file.close()
    (tmp_path / ".rotation.lock").rmdir()
    again = LogFile(tmp_path / "app.log", max_bytes=1)
    again.write("three")
    again.close()
    assert (again.rotation_problem, (tmp_path / "app.log.1").exists()) == ("", True)


@posix
def test_a_forked_child_and_its_parent_share_the_file(tmp_path: Path) -> None:
    """Both go on with what they had open, over a rotation by either of them."""
    script = (
        "import os\nfrom pathlib import Path\nfrom pytest_hotplug.worker.log_files import LogFile\n"
        f"file = LogFile(Path({str(tmp_path / 'app.log')!r}), 300, 1000)\n"
        "file.write('<before:0:y>')\n"
        "who = 'parent' if (child := os.fork()) else 'child'\n"
        "for number in range(300):\n    file.write(f'<{who}:{number}:y>')\n"
        "if child:\n    assert os.waitpid(child, 0)[1] == 0\n"
    )
    subprocess.run([sys.executable, "-c", script], cwd=PROJECT, check=True, timeout=60)
    found = lines(tmp_path)
    assert len(found) == len(set(found)) == 601
    assert all(LINE.fullmatch(line) for line in found)


# -- files that go away ------------------------------------------------------------------------


@posix
def test_a_file_that_is_moved_or_deleted_is_made_anew(tmp_path: Path) -> None:
    """logrotate may rename it, an operator may delete it or the whole directory, while workers run."""
    file = LogFile(tmp_path / "logs/app.log")
    file.write("one")
    (tmp_path / "logs/app.log").rename(tmp_path / "moved.log")
    file.write("two")
    (tmp_path / "logs/app.log").unlink()
    file.write("three")
    shutil.rmtree(tmp_path / "logs")
    file.write("four")
    file.close()
    assert (tmp_path / "moved.log").read_text() == "one\n"
    assert (tmp_path / "logs/app.log").read_text() == "four\n"


@posix
def test_a_line_that_went_into_a_file_which_was_just_deleted_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look and the write the file may go: the line is not lost with it."""
    path = tmp_path / "app.log"
    file = LogFile(path)
    file.write("one")
    write = os.write

    def deletes_first(fd: int, data: bytes) -> int:
        monkeypatch.setattr(os, "write", write)
        path.unlink()
        return write(fd, data)

    monkeypatch.setattr(os, "write", deletes_first)
    file.write("two")
    file.close()
    assert path.read_text() == "two\n"


@posix
@pytest.mark.parametrize("made_anew", [False, True])
def test_a_file_that_is_rotated_while_it_is_opened_is_opened_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made_anew: bool
) -> None:
    """Another process may rename it at any moment: the line is not lost, and no end of another file is looked at."""
    path, opened = tmp_path / "app.log", os.open

    def renamed_before_reading(name: Path, flags: int, mode: int = 0o777) -> int:
        if not flags & os.O_WRONLY:
            monkeypatch.setattr(os, "open", opened)
            path.rename(tmp_path / "app.log.1")
            if made_anew:
                path.write_text("whole\n")
        return opened(name, flags, mode)

    monkeypatch.setattr(os, "open", renamed_before_reading)
    file = LogFile(path)
    file.write("one")
    file.close()
    assert path.read_text() == ("whole\n" if made_anew else "") + "one\n"


# -- files that can't be written ---------------------------------------------------------------


def test_a_directory_that_can_not_be_made_is_told_once_and_tried_again(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """One clear line, the records on stderr meanwhile, more and more rarely tried, and back when it works."""
    clock = Clock()
    handler = LogFiles(clock=clock)
    (tmp_path / "logs").write_text("a file is in the way")
    handler.configure(tmp_path / "logs", PLAIN, logging.INFO)
    log(handler, "one")
    log(handler, "two", logging.ERROR)
    shown = capfd.readouterr().err.splitlines()
    assert [line for line in shown if line != "hotplug.log_unwritable"] == ["one", "two"]
    assert shown.count("hotplug.log_unwritable") == 2  # one for each file
    assert f"{tmp_path / 'logs' / 'app.log'} can't be written: " in handler.problem
    (tmp_path / "logs").unlink()
    log(handler, "still too early")
    assert not (tmp_path / "logs").exists()
    clock.now += 1.0
    log(handler, "three")
    assert lines(tmp_path / "logs") == ["hotplug.log_writable", "three"]
    assert handler.problem == ""
    assert lines(tmp_path / "logs", "error.log") == ["hotplug.log_writable"]
    handler.close()


def test_pauses_between_attempts_grow_to_a_minute(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A full disk is not hammered at, and a mended one is found within a minute."""
    clock = Clock()
    handler = LogFiles(clock=clock)
    (tmp_path / "logs").write_text("a file is in the way")
    attempts, opened = [], os.open

    def counts(path: object, *arguments: object) -> int:
        if str(path).endswith("app.log"):
            attempts.append(clock.now)
        return opened(path, *arguments)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "open", counts)
        handler.configure(tmp_path / "logs", PLAIN, logging.INFO)
        for _ in range(4000):
            clock.now += 0.1
            log(handler, "x")
    pauses = [round(later - earlier) for earlier, later in itertools.pairwise(attempts)]
    assert pauses[:8] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert capfd.readouterr().err.count("hotplug.log_unwritable") == 2
    handler.close()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device that is always full")
def test_a_full_disk_hurts_no_call(tmp_path: Path, handler: LogFiles, capfd: pytest.CaptureFixture[str]) -> None:
    """The record goes to stderr, errors still go to the file that can take them, and nothing raises."""
    (tmp_path / "app.log").symlink_to("/dev/full")
    handler.configure(tmp_path, PLAIN, logging.INFO)
    log(handler, "one")
    log(handler, "two", logging.ERROR)
    assert "app.log can't be written: No space left on device" in handler.problem
    assert "error.log" not in handler.problem
    assert capfd.readouterr().err.splitlines() == ["hotplug.log_unwritable", "one", "two"]
    assert lines(tmp_path, "error.log") == ["hotplug.log_unwritable", "two"]
    handler.close()


@posix
def test_a_disk_that_is_full_in_the_middle_of_a_line_tears_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The piece that had room stays on its own line; the whole line is on stderr."""
    clock, write = Clock(), os.write
    handler = LogFiles(clock=clock)
    handler.configure(tmp_path, PLAIN, logging.INFO)
    log(handler, "one")
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:3]))
    log(handler, "second")
    monkeypatch.undo()
    clock.now += 1
    log(handler, "three")
    assert (tmp_path / "app.log").read_text() == "one\nsec\nhotplug.log_writable\nthree\n"
    assert capfd.readouterr().err.splitlines() == ["hotplug.log_unwritable"] * 2 + ["second"]  # error.log had no room
    handler.close()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes")
def test_a_named_pipe_without_a_reader_is_not_waited_for(
    tmp_path: Path, handler: LogFiles, capfd: pytest.CaptureFixture[str]
) -> None:
    """app.log may be anything: what can't be written at once counts as unwritable."""
    os.mkfifo(tmp_path / "app.log")
    handler.configure(tmp_path, PLAIN, logging.INFO)
    log(handler, "one")
    assert "app.log can't be written" in handler.problem
    assert capfd.readouterr().err.splitlines()[-1] == "one"
    handler.close()


def test_without_a_place_to_write_lines_are_counted(
    tmp_path: Path, handler: LogFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither file nor stderr: the call goes on, and the health says how many lines nobody will see."""
    (tmp_path / "logs").write_text("a file is in the way")
    monkeypatch.setattr(sys, "__stderr__", None)
    handler.configure(tmp_path / "logs", PLAIN, logging.INFO)
    log(handler, "one")
    assert "3 lines could be written nowhere: the process has no stderr" in handler.problem
    handler.close()


def test_lines_that_were_lost_are_told_in_the_file_and_no_longer_by_the_health(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once the file can be written again all is well: a worker is not degraded until it is restarted."""
    clock = Clock()
    handler = LogFiles(clock=clock)
    (tmp_path / "logs").write_text("a file is in the way")
    monkeypatch.setattr(sys, "__stderr__", None)
    handler.configure(tmp_path / "logs", logging.Formatter("%(message)s %(text)s", defaults={"text": ""}), logging.INFO)
    log(handler, "one")
    assert "lines could be written nowhere" in handler.problem
    (tmp_path / "logs").unlink()
    clock.now += 60
    log(handler, "two")
    assert handler.problem == ""
    told, two = lines(tmp_path / "logs")
    assert two.strip() == "two"
    assert "1 lines are missing here, see stderr; 3 could be written nowhere" in told
    handler.close()


def test_a_formatter_that_fails_hurts_no_call(tmp_path: Path, handler: LogFiles) -> None:
    """Whatever goes wrong inside the log is counted, not raised."""

    class Broken(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            raise KeyError("oops")

    handler.configure(tmp_path, Broken(), logging.INFO)
    log(handler, "one")
    assert handler.problem == "1 lines could be written nowhere: KeyError: 'oops'"
    handler.close()


def test_the_health_finds_out_by_itself_that_a_file_can_be_written_again(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A worker with nothing to log does not stay degraded."""
    clock = Clock()
    handler = LogFiles(clock=clock)
    (tmp_path / "logs").write_text("a file is in the way")
    handler.configure(tmp_path / "logs", PLAIN, logging.INFO)
    (tmp_path / "logs").unlink()
    assert handler.problem != ""
    clock.now += 1
    assert handler.problem == ""
    assert capfd.readouterr().err.count("hotplug.log_unwritable") == 2
    handler.close()


def test_threads_share_a_handler(tmp_path: Path) -> None:
    """Lines of many threads are whole, over rotations too."""
    handler = LogFiles(max_bytes=500, keep=1000)
    handler.configure(tmp_path, PLAIN, logging.INFO)

    def writes(who: str) -> None:
        for number in range(200):
            log(handler, f"<{who}:{number}:y>")

    threads = [threading.Thread(target=writes, args=(f"t{n}",)) for n in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    handler.close()
    found = lines(tmp_path)
    assert len(found) == len(set(found)) == 1000
    assert all(LINE.fullmatch(line) for line in found)
