"""The one place that touches watchfiles, and the one that knows how it fails.

Takes the Rust class itself: the public generators filter, group and import on their own terms.
Imports it when a watch begins, never before. For `events` and `watching` only.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from typing import Protocol


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

    def close(self) -> None:
        """End the watcher's own thread."""
        ...


OpenNotifier = Callable[[Sequence[str]], Notifier]


class EventsUnavailable(Exception):
    """Native events cannot serve here; the text says why, in one line for the user."""


def open_notifier(directories: Sequence[str]) -> Notifier:
    """Listen to these directories, each without those below it.

    Permission errors are not ignored: that switch of watchfiles also hides a reached watch limit and
    a missing directory, and leaves both unwatched in silence.
    """
    from watchfiles._rust_notify import RustNotify

    return RustNotify(
        list(directories),
        debug=False,
        force_polling=False,
        poll_delay_ms=0,
        recursive=False,
        ignore_permission_denied=False,
    )


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
