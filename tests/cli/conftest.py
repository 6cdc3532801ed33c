"""A user in an empty project for each test of the commands."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.terminal import User


@pytest.fixture
def user(tmp_path: Path) -> User:
    """Give the test somebody at a shell in an empty directory."""
    here = tmp_path / "project"
    here.mkdir()
    return User(here)
