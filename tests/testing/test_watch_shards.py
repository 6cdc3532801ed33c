"""How tests are split over processes."""

from __future__ import annotations

from pytest_hotplug.testing.watch.shards import split


def test_a_little_work_stays_in_one_process() -> None:
    """Below 50 ms a second process would cost more than it saves."""
    tests = [f"test_{name}.py::test" for name in "abc"]
    assert split(tests, dict.fromkeys(tests, 0.01), 4) == [tests]


def test_the_longest_file_begins_and_files_stay_together() -> None:
    """Each file goes to the process that has the least to do; none is torn apart, none is lost."""
    seconds = {"long.py::one": 0.3, "long.py::two": 0.3, "short.py::one": 0.2, "middle.py::one": 0.35}
    assert split(list(seconds), seconds, 2) == [
        ["long.py::one", "long.py::two"],
        ["middle.py::one", "short.py::one"],
    ]


def test_there_are_never_more_processes_than_files() -> None:
    """One file is one process, however long it takes."""
    seconds = {"one.py::a": 1.0, "one.py::b": 1.0}
    assert split(list(seconds), seconds, 8) == [["one.py::a", "one.py::b"]]
