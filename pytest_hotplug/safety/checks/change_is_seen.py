"""Each edit serves at the next call, and all of it: also one that neither size nor time give away."""

from __future__ import annotations

import os
from collections.abc import Iterator

from pytest_hotplug.safety.check import Check
from pytest_hotplug.safety.finding import Finding
from pytest_hotplug.safety.findings import attempted
from pytest_hotplug.safety.stage import Stage
from pytest_hotplug.safety.stale import stale_in

__all__ = ["CHECK"]

_MOST = 10  # files that are edited one after the other


def _attempt(stage: Stage) -> Iterator[Finding | None]:
    entry = stage.entry_file
    yield from _edited(stage, entry, "an edit", b"\n# hotplug edit 1\n")
    time = (stage.directory / entry).stat()
    yield from _edited(stage, entry, "an edit of the same size and time", b"\n# hotplug edit 2\n", time)
    for name in [name for name in stage.code_files() if name != entry][:_MOST]:
        yield from _edited(stage, name, "an edit", b"\n# hotplug edit\n")


def _edited(
    stage: Stage, name: str, what: str, more: bytes, time: os.stat_result | None = None
) -> Iterator[Finding | None]:
    loads = stage.loads()
    stage.files.write(name, stage.files.original[name] + more)
    if time is not None:
        os.utime(stage.directory / name, ns=(time.st_atime_ns, time.st_mtime_ns))
    stage.look()
    if (seen := stage.loads() - loads) != 1:
        yield Finding(message=f"{what} of {name} made {seen} new versions serve instead of 1", path=name)
    elif said := stage.failure("it fails"):
        yield Finding(message=f"{what} of {name}, a comment alone, and {said}", path=name)
    else:
        stale = stale_in(stage.serving)
        yield from stale
        if not stale:
            yield None


CHECK = Check(
    id="change_is_seen",
    title="Each edit serves at the next call, and all of it",
    how=(
        "The entry's file is edited, then once more without a change of size and time, then every other file: "
        "each edit makes exactly one version serve, and no module of it calls code of an old one."
    ),
    remedy="Let nothing outside the plugin keep its functions, classes and modules for the next version to find.",
    scenario="edits",
    attempt=_attempt,
    judge=attempted,
)
