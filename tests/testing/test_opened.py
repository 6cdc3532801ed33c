"""What a test opened, looked for in vain or listed is known; what it wrote, and Python itself, is left out."""

from __future__ import annotations

import glob
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from pytest_hotplug.testing.opened import OpenedFiles


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a file and a directory in it, as a real path."""
    place = Path(os.path.realpath(tmp_path))
    (place / "data.json").write_text("{}")
    (place / "inner").mkdir()
    monkeypatch.chdir(place)
    return place


@contextmanager
def recorded() -> Iterator[set[Path]]:
    """Fill the set that the block gets when the block ends."""
    seen: set[Path] = set()
    files = OpenedFiles()
    files.start()
    try:
        yield seen
    finally:
        seen |= files.stop()


def _read_by_descriptor() -> None:
    os.close(os.open("data.json", os.O_RDONLY))


READS: dict[str, Callable[[], object]] = {
    "open": lambda: open("data.json").close(),
    "open_bytes": lambda: open(b"data.json", "rb").close(),
    "pathlib": lambda: Path("data.json").read_text(),
    "os.open": _read_by_descriptor,
    "update": lambda: open("data.json", "r+").close(),
    "append_and_read": lambda: open("data.json", "a+").close(),
    "detour": lambda: Path("inner/../data.json").read_bytes(),
    "sqlite": lambda: sqlite3.connect("data.json").close(),
}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_a_file_that_is_read_is_seen(here: Path, read: Callable[[], object]) -> None:
    """However a test reads a file, it is known by its absolute path."""
    with recorded() as seen:
        read()
    assert seen == {here / "data.json"}


WRITES: dict[str, Callable[[], object]] = {
    "write": lambda: Path("data.json").write_text("new"),
    "append": lambda: open("data.json", "a").close(),
    "truncate": lambda: open("data.json", "w+").close(),
    "create": lambda: open("new.json", "x+").close(),
    "memory": lambda: sqlite3.connect(":memory:").close(),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_a_file_that_is_only_written_is_not_seen(here: Path, write: Callable[[], object]) -> None:
    """What a test creates or overwrites can't change its outcome, so it isn't listed."""
    with recorded() as seen:
        write()
    assert seen == set()


LISTINGS: dict[str, Callable[[], object]] = {
    "listdir": lambda: os.listdir("inner"),
    "scandir": lambda: list(os.scandir(b"inner")),
    "walk": lambda: list(os.walk("inner")),
    "iterdir": lambda: list(Path("inner").iterdir()),
    "glob": lambda: glob.glob("inner/*.json"),
    "path_glob": lambda: list(Path("inner").glob("*.json")),
}


@pytest.mark.parametrize("look", LISTINGS.values(), ids=LISTINGS)
def test_a_directory_that_is_listed_is_seen(here: Path, look: Callable[[], object]) -> None:
    """A test that lists a directory depends on which files it holds."""
    with recorded() as seen:
        look()
    assert here / "inner" in seen


def test_the_working_directory_is_seen_when_nothing_is_named(here: Path) -> None:
    """`os.listdir()` lists the directory the test was in, wherever it goes next."""
    with recorded() as seen:
        os.listdir()
        os.chdir("inner")
        os.listdir(None)
    assert seen == {here, here / "inner"}


def test_a_missing_file_is_seen(here: Path) -> None:
    """A test that looks for a file in vain depends on its absence."""
    with recorded() as seen, suppress(FileNotFoundError):
        open("settings.json").close()
    assert seen == {here / "settings.json"}


def test_links_are_followed(here: Path) -> None:
    """A file read through a link is known by its real path, which is the one that changes."""
    (here / "link.json").symlink_to("data.json")
    with recorded() as seen:
        Path("link.json").read_text()
    assert seen == {here / "data.json"}


def test_other_threads_count(here: Path) -> None:
    """A file that a test reads in a thread of its own is the test's."""
    with recorded() as seen:
        thread = threading.Thread(target=Path("data.json").read_text)
        thread.start()
        thread.join()
    assert seen == {here / "data.json"}


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and /dev")
def test_python_and_the_system_are_left_out(here: Path) -> None:
    """Files of the standard library, of installed packages and of the kernel never count."""
    with recorded() as seen:
        for name in (os.__file__, pytest.__file__, "/proc/self/stat", "/dev/null"):
            open(name).close()
        os.listdir(os.path.dirname(pytest.__file__))
        os.close(os.open("/proc/self/../self/stat", os.O_RDONLY))
    assert seen == set()


def test_nothing_counts_before_and_after(here: Path) -> None:
    """Only what happens between start and stop is listed, and a second recording starts empty."""
    files = OpenedFiles()
    Path("data.json").read_text()
    files.start()
    assert files.stop() == frozenset()
    Path("data.json").read_text()
    files.start()
    os.listdir("inner")
    assert files.stop() == {here / "inner"}
    assert files.stop() == frozenset()


def test_recordings_may_overlap(here: Path) -> None:
    """A fixture's files and its test's are told apart, whichever ends first."""
    fixture, test = OpenedFiles(), OpenedFiles()
    fixture.start()
    Path("data.json").read_text()
    test.start()
    os.listdir("inner")
    assert fixture.stop() == {here / "data.json", here / "inner"}
    os.listdir(here)
    assert test.stop() == {here / "inner", here}


def test_odd_names_hurt_nobody(here: Path) -> None:
    """Descriptors, names that can't be and a directory that is gone stay the test's own affair."""
    gone = here / "gone"
    gone.mkdir()
    with recorded() as seen:
        with suppress(ValueError):
            open("a\0b").close()
        os.close(descriptor := os.open("data.json", os.O_RDONLY))
        with pytest.raises(OSError, match="Bad file descriptor"):
            open(descriptor).close()
        if sys.platform == "linux":
            os.chdir(gone)
            gone.rmdir()
            assert os.listdir() == []
            os.chdir(here)
    assert seen == {here / "data.json"}


def test_a_process_that_never_records_has_no_hook() -> None:
    """Whoever doesn't record pays nothing: the hook comes with the first recording, and only once."""
    story = """
import sys
hooks = []
add, sys.addaudithook = sys.addaudithook, hooks.append
from pytest_hotplug.testing.opened import OpenedFiles
files = OpenedFiles()
print(len(hooks))
for _ in range(3):
    files.start(), files.stop()
print(len(hooks))
"""
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", story], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "1"]
