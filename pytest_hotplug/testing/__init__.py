"""The only storey that knows pytest: fixtures, sandbox, collection, watch mode.

`Hotplug`, `SandboxedPlugin` and the assertions are imported from here by tests that want them by
name; each is loaded when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_hotplug.testing.assertions import (
        assert_every_call_old_or_new,
        assert_no_leaks,
        assert_survives_broken_version,
    )
    from pytest_hotplug.testing.sandbox import Hotplug, SandboxedPlugin

__all__ = [
    "Hotplug",
    "SandboxedPlugin",
    "assert_every_call_old_or_new",
    "assert_no_leaks",
    "assert_survives_broken_version",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from pytest_hotplug.testing import assertions, sandbox

        return getattr(assertions if name.startswith("assert_") else sandbox, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
