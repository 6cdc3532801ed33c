"""A version without its entry never serves."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_hotplug.safety.broken import refused
from pytest_hotplug.safety.check import Check
from pytest_hotplug.safety.finding import Finding
from pytest_hotplug.safety.findings import attempted
from pytest_hotplug.safety.stage import NotTried, Stage

__all__ = ["CHECK"]

_BROKEN = {
    "without its entry": "del {name}",
    "with a renamed entry": "{name}_hotplug = {name}; del {name}",
    "with an entry that can't be called": "{name} = None",
}


def _attempt(stage: Stage) -> Iterator[Finding | None]:
    if stage.entry is None:
        raise NotTried("it has no entry")
    name, file = stage.entry.attribute, stage.entry_file
    source = stage.files.original[file]
    for what, line in _BROKEN.items():
        yield refused(stage, f"a version {what}", {file: source + f"\n\n{line.format(name=name)}\n".encode()})
    stage.restore()
    yield refused(stage, f"a version without {file}", {file: None})


CHECK = Check(
    id="missing_entry_kept",
    title="A version without its entry never serves",
    how="The entry is deleted, renamed, set to None, and its file removed.",
    remedy="Define the entry as a plain function of its module; a module's __getattr__ must not make it up.",
    scenario="edits",
    attempt=_attempt,
    judge=attempted,
)
