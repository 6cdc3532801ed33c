"""A file or pipe is closed with the version that opened it."""

from __future__ import annotations

import os

from pytest_hotplug.safety.check import Check
from pytest_hotplug.safety.evidence import Thing
from pytest_hotplug.safety.leftovers import leftovers
from pytest_hotplug.safety.subject import Subject, open_descriptors

__all__ = ["CHECK"]


def _take(subject: Subject) -> dict[str, Thing]:
    found = {}
    for fd, target in open_descriptors():
        if not target.startswith("socket:"):
            path = target if os.path.isabs(target) else ""
            text = f"open file {subject.places.named(path)}" if path else f"open {target.partition(':')[0]}"
            found[f"{fd} {target}"] = subject.thing(text, place=subject.places.paths.get(path, ""))
    return found


CHECK = Check(
    id="no_leaked_fds",
    title="A file is closed with the version that opened it",
    how=("What the process has open by /proc/self/fd, each with what it leads to; any growth counts. Linux only."),
    remedy="Open it in a with block, or close it in on_unload or by context.register(file.close).",
    take=_take,
    judge=leftovers,
)
