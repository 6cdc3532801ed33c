"""What a forked process does first, so that nobody can tell it from one that was started for this run.

Forks share file offsets, seeds, and what is to be done at exit: each of these was seen to make
a difference.
"""

from __future__ import annotations

import atexit
import importlib
import io
import linecache
import os
import random
import sys
import weakref
from collections.abc import Sequence
from typing import Any

import pytest

__all__ = ["begin_afresh", "forget_endings", "leave", "speak_to"]


def begin_afresh() -> None:
    """Forget what the process it comes from drew, cached and promised to do at its end."""
    random.seed()
    numpy: Any = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed()
    linecache.checkcache()
    importlib.invalidate_caches()
    forget_endings()


def forget_endings() -> None:
    """Leave to the parent what it registered: its temporary directories are still in use."""
    atexit._clear()
    finalizers: Any = weakref.finalize
    for finalizer in list(finalizers._registry):
        finalizer.atexit = False
    finalizers._registered_with_atexit = False


def speak_to(config: pytest.Config, streams: Sequence[int], *, capturing: bool) -> None:
    """Put these descriptors in place of stdout and stderr, below pytest's capturing; leave that on or off.

    Capturing begins anew: its file would be shared by all forked processes, and reports carried the
    output of other tests.
    """
    capture: Any = config.pluginmanager.getplugin("capturemanager")
    if capture is not None:
        capture.stop_global_capturing()
    sys.stdout.flush()
    sys.stderr.flush()
    for fd, place in zip((1, 2), streams, strict=True):
        os.dup2(place, fd)
    for stream in (sys.__stdout__, sys.__stderr__):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=stream.isatty())
    if capture is not None:
        capture.start_global_capturing()
        if not capturing:
            capture.suspend_global_capture()


def leave(code: int) -> None:
    """End at once, after what this process itself has registered: finalizing a forked heap takes longer than a test."""
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
