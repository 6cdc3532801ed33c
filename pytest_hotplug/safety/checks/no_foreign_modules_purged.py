"""A reload removes and replaces no module but the plugin's own."""

from __future__ import annotations

import sys

from pytest_hotplug.safety.check import Check
from pytest_hotplug.safety.evidence import Thing
from pytest_hotplug.safety.leftovers import leftovers
from pytest_hotplug.safety.subject import Subject, described

__all__ = ["CHECK"]


def _take(subject: Subject) -> dict[str, Thing]:
    return {
        name: Thing(text=f"module {name}", value=described(module))
        for name, module in list(sys.modules.items())
        if not subject.is_ours(name)
    }


CHECK = Check(
    id="no_foreign_modules_purged",
    title="A reload removes and replaces no module but the plugin's own",
    how=(
        "`sys.modules` without the plugin's own: nothing that was there is gone or another object. New "
        "imports are no fault."
    ),
    remedy="Leave sys.modules alone: the reloader replaces the plugin's modules, and others are shared with the host.",
    take=_take,
    judge=leftovers,
)
