"""Many reloads at once are only many reloads: they come to an end, the last bytes serve, and nothing grows."""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from collections.abc import Iterator

from pytest_hotplug.safety.check import Check
from pytest_hotplug.safety.finding import Finding
from pytest_hotplug.safety.findings import attempted
from pytest_hotplug.safety.stage import Stage

__all__ = ["CHECK"]

_THREADS = 8
_RELOADS = 25  # of each thread
_PATIENCE = 30.0  # seconds for all of them


def _attempt(stage: Stage) -> Iterator[Finding | None]:
    stage.manager.force_reload_plugin(stage.name)  # what libraries set up once stands before
    before, known = len(stage.threads()), len(stage.living())
    failures: list[str] = []
    threads = [threading.Thread(target=_reload, args=(stage, failures), daemon=True) for _ in range(_THREADS)]
    deadline = time.monotonic() + _PATIENCE
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(deadline - time.monotonic(), 0.0))
        if thread.is_alive():
            yield Finding(message=f"reloads from {_THREADS} threads don't come to an end: {_where(thread)}")
            return
        yield None
    if failures:
        yield Finding(message=f"{len(failures)} of {_THREADS * _RELOADS} reloads were refused: {failures[0]}")
    yield from _ended(stage, before, known)


def _reload(stage: Stage, failures: list[str]) -> None:
    for _ in range(_RELOADS):
        if not stage.manager.force_reload_plugin(stage.name):
            failures.append(stage.manager.get_plugin_hot_info(stage.name)["error"] or "it was not loaded")


def _ended(stage: Stage, threads: int, known: int) -> Iterator[Finding | None]:
    stage.reload()  # raises what there is to say unless the last bytes serve
    stage.snapshot()  # waits for threads that were told to end
    more = [thread for thread in stage.threads() if thread.is_alive()]
    if len(more) > threads:
        yield Finding(message=f"{len(more) - threads} more threads after {_THREADS * _RELOADS} reloads at once")
    if (alive := len(stage.living())) > known:
        held = stage.survivors("storm")
        chain = (*held[0].chain, held[0].held) if held else ()
        yield Finding(message=f"{alive - known} old versions live on after reloads at once", chain=chain)


def _where(thread: threading.Thread) -> str:
    frame = sys._current_frames().get(thread.ident or 0)
    if frame is None:
        return "it ended meanwhile"
    place = traceback.extract_stack(frame)[-1]
    return f"{os.path.basename(place.filename)}:{place.lineno} in {place.name}"


CHECK = Check(
    id="reload_storm",
    title="Many reloads at once come to an end, and leave nothing behind",
    how=(
        "Eight threads force twenty-five reloads each: they come to an end within 30 s, none is refused, the "
        "last bytes serve, and neither threads nor versions are left."
    ),
    remedy="Take no lock at import that another version holds, and end with each version what it has begun.",
    scenario="calls",
    level="full",
    attempt=_attempt,
    judge=attempted,
)
