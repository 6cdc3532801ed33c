"""Nothing is registered that nobody can take back: fork handlers, codecs, audit hooks."""

from __future__ import annotations

from collections.abc import Iterable

from pytest_hotplug.safety.check import Check, Finding
from pytest_hotplug.safety.evidence import Cycle
from pytest_hotplug.safety.findings import told_once

__all__ = ["CHECK"]


def _judge(check: Check, cycle: Cycle) -> Iterable[Finding]:
    return told_once(check, cycle.permanent)


CHECK = Check(
    id="no_permanent_registrations",
    title="Nothing is registered that nobody can take back",
    how=(
        "`os.register_at_fork`, `codecs.register` and `sys.addaudithook` are wrapped. Nobody can take these "
        "back, so each call by the plugin fails."
    ),
    remedy="Let the host register it once, with a function that looks up the plugin when it is called.",
    judge=_judge,
)
