"""The recorder and the map by themselves, as a watch uses them."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import pytest

from pytest_hotplug.testing.affected.contents import Contents, Dependency
from pytest_hotplug.testing.affected.facts import Facts
from pytest_hotplug.testing.affected.first_party import FirstParty
from pytest_hotplug.testing.affected.map import Look, Map, Seen
from pytest_hotplug.testing.affected.recorder import Recorder
from pytest_hotplug.testing.affected.select import affected_by
from pytest_hotplug.testing.affected.storage import Storage

TESTS = 10_000


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork")
def test_a_forked_child_records_plain_facts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A recorder that was started before the fork records in the child; its facts pass through JSON."""
    (tmp_path / "recorded_module.py").write_text(
        "def used():\n    return open(__file__.replace('.py', '.txt')).read()\n"
    )
    (tmp_path / "recorded_module.txt").write_text("text")
    monkeypatch.syspath_prepend(str(tmp_path))
    recorder = Recorder(FirstParty(tmp_path))
    recorder.start()
    try:
        import recorded_module  # type: ignore[import-not-found]  # written above

        recorder.collected()
        reader, writer = os.pipe()
        if os.fork() == 0:
            own = Facts()
            with recorder.crediting(own):
                recorded_module.used()
            os.write(writer, json.dumps(recorder.parts(str(tmp_path / "test_it.py"), own)).encode())
            os._exit(0)
        os.wait()
        parts = json.loads(os.read(reader, 1 << 20))
    finally:
        recorder.stop()
        sys.modules.pop("recorded_module", None)
    known, contents = Map(), Contents(FirstParty(tmp_path))
    look = Look(contents)
    known.learn("test_it.py::test", map(look.at, parts), "passed")
    (tmp_path / "recorded_module.txt").write_text("other")
    chosen = affected_by(known, ["recorded_module.txt"], Contents(FirstParty(tmp_path)), FirstParty(tmp_path)).chosen
    assert chosen == {"test_it.py::test": "recorded_module.txt changed"}
    (tmp_path / "recorded_module.py").write_text("def used():\n    return 1\n")
    chosen = affected_by(known, ["recorded_module.py"], Contents(FirstParty(tmp_path)), FirstParty(tmp_path)).chosen
    assert chosen == {"test_it.py::test": "recorded_module.py: used() changed"}


def test_ten_thousand_tests_are_answered_for_in_milliseconds(tmp_path: Path) -> None:
    """A save must not wait for the map: the best of several answers takes less than 30 ms, on a busy machine too."""
    first_party = FirstParty(tmp_path)
    for number in range(100):
        (tmp_path / f"m{number}.py").write_text(f"def f():\n    return {number}\n\n\ndef g():\n    return 0\n")
    contents, known = Contents(first_party), Map()
    shared = [Seen(d, contents.digest(d)) for d in (Dependency("block", f"m{n}.py", "<module>") for n in range(100))]
    for number in range(TESTS):
        what = Dependency("block", f"m{number % 100}.py", "f()")
        known.learn(f"test_{number}", [shared, [Seen(what, contents.digest(what))]], "passed")
    (tmp_path / "m7.py").write_text("def f():\n    return 'new'\n\n\ndef g():\n    return 0\n")
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        selection = affected_by(known, ["m7.py"], Contents(first_party), first_party)
        seconds.append(time.perf_counter() - started)
        assert (len(selection.chosen), selection.left_out) == (TESTS // 100, TESTS - TESTS // 100)
    assert min(seconds) < 0.030, seconds


def test_what_a_run_learned_is_taken_over() -> None:
    """A test that ran again has its new dependencies alone."""
    old, new = Seen(Dependency("file", "a"), "1"), Seen(Dependency("file", "b"), "2")
    known, learned = Map(), Map()
    known.learn("t", [[old]], "failed")
    known.learn("other", [[old]], "passed")
    learned.learn("t", [[new]], "passed")
    known.take(learned)
    assert known.dependencies("t") == {new}
    assert [seen for _, seen in known.seen_at("a")] == [old]
    known.forget("other")
    assert [seen for _, seen in known.seen_at("a")] == []


def test_writing_never_brings_back_a_project_that_was_deleted(tmp_path: Path) -> None:
    """Its state directory is made as deep as it was set, but never the project around it."""
    root = tmp_path / "project"
    storage = Storage(root, root / "var" / "state")
    assert "[map-not-written]" in storage.write(Map())
    assert not root.exists()
    root.mkdir()
    assert storage.write(Map()) == ""
    assert storage.path.is_file()
