"""Threads and children in tests: let them take turns, wait for what they do. Knows nothing of plugins."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

PATIENCE = 10.0  # seconds that anything which must happen may take


def eventually(condition: Callable[[], Any], what: str = "the condition", patience: float = PATIENCE) -> Any:
    """Wait until `condition()` is true and return it."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.005)
    raise AssertionError(f"{what} did not come true within {patience:g} s")


@contextmanager
def nervous_switching() -> Iterator[None]:
    """Let threads take turns every 50 us."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(5e-5)
    try:
        yield
    finally:
        sys.setswitchinterval(before)
