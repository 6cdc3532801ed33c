"""Symbolic links: swapped, chained, looping, dangling."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pytest_hotplug.watcher.links import follow
from pytest_hotplug.watcher.survey import survey
from tests.watcher.conftest import Begin
from tests.watcher.listening import Listener, point, save


def _release(directory: Path, text: str) -> Path:
    directory.mkdir(parents=True)
    (directory / "main.py").write_text(text, encoding="utf-8")
    return directory


def _edit_is_heard(target: Path, named: Path, listener: Listener) -> None:
    listener.forget()
    save(target, "EDITED = True\n")
    assert listener.hears(named)


def test_a_linked_root_that_is_swapped_is_a_hint_and_the_new_target_is_watched(tmp_path: Path, begin: Begin) -> None:
    """I deploy by `plugins -> release2`: I hear of it by the name I gave, and of later edits too."""
    old, new = _release(tmp_path / "release1", "V = 1\n"), _release(tmp_path / "release2", "V = 2\n")
    root = tmp_path / "plugins"
    root.symlink_to(old)
    listener = begin(root)
    _edit_is_heard(old / "main.py", root / "main.py", listener)
    listener.forget()
    point(root, new)
    assert listener.hears(root)
    _edit_is_heard(new / "main.py", root / "main.py", listener)
    assert all(path.is_relative_to(root) for path in listener.paths)


def test_a_link_in_the_middle_of_the_root_path_may_be_swapped(tmp_path: Path, begin: Begin) -> None:
    """`current -> releases/2` redirects `current/plugins`, and I hear of it."""
    _release(tmp_path / "releases" / "1" / "plugins", "V = 1\n")
    new = _release(tmp_path / "releases" / "2" / "plugins", "V = 2\n")
    current = tmp_path / "current"
    current.symlink_to("releases/1")
    listener = begin(current / "plugins")
    point(current, "releases/2")
    assert listener.hears(current / "plugins")
    _edit_is_heard(new / "main.py", current / "plugins" / "main.py", listener)


def test_a_linked_plugin_that_is_swapped_is_a_hint(tmp_path: Path, begin: Begin) -> None:
    """One plugin of the root is a link to its release: `greeter -> ../greeter-2`."""
    old, new = _release(tmp_path / "greeter-1", "V = 1\n"), _release(tmp_path / "greeter-2", "V = 2\n")
    root = tmp_path / "plugins"
    root.mkdir()
    (root / "greeter").symlink_to(old)
    listener = begin(root)
    _edit_is_heard(old / "main.py", root / "greeter" / "main.py", listener)
    listener.forget()
    point(root / "greeter", new)
    assert listener.hears(root / "greeter")
    _edit_is_heard(new / "main.py", root / "greeter" / "main.py", listener)


def test_a_swapped_data_link_of_a_mounted_volume_is_a_hint(tmp_path: Path, begin: Begin) -> None:
    """W22: Kubernetes swaps the hidden `..data`; no file of mine sees an event, and yet I hear of it."""
    root = tmp_path / "plugins"
    _release(root / "..2024_01", "V = 1\n")
    new = _release(root / "..2024_02", "V = 2\n")
    (root / "..data").symlink_to("..2024_01")
    (root / "main.py").symlink_to("..data/main.py")
    listener = begin(root)
    point(root / "..data", "..2024_02")
    assert listener.hears(root / "main.py")
    _edit_is_heard(new / "main.py", root / "main.py", listener)
    assert listener.paths == {root / "main.py"}


def test_a_linked_file_is_watched_where_it_really_lies(root: Path, tmp_path: Path, begin: Begin) -> None:
    """A shared module linked into the plugin is edited in place: the hint names the link."""
    shared = _release(tmp_path / "shared", "V = 1\n") / "main.py"
    (root / "greeter" / "shared.py").symlink_to(shared)
    listener = begin(root)
    _edit_is_heard(shared, root / "greeter" / "shared.py", listener)


def test_a_dangling_link_is_followed_once_its_target_comes(root: Path, tmp_path: Path, begin: Begin) -> None:
    """W9: The link is deployed before what it points to."""
    (root / "later").symlink_to(tmp_path / "releases" / "later")
    listener = begin(root)
    target = _release(tmp_path / "releases" / "later", "V = 1\n")
    assert listener.hears(root / "later", root / "later" / "main.py")
    _edit_is_heard(target / "main.py", root / "later" / "main.py", listener)


def test_links_that_loop_end_nothing(root: Path, begin: Begin) -> None:
    """A link to a directory above, two that chase each other, one to itself: the watch goes on."""
    (root / "greeter" / "up").symlink_to(root)
    (root / "a").symlink_to("b")
    (root / "b").symlink_to("a")
    (root / "self").symlink_to("self")
    listener = begin(root)
    _edit_is_heard(root / "greeter" / "main.py", root / "greeter" / "main.py", listener)


def test_a_linked_directory_is_looked_at_once_per_name_and_never_without_end(root: Path) -> None:
    """Directories that link to each other cannot make a look endless."""
    for name in ("one", "two", "three"):
        (root / name).mkdir()
        for other in ("one", "two", "three"):
            (root / name / f"to_{other}").symlink_to(root / other)
    seen = survey([os.fspath(root)]).seen
    assert os.fspath(root / "one" / "to_two" / "to_three") in seen
    assert not any("to_one/to_one/" in path for path in seen)


def test_the_number_of_linked_directories_is_bounded_and_the_bound_is_told(tmp_path: Path) -> None:
    """A directory full of links to one another is cut short instead of hanging the worker."""
    names = [f"d{number}" for number in range(8)]
    for name in names:
        (tmp_path / name).mkdir()
        for other in names:
            (tmp_path / name / other).symlink_to(tmp_path / other)
    looked = survey([os.fspath(tmp_path)])
    assert looked.cut_at is not None
    assert len(looked.seen) < 20_000


def test_a_trail_names_every_link_and_the_first_missing_part(tmp_path: Path) -> None:
    """Whoever wants to know what redirects a path is told all of it."""
    base = Path(os.path.realpath(tmp_path))
    (base / "real").mkdir()
    (base / "one").symlink_to("two/../two")
    (base / "two").symlink_to(base / "real")
    there = follow(os.fspath(base / "one"))
    assert there.found
    assert there.end == os.fspath(base / "real")
    assert set(there.hinges) == {os.fspath(base / name) for name in ("one", "two", "real")}
    missing = follow(os.fspath(base / "one" / "absent" / "deep"))
    assert not missing.found
    assert missing.end == os.fspath(base / "real" / "absent")


@pytest.mark.parametrize("target", ["loop", "./loop"])
def test_a_trail_through_a_loop_ends(tmp_path: Path, target: str) -> None:
    """A link to itself leads nowhere, and soon."""
    (tmp_path / "loop").symlink_to(target)
    assert not follow(os.fspath(tmp_path / "loop" / "x")).found
