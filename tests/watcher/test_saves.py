"""Every way of saving a file is a hint."""

from __future__ import annotations

import os
import time
from pathlib import Path

from tests.watcher.conftest import Begin
from tests.watcher.listening import save


def test_an_edit_made_right_after_the_watch_began_is_reported(root: Path, begin: Begin) -> None:
    """Once `watch` has returned I can save at once."""
    listener = begin(root, debounce=0.05)
    save(root / "greeter" / "main.py", "GREETING = 'hi'\n")
    assert listener.hears(root / "greeter" / "main.py")


def test_an_atomic_save_is_a_hint_for_the_file_itself(root: Path, begin: Begin) -> None:
    """W12: My editor writes beside and renames; I hear of my file and of nothing else."""
    listener = begin(root)
    for text in ("A = 1\n", "A = 2\n"):
        listener.forget()
        save(root / "greeter" / "main.py", text)
        assert listener.hears(root / "greeter" / "main.py")
        assert listener.paths == {root / "greeter" / "main.py"}


def test_a_truncating_save_is_a_hint(root: Path, begin: Begin) -> None:
    """W15: My editor empties the file and writes it anew; I hear of it."""
    listener = begin(root)
    (root / "greeter" / "main.py").write_text("GREETING = 'hi there'\n", encoding="utf-8")
    assert listener.hears(root / "greeter" / "main.py")


def test_a_touch_is_a_hint_too(root: Path, begin: Begin) -> None:
    """W13: The watcher says only "look again": whether content changed is for others to say."""
    listener = begin(root)
    (root / "greeter" / "main.py").touch()
    assert listener.hears(root / "greeter" / "main.py")


def test_a_file_restored_with_its_old_time_is_a_hint(root: Path, begin: Begin) -> None:
    """I roll back with `cp -p`: the time goes backwards, and that is a change as well."""
    module = root / "greeter" / "main.py"
    listener = begin(root)
    os.utime(module, (1_000_000_000, 1_000_000_000))
    assert listener.hears(module)


def test_a_deleted_and_a_new_file_are_hints(root: Path, begin: Begin) -> None:
    """Removing a module and adding another one are both changes."""
    listener = begin(root)
    (root / "greeter" / "main.py").unlink()
    (root / "greeter" / "text.py").write_text("", encoding="utf-8")
    assert listener.hears(root / "greeter" / "main.py", root / "greeter" / "text.py")


def test_a_file_that_becomes_a_directory_is_followed(root: Path, begin: Begin) -> None:
    """W17: A branch switch turns `text.py` into `text.py/`: what is inside is watched from then on."""
    name = root / "greeter" / "text"
    name.write_text("", encoding="utf-8")
    listener = begin(root)
    name.unlink()
    name.mkdir()
    save(name / "inner.py", "A = 1\n")
    assert listener.hears(name / "inner.py")
    listener.forget()
    save(name / "inner.py", "A = 2\n")
    assert listener.hears(name / "inner.py")


def test_a_batch_tells_when_its_first_hint_came(root: Path, begin: Begin) -> None:
    """I can measure how long a save took to be served."""
    listener = begin(root)
    before = time.time()
    save(root / "greeter" / "main.py", "A = 1\n")
    assert listener.hears(root / "greeter" / "main.py")
    assert before <= listener.batches[0].first_seen <= time.time()


def test_without_debounce_a_save_goes_out_at_once(root: Path, begin: Begin) -> None:
    """A debounce of 0 means that I don't want to wait."""
    listener = begin(root, debounce=0)
    save(root / "greeter" / "main.py", "A = 1\n")
    assert listener.hears(root / "greeter" / "main.py")


def test_several_roots_are_watched_by_one_watch(root: Path, tmp_path: Path, begin: Begin) -> None:
    """All my plugin directories count."""
    other = tmp_path / "more"
    other.mkdir()
    listener = begin(root, other)
    save(other / "a.py", "A = 1\n")
    save(root / "greeter" / "main.py", "A = 1\n")
    assert listener.hears(other / "a.py", root / "greeter" / "main.py")
