"""What a scenario asks of a reloader, ours or a peer's.

A scenario is written once against this protocol. Where a peer has a convention of its own (setup and
teardown, dispose callbacks) its adapter translates; where it has none, the scenario takes the plain way.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, Protocol

Said = Literal["new", "refused", "unchanged"]

# What a plugin may be given, `Adapter.helps`:
HOOKS = "hooks"  # on_load(context) and on_unload() are called, context.register(undo) is run
STOP_FIRST = "stop-first"  # the old version is taken down before the new one is set up
LOAD_STATE = "load_state"  # what save_state() of the old returned reaches load_state() of the new
# What a reloader may be able to do, `Adapter.can`; a hazard that needs more is n/a:
DETECTS = "detects"  # it decides by itself whether anything changed
SWITCHES = "switches"  # it can be told to look no more for a while
WATCHES = "watches"  # it reloads in the background
TWO_MANAGERS = "two managers"  # two of it can serve the same public name


class Adapter(Protocol):
    """One reloader over one directory of plugins; all calls but `call` and `acall` come from one thread at a time."""

    name: str
    helps: frozenset[str]
    can: frozenset[str]
    init: str  # what it needs at the end of a plugin's __init__.py

    def open(self, plugins: Path, settings: Mapping[str, Any]) -> None:
        """Get ready to load plugins from a directory; its name is the prefix of their public names."""

    def flat(self, plugin: str) -> None:
        """Let a plugin import its own modules by their bare names, `import utils`."""

    def start(self, plugin: str) -> None:
        """Load a plugin for the first time."""

    def call(self, plugin: str, function: str, *args: Any) -> Any:
        """Call a function of the plugin's main module on the version that serves; looks for no changes."""

    async def acall(self, plugin: str, function: str, *args: Any) -> Any:
        """The same for an async function."""

    def module(self, plugin: str) -> ModuleType:
        """Return the main module of the version that serves."""

    def reload(self, plugin: str) -> Said:
        """Do what one does after an edit of this plugin, and say what came of it."""

    def close(self) -> None:
        """Let go of everything."""
