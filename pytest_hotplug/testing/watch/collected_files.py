"""Which files beside test modules pytest may collect: doctests, and what hooks of conftests and plugins collect."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from pytest_hotplug.testing.affected.blocks import WHOLE, digest_of, read_blocks
from pytest_hotplug.testing.affected.contents import bytes_of

__all__ = ["CollectedFiles", "Rules", "others_collect"]


class CollectedFiles:
    """What the options say; what hooks collect is known once a process has loaded all conftests."""

    def __init__(self, config: pytest.Config) -> None:
        self._sources = bool(getattr(config.option, "doctestmodules", False))
        self._texts = tuple(getattr(config.option, "doctestglob", None) or ("test*.txt",))
        self.by_hooks = others_collect(config)

    def may_be(self, path: Path) -> bool:
        """Tell whether a file that is no test module may hold tests all the same."""
        if path.suffix == ".py":
            return self._sources
        return self.by_hooks or any(fnmatch.fnmatch(path.name, pattern) for pattern in self._texts)


class Rules:
    """What conftests and configuration files say, so that a comment more is told from a rule more."""

    def __init__(self, files: Iterable[Path]) -> None:
        self._said = {path: _said(path) for path in files}

    def changed(self, path: Path) -> bool:
        """Tell whether a file says something else than when it was asked for last."""
        before, now = self._said.get(path, ""), _said(path)
        self._said[path] = now
        return before != now


def _said(path: Path) -> str:
    data = bytes_of(os.fspath(path))
    if data is None:
        return ""
    return read_blocks(data).digest(WHOLE) if path.suffix == ".py" else digest_of(data)


def others_collect(config: pytest.Config) -> bool:
    """Tell whether anybody but pytest itself, and we, collects files."""
    # Not config.hook, which stands before hooks that get paths, and before pytest 9 is a function there.
    implementations = config.pluginmanager.hook.pytest_collect_file.get_hookimpls()
    return any(not one.function.__module__.startswith(("_pytest.", "pytest_hotplug.")) for one in implementations)
