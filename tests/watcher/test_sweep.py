"""Our own sweep sees what a coarse clock hides."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_hotplug.watcher import Watching, watch
from pytest_hotplug.watcher.content import digest_file
from pytest_hotplug.watcher.survey import Survey, survey
from pytest_hotplug.watcher.sweep import Sweep
from tests.watcher.listening import Listener, save

OLD = (1_000_000_000, 1_000_000_000)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def with_a_stopped_clock(roots: Iterable[str]) -> Survey:
    """Look over the roots as on a file system whose clock has not ticked since."""
    looked = survey(roots)
    seen = {path: sign._replace(mtime_ns=7, ctime_ns=2**62, inode=7) for path, sign in looked.seen.items()}
    return replace(looked, seen=seen)


@pytest.fixture
def module(root: Path) -> Path:
    return root / "greeter" / "main.py"


def test_two_edits_of_one_size_within_one_second_are_both_seen(
    root: Path, module: Path, watches: list[Watching]
) -> None:
    """W4: I save twice in a hurry, and both saves are served, though polling finds them."""
    listener = Listener()
    watches.append(watch([root], listener, force_polling=True, poll_interval=0.05, debounce=0))
    for text in ("A = 1\n", "A = 2\n", "A = 3\n"):
        listener.forget()
        module.write_text(text, encoding="utf-8")
        assert listener.hears(module)


def test_an_edit_in_the_same_tick_with_the_same_size_is_found_by_content(root: Path, module: Path) -> None:
    """W4: On a network disk with a coarse clock my second edit looks like the first, and is found."""
    module.write_text("A = 1\n", encoding="utf-8")
    sweep = Sweep([os.fspath(root)], reads=True, look_over=with_a_stopped_clock)
    assert sweep.look() == set()
    assert sweep.look() == set()
    for text in ("A = 2\n", "A = 3\n"):
        module.write_text(text, encoding="utf-8")
        assert sweep.look() == {os.fspath(module)}
        assert sweep.look() == set()


def test_a_file_is_read_until_it_is_old_and_once_more(root: Path, module: Path) -> None:
    """An edit just before the clock ticks on is not missed; afterwards files are left alone."""
    clock = Clock()
    sweep = Sweep([os.fspath(root)], reads=True, look_over=with_a_stopped_clock, clock=clock)
    sweep.look()
    clock.now += 1.9
    assert sweep.look() == set()
    module.write_text("A = 2\n", encoding="utf-8")
    clock.now += 60
    assert sweep.look() == {os.fspath(module)}
    clock.now += 60
    assert sweep.look() == set()
    module.write_text("A = 3\n", encoding="utf-8")
    assert sweep.look() == set()


def test_signatures_are_compared_for_inequality(root: Path, module: Path) -> None:
    """W26: A clock set back hides nothing: older, younger, larger, smaller are all just different."""
    sweep = Sweep([os.fspath(root)], reads=False)
    sweep.look()
    os.utime(module, OLD)
    assert sweep.look() == {os.fspath(module)}
    inode = module.stat().st_ino
    save(module, module.read_text(encoding="utf-8"))
    os.utime(module, OLD)
    assert module.stat().st_ino != inode
    assert sweep.look() == {os.fspath(module)}


def test_what_was_noted_is_not_told_again_and_later_changes_are(root: Path, module: Path) -> None:
    """What events told me already is no news, what comes after is."""
    sweep = Sweep([os.fspath(root)], reads=False)
    sweep.look()
    gone, new = os.fspath(module), os.fspath(root / "greeter" / "new.py")
    module.unlink()
    Path(new).write_text("A = 1\n", encoding="utf-8")
    sweep.note([gone, new])
    assert sweep.look() == set()
    save(Path(new), "A = 2\n")
    assert sweep.look() == {new}


def test_a_pipe_is_never_opened(tmp_path: Path) -> None:
    """A pipe named like a module cannot hang the watcher."""
    if not hasattr(os, "mkfifo"):
        pytest.skip("no pipes with names here")
    os.mkfifo(tmp_path / "main.py")
    assert digest_file(os.fspath(tmp_path / "main.py")) is None
    sweep = Sweep([os.fspath(tmp_path)], reads=True)
    assert sweep.look() == set()
    assert sweep.look() == set()


def test_a_digest_is_that_of_the_content(tmp_path: Path) -> None:
    """Equal bytes have equal digests; what is no readable file has none."""
    for name, text in (("a", "1"), ("b", "1"), ("c", "2")):
        (tmp_path / name).write_text(text, encoding="utf-8")
    a, b, c = (digest_file(os.fspath(tmp_path / name)) for name in "abc")
    assert a == b != c
    assert a is not None
    assert digest_file(os.fspath(tmp_path)) is None
    assert digest_file(os.fspath(tmp_path / "absent")) is None


def test_a_system_that_refuses_md5_is_served_by_another_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under strict cryptographic policies watching works as anywhere."""

    def refuse(*_: object, **__: object) -> None:
        raise ValueError("disabled for FIPS")

    monkeypatch.setattr("hashlib.md5", refuse)
    (tmp_path / "a").write_text("1", encoding="utf-8")
    (tmp_path / "b").write_text("2", encoding="utf-8")
    a, b = digest_file(os.fspath(tmp_path / "a")), digest_file(os.fspath(tmp_path / "b"))
    assert None not in (a, b)
    assert a != b
