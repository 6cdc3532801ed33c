"""What is saved with the same content is not loaded anew: neither by others, nor by the plugin's own doing."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping

from pytest_hotplug.safety.check import Check
from pytest_hotplug.safety.finding import Finding
from pytest_hotplug.safety.findings import attempted
from pytest_hotplug.safety.stage import Stage

__all__ = ["CHECK"]


def _attempt(stage: Stage) -> Iterator[Finding | None]:
    for what, step in _STEPS.items():
        before, loads = stage.serving, stage.loads()
        step(stage)
        stage.look()
        if stage.loads() == loads and stage.serving is before:
            yield None
            continue
        own = ", ".join(stage.files.changed())
        yield Finding(
            message=f"it was loaded anew after {what}" + (f": it wrote {own} itself" if own else ""),
            path=own.partition(",")[0],
        )
        stage.restore()


def _touch(stage: Stage) -> None:
    for name in stage.files.original:
        os.utime(stage.files.directory / name)


def _save_anew(stage: Stage) -> None:
    for name, content in stage.files.original.items():
        stage.files.write(name, content)


def _save_with_its_time(stage: Stage) -> None:
    for name, content in stage.files.original.items():
        path = stage.files.directory / name
        old = path.stat()
        stage.files.write(name, content)
        os.utime(path, ns=(old.st_atime_ns, old.st_mtime_ns))


_STEPS: Mapping[str, Callable[[Stage], None]] = {
    "a load and a call": Stage.use,
    "its files were touched": _touch,
    "its files were saved with the same bytes": _save_anew,
    "its files were exchanged for equal ones of the same time": _save_with_its_time,
    "a call more": Stage.use,
}

CHECK = Check(
    id="identical_content_no_reload",
    title="Equal content is not loaded anew",
    how=(
        "After calls, touched files, files saved anew with the same bytes, also with their old times: no "
        "version more, and the one that serves is the same."
    ),
    remedy="Keep what the plugin writes outside its directory: what lies there is its version.",
    scenario="edits",
    attempt=_attempt,
    judge=attempted,
)
