"""A socket is closed, and a temporary file removed, with the version that made it."""

from __future__ import annotations

import os
import tempfile

from pytest_hotplug.safety.check import Check
from pytest_hotplug.safety.evidence import Thing
from pytest_hotplug.safety.leftovers import leftovers
from pytest_hotplug.safety.subject import Subject, open_descriptors

__all__ = ["CHECK"]


def _take(subject: Subject) -> dict[str, Thing]:
    made = {made.fileno(): place for made, place in list(subject.places.sockets.items()) if made.fileno() >= 0}
    found = {
        f"{fd} {target}": subject.thing("open socket", place=made.get(fd, ""))
        for fd, target in open_descriptors()
        if target.startswith("socket:")
    }
    for directory in {tempfile.gettempdir(), os.getcwd()}:  # both are this child's alone
        for name in os.listdir(directory):
            path = os.path.join(directory, name)
            found[path] = Thing(text=f"temporary file {name}", place=subject.places.paths.get(path, ""), own=True)
    return found


CHECK = Check(
    id="no_leaked_sockets",
    title="A socket is closed, and a temporary file removed, with the version that made it",
    how=(
        "Descriptors that are sockets, and files in the temporary and in the working directory, which are the "
        "child's alone. Linux only."
    ),
    remedy="Use a with block, or close and remove it in on_unload or by context.register().",
    take=_take,
    judge=leftovers,
)
