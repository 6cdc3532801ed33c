"""A version that is refused leaves nothing behind: what it did before it failed is undone, and it dies."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_hotplug.safety.broken import failing_hook, refused
from pytest_hotplug.safety.check import Check
from pytest_hotplug.safety.evidence import Thing
from pytest_hotplug.safety.finding import Finding
from pytest_hotplug.safety.findings import attempted, place_in
from pytest_hotplug.safety.snapshot import came_between
from pytest_hotplug.safety.stage import NotTried, Stage

__all__ = ["CHECK"]

_FAILS = b"\n\nraise RuntimeError('hotplug: this version fails at import')\n"

_NOTHING: list[Finding | None] = [None]


def _attempt(stage: Stage) -> Iterator[Finding | None]:
    if stage.serving.manifest.handover == "stop-first":
        raise NotTried("it is handed over stop-first: what serves ends and begins anew, as the other does")
    entry = stage.entry_file
    broken = {"that failed at import": (entry, stage.files.original[entry] + _FAILS)}
    last = "raise RuntimeError('hotplug: this version fails in on_load')"
    if (edit := failing_hook(stage, "on_load", last=last)) is not None:
        broken["whose on_load failed"] = edit
    stage.snapshot()  # what a look itself imports is there from now on
    for what, (file, content) in broken.items():
        if (wrong := refused(stage, f"a version {what}", {file: content})) is not None:
            yield wrong
            continue
        # What libraries set up at the first time stands from now on: a second one leaves nothing, of whomever.
        known, before = stage.living(), stage.snapshot()
        yield refused(stage, f"a version {what}", {file: content + b"\n# once more\n"}, use=False)
        things = list(came_between(before, stage.snapshot()))
        yield from _left(stage, f"a version {what}", things, known) or _NOTHING
        stage.restore()


def _left(stage: Stage, version: str, things: list[Thing], known: frozenset[int]) -> list[Finding | None]:
    found: list[Finding | None] = []
    for survivor in stage.survivors("refused", known):
        path, line = place_in(survivor.place)
        chain = (*survivor.chain, survivor.held)
        held = " -> ".join(chain)
        found.append(Finding(message=f"{version} lives on: {held}", path=path, line=line, chain=chain))
    for thing in things:
        path, line = place_in(thing.place)
        found.append(Finding(message=f"{version} left {thing.text}", path=path, line=line))
    return found


CHECK = Check(
    id="side_effects_rolled_back",
    title="A version that is refused leaves nothing behind",
    how=(
        "A version that fails at the end of its import, and one whose `on_load` fails, are refused twice: "
        "after the second time everything that other checks look at is as after the first, and nothing of it "
        "lives."
    ),
    remedy="Do it in on_load, and give its undo to context.register(): it is called also when the load fails.",
    scenario="edits",
    attempt=_attempt,
    judge=attempted,
)
