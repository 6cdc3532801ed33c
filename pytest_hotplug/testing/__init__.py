"""The only storey that knows pytest: fixtures, sandbox, collection, watch mode.

`Hotplug`, `SandboxedPlugin` and the assertions are imported from here by tests that want them by
name; each is loaded when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_hotplug.testing.sandbox import Hotplug, SandboxedPlugin

__all__ = ["Hotplug", "SandboxedPlugin"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from pytest_hotplug.testing import sandbox

        return getattr(sandbox, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
