"""What the tests of the pytest side share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.testing.terminals import Shell, Sitting


@pytest.fixture(autouse=True)
def lean_inner_pytest(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the pytest runs that tests start load our plugin alone: others cost seconds and prove nothing here."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTEST_PLUGINS", "pytest_hotplug.testing.pytest_plugin")
    monkeypatch.delenv("CI", raising=False)


@pytest.fixture
def sit(project: Path) -> Iterator[Callable[..., Sitting]]:
    """Begin to watch the project in a terminal."""
    from tests.testing.terminals import Sitting

    begun: list[Sitting] = []

    def begin(*arguments: str, **variables: Any) -> Sitting:
        begun.append(Sitting(project, *arguments, **variables))
        return begun[-1]

    yield begin
    for sitting in begun:
        sitting.close()


@pytest.fixture
def shell(project: Path) -> Iterator[Shell]:
    """Give a shell with job control, in a terminal, in the project."""
    from tests.testing.terminals import Shell

    if not Path("/bin/bash").exists():
        pytest.skip("needs a shell with job control")
    shell = Shell(project)
    yield shell
    shell.close()
