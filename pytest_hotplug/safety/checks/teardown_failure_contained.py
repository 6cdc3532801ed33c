"""A version whose end fails or hangs keeps no successor from serving."""

from __future__ import annotations

import time
from collections.abc import Iterator

from pytest_hotplug.reloader.outcomes import KeptCurrent
from pytest_hotplug.safety.broken import failing_hook
from pytest_hotplug.safety.check import Check
from pytest_hotplug.safety.finding import Finding
from pytest_hotplug.safety.findings import attempted
from pytest_hotplug.safety.stage import NotTried, Stage

__all__ = ["CHECK"]

_HANGS = 3.0  # seconds, three times what an old version's end may take here
_BOUND = 2.5  # seconds within which the successor serves all the same


def _attempt(stage: Stage) -> Iterator[Finding | None]:
    for what, first in {
        "fails": "raise RuntimeError('hotplug: this version fails in on_unload')",
        "hangs": f"__import__('threading').Event().wait({_HANGS})",
    }.items():
        if what == "hangs" and stage.serving.manifest.handover == "stop-first":
            continue  # nothing may begin before it has ended: that it is refused is what was asked for
        if (edit := failing_hook(stage, "on_unload", first=first)) is None:
            raise NotTried("the module of its on_unload has no file")
        file, content = edit
        stage.files.write(file, content)
        outcome = stage.manager.reload(stage.name)
        if isinstance(outcome, KeptCurrent):
            yield Finding(message=f"a version whose end {what} can't be loaded: {outcome.error}", path=file)
            stage.restore()
            continue
        stage.use()  # what a version takes up it may take up when it is called first
        if wrong := _successor(stage):
            yield Finding(message=f"after a version whose end {what}, {wrong}", path=file)
            stage.reset()
        else:
            yield None


def _successor(stage: Stage) -> str:
    """Let the next version come, and say what is wrong with that."""
    stage.files.restore()
    began = time.monotonic()
    outcome = stage.manager.reload(stage.name)
    took = time.monotonic() - began
    if isinstance(outcome, KeptCurrent):
        return f"the next version can't be loaded: {outcome.error or outcome.reason}"
    if took > _BOUND:
        return f"the next version served after {took:.1f} s only"
    return stage.failure("the next version fails")


CHECK = Check(
    id="teardown_failure_contained",
    title="A version whose end fails or hangs keeps no successor from serving",
    how=(
        "A version whose `on_unload` raises before it does anything, and one that hangs for three seconds "
        "there: the next version serves within its bound, and works."
    ),
    remedy="Give each undo to context.register(): they are called although on_unload fails, one after the other.",
    scenario="edits",
    level="full",
    attempt=_attempt,
    judge=attempted,
)
