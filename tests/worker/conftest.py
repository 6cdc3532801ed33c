"""A project with plugins at a path that is short enough for sockets, and workers that end with the test."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.terminal import User
from tests.reloader.conftest import shop
from tests.testing.watched import delete
from tests.worker.serving import serving

__all__ = ["served", "shop", "user"]


@pytest.fixture
def user() -> Iterator[User]:
    """Give the test somebody at a shell in a directory with a short name; nothing of it stays."""
    here = Path(tempfile.mkdtemp(prefix="hp-"))
    user = User(here)
    try:
        yield user
    finally:
        user.types("stop", "--timeout", "0")
        delete(here)


@pytest.fixture(scope="module")
def served() -> Iterator[User]:
    """Give the tests of a module one worker that serves a plugin `greeter`; who changes it puts it back."""
    here = Path(tempfile.mkdtemp(prefix="hp-"))
    user = User(here)
    user.plugin("greeter")
    try:
        with serving(user):
            yield user
    finally:
        delete(here)
