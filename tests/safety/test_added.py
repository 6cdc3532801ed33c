"""A project's own checks: one that can't be used is said so before anything is proved."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_hotplug import UsageError
from pytest_hotplug.reloader.settings import Settings
from pytest_hotplug.safety.added import add_own_checks
from pytest_hotplug.safety.checks import ALL

CHECK = (
    "from pytest_hotplug.safety.check import Check\n"
    "MINE = Check(id={id!r}, title='', how='', remedy='', judge=list, take=dict)\n"
)


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    before = list(ALL)
    yield
    ALL[:] = before


@pytest.mark.parametrize(
    ("source", "named", "said"),
    [
        ("", "own_checks:MINE", "has no attribute 'MINE'"),
        ("MINE = 1\n", "own_checks:MINE", "is no Check but int"),
        ("raise KeyError('x')\n", "own_checks:MINE", "KeyError: 'x'"),
        ("", "nowhere:MINE", "No module named 'nowhere'"),
        (CHECK.format(id="no name"), "own_checks:MINE", "the id 'no name' is no name in small letters"),
        (CHECK.format(id="mine").replace(", take=dict", ""), "own_checks:MINE", "a check takes"),
        (CHECK.format(id="no_leaked_fds"), "own_checks:MINE", "there is a check 'no_leaked_fds' already"),
    ],
    ids=["no such name", "no check", "fails", "no module", "no name", "does nothing", "known id"],
)
def test_what_is_no_check_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, named: str, said: str
) -> None:
    """With the setting, and why."""
    (tmp_path / "own_checks.py").write_text(source)
    monkeypatch.delitem(sys.modules, "own_checks", raising=False)
    with pytest.raises(UsageError, match=r"\[bad-check\]") as caught:
        add_own_checks(Settings(verify_checks=(named,)), tmp_path)
    assert said in str(caught.value)
    monkeypatch.delitem(sys.modules, "own_checks", raising=False)


def test_a_check_is_added_once(tmp_path: Path) -> None:
    """However many ask for it."""
    (tmp_path / "own_checks_twice.py").write_text(CHECK.format(id="mine"))
    for _ in range(2):
        add_own_checks(Settings(verify_checks=("own_checks_twice:MINE",)), tmp_path)
    assert [check.id for check in ALL].count("mine") == 1
