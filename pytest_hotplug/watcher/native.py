"""The one place that touches watchfiles, and the one that knows how it fails.

Takes the Rust class itself: the public generators filter, group and import on their own terms.
Imports it when a watch begins, never before. For `events` and `watching` only.
"""

from __future__ import annotations

import errno
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pytest_hotplug.watcher.bell import Bell

# After a ring the news is there within a millisecond or two; what comes later is found by the look that follows.
_NEWS_WITHIN_MS = 100
# Waking up every millisecond costs one or two percent of a CPU, for as long as somebody is at work.
_DROWSY_AFTER = 60.0  # seconds without an event
_DROWSY_STEP_MS = 10
_NO_ROOM = (errno.ENOSPC, errno.EMFILE, errno.ENFILE, errno.ENOSYS)


class StopEvent(Protocol):
    """Anything that can be asked whether to stop, as `threading.Event`."""

    def is_set(self) -> bool:
        """Tell whether to stop."""
        ...


class Notifier(Protocol):
    """A running native watcher: a set of (kind, real path), or a word for why there is none."""

    def watch(
        self, debounce_ms: int, step_ms: int, timeout_ms: int, stop_event: StopEvent | None
    ) -> set[tuple[int, str]] | str:
        """Wait for changes; a timeout of 0 means without end."""
        ...

    def wake(self) -> None:
        """Let a `watch` that goes on see that the stop event is set."""
        ...

    def close(self) -> None:
        """End the watcher's own thread."""
        ...


class Rust(Protocol):
    """What watchfiles has of it: it sleeps for a step, looks for news and for the stop event, and so on."""

    def watch(
        self, debounce_ms: int, step_ms: int, timeout_ms: int, stop_event: StopEvent | None
    ) -> set[tuple[int, str]] | str: ...

    def close(self) -> None: ...


class Rung:
    """Sleeps until the bell rings, and only then asks for news."""

    def __init__(self, rust: Rust, bell: Bell) -> None:
        self._rust = rust
        self._bell = bell

    def watch(
        self, debounce_ms: int, step_ms: int, timeout_ms: int, stop_event: StopEvent | None
    ) -> set[tuple[int, str]] | str:
        if stop_event is not None and stop_event.is_set():
            return "stop"
        if not self._bell.wait(timeout_ms or None):
            return "timeout"
        return self._rust.watch(debounce_ms, step_ms, min(timeout_ms or _NEWS_WITHIN_MS, _NEWS_WITHIN_MS), stop_event)

    def wake(self) -> None:
        self._bell.wake()

    def close(self) -> None:
        self._bell.close()
        self._rust.close()


class Drowsy:
    """Looks for news in steps, and after a while without any in longer ones."""

    def __init__(self, rust: Rust, clock: Callable[[], float] = time.monotonic) -> None:
        self._rust = rust
        self._now = clock
        self._last_told = clock()

    def watch(
        self, debounce_ms: int, step_ms: int, timeout_ms: int, stop_event: StopEvent | None
    ) -> set[tuple[int, str]] | str:
        awake = round(1000 * (self._last_told + _DROWSY_AFTER - self._now()))
        told: set[tuple[int, str]] | str = "timeout"
        if awake > 0:
            told = self._rust.watch(debounce_ms, step_ms, min(awake, timeout_ms or awake), stop_event)
        if told == "timeout" and not 0 < timeout_ms <= awake:
            step = max(step_ms, _DROWSY_STEP_MS)
            told = self._rust.watch(max(debounce_ms, step), step, timeout_ms and timeout_ms - max(0, awake), stop_event)
        if not isinstance(told, str):
            self._last_told = self._now()
        return told

    def wake(self) -> None:
        """Leave it to the next step."""

    def close(self) -> None:
        self._rust.close()


OpenNotifier = Callable[[Sequence[str]], Notifier]


class EventsUnavailable(Exception):
    """Native events cannot serve here; the text says why, in one line for the user."""


def open_notifier(directories: Sequence[str]) -> Notifier:
    """Listen to these directories, each without those below it.

    Permission errors are not ignored: that switch of watchfiles also hides a reached watch limit and
    a missing directory, and leaves both unwatched in silence.
    """
    from watchfiles._rust_notify import RustNotify

    rust = RustNotify(
        list(directories),
        debug=False,
        force_polling=False,
        poll_delay_ms=0,
        recursive=False,
        ignore_permission_denied=False,
    )
    if sys.platform != "linux":
        return Drowsy(rust)
    from pytest_hotplug.watcher.bell import Bell

    try:
        return Rung(rust, Bell(directories))
    except OSError as error:
        if error.errno in _NO_ROOM:
            return Drowsy(rust)
        rust.close()
        raise


def why_unavailable(error: Exception) -> str | None:
    """Explain an error that no restart will cure; None for one that may pass.

    The two limits arrive as two types: a full watch table as OSError, a refused instance as the
    internal error of watchfiles. Both are told apart by their text, which is all they carry.
    """
    if isinstance(error, EventsUnavailable):
        return str(error)
    if isinstance(error, ImportError):
        return f"watchfiles cannot be imported: {error}"
    if isinstance(error, UnicodeEncodeError):
        return f"a directory name is not UTF-8: {error.object!a}"
    return _limit_reached(error)


def _limit_reached(error: Exception) -> str | None:
    number, text = getattr(error, "errno", None), str(error)
    if number == errno.ENOSPC or "file watch limit reached" in text:
        return (
            "inotify watch limit reached: raise fs.inotify.max_user_watches (sysctl fs.inotify.max_user_watches=524288)"
        )
    if number in (errno.EMFILE, errno.ENFILE) or "Too many open files" in text:
        return (
            "inotify instance limit or open file limit reached: raise fs.inotify.max_user_instances "
            "(sysctl fs.inotify.max_user_instances=512) or ulimit -n"
        )
    return None
