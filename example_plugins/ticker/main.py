"""Shows a background thread: started through the context, joined when the version retires."""

import threading
from typing import Any

INTERVAL = 0.01

_ticked = threading.Event()
_ticks = 0


def on_load(context: Any) -> None:
    """Start ticking; the context joins the thread at unload."""
    context.thread(_tick, context.stopping)
    context.register(_ticked.clear)


def _tick(stopping: threading.Event) -> None:
    global _ticks
    while not stopping.wait(INTERVAL):
        _ticks += 1
        _ticked.set()


def run(wait: float = 5.0) -> dict[str, Any]:
    """Return how often it ticked, once it has."""
    _ticked.wait(wait)
    return {"ticks": _ticks, "interval": INTERVAL}
