"""What the tests of the pytest side share."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def lean_inner_pytest(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the pytest runs that tests start load our plugin alone: others cost seconds and prove nothing here."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTEST_PLUGINS", "pytest_hotplug.testing.pytest_plugin")
    monkeypatch.delenv("CI", raising=False)
