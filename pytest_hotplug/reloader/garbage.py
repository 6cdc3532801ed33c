"""Collect what retired generations leave behind before the heap has grown for it.

A module and its functions refer to each other, so that nothing but a full collection frees an old
generation, and Python makes one only when a quarter of all objects is new: by then dozens of versions
lie between what lives, and the memory that they took is not given back. In a small process we don't
wait as long. One for the process, as the collector is.
"""

from __future__ import annotations

import gc
import os
import sys
import threading

__all__ = ["AFTER", "collect_retired", "one_more_retired"]

AFTER = 16  # retired generations without a full collection
MOST_BLOCKS = 250_000  # of memory, which take some 25 ms; in a larger process Python decides alone

_lock = threading.RLock()  # guards _retired and _collections; again: a finalizer may end a generation, too
_retired = 0  # since the last full collection
_collections = 0  # full ones that there had been by then


def one_more_retired() -> None:
    """Take note of a generation that nothing of ours refers to any more, and collect if it is time."""
    global _retired, _collections
    if not gc.isenabled():
        return
    with _lock:
        collections = gc.get_stats()[-1]["collections"]
        if collections != _collections:
            _retired, _collections = 0, collections
        _retired += 1
        if _retired < AFTER:
            return
        _retired = 0
    if sys.getallocatedblocks() < MOST_BLOCKS:
        gc.collect()


def collect_retired() -> None:
    """Free what ended generations left, if any has ended since the last full collection: somebody wants to count."""
    global _retired
    if not gc.isenabled():
        return
    with _lock:
        waits = _retired > 0 and gc.get_stats()[-1]["collections"] == _collections
        _retired = 0
    if waits and sys.getallocatedblocks() < MOST_BLOCKS:
        gc.collect()


def _after_fork_in_child() -> None:
    """Start with a lock that no thread of the parent holds."""
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
