"""A project's own checks, which the setting `verify_checks` names."""

from __future__ import annotations

import importlib
import re
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pytest_hotplug.reloader.errors import UsageError
from pytest_hotplug.reloader.project import plugin_dir_path
from pytest_hotplug.reloader.settings import Settings
from pytest_hotplug.safety.check import Check
from pytest_hotplug.safety.checks import ALL

__all__ = ["add_own_checks", "own_path"]

_adding = threading.Lock()  # guards `ALL` against two that add the same


def own_path(settings: Settings, root: Path) -> list[str]:
    """Return where the project's own modules are found: its `pythonpath`."""
    return [str(plugin_dir_path(place, root)) for place in settings.pythonpath]


def add_own_checks(settings: Settings, root: Path) -> None:
    """Let the project's own checks be among all; those that are there already stay. Raises UsageError `[bad-check]`."""
    with _adding, _found_in(own_path(settings, root)):
        for named in settings.verify_checks:
            check = _check(named)
            if check not in ALL:
                if check.id in {other.id for other in ALL}:
                    raise UsageError(f"verify_checks: {named!r}: there is a check {check.id!r} already", "bad-check")
                ALL.append(check)


def _check(named: str) -> Check:
    module, _, name = named.partition(":")
    try:
        check = getattr(importlib.import_module(module), name)
    except Exception as error:  # noqa: BLE001 - whatever the module raises, it can't be used
        raise UsageError(f"verify_checks: {named!r}: {type(error).__name__}: {error}", "bad-check") from None
    if not isinstance(check, Check):
        raise UsageError(f"verify_checks: {named!r} is no Check but {type(check).__name__}", "bad-check")
    if not re.fullmatch("[a-z][a-z0-9_]*", check.id):
        raise UsageError(f"verify_checks: {named!r}: the id {check.id!r} is no name in small letters", "bad-check")
    if (check.attempt is None) == (check.take is None) or (check.take is not None) != (check.scenario == "cycle"):
        message = "a check takes, in the scenario cycle, or attempts, in another one"
        raise UsageError(f"verify_checks: {named!r}: {message}", "bad-check")
    return check


@contextmanager
def _found_in(places: Iterable[str]) -> Iterator[None]:
    before: Sequence[str] = list(sys.path)
    sys.path.extend(place for place in places if place not in before)
    try:
        yield
    finally:
        sys.path[:] = before
