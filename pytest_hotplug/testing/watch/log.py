"""Every event of watch mode as a JSON line, for editors and scripts; flushed at once."""

from __future__ import annotations

import json
import os
import select
import sys
import time
from pathlib import Path
from typing import IO, Any

import pytest

__all__ = ["EventLog"]

SCHEMA_VERSION = 1


class EventLog:
    """Writes events to a file ("-" is stdout), or nowhere; raises pytest.UsageError if it can't be opened."""

    def __init__(self, target: str | None) -> None:
        self._file: IO[str] | None = None
        self._wanted = True
        self.path = Path(os.path.realpath(target)) if target and target != "-" else None
        if target == "-":
            self._file = sys.stdout
        elif target:
            try:
                self._file = open(target, "a", encoding="utf-8")  # noqa: SIM115  # lives as long as the watch
            except OSError as error:
                raise pytest.UsageError(
                    f"--hotplug-events: {target} can't be written: {error.strerror} [events-unwritable]"
                ) from None

    def write(self, event: str, **facts: Any) -> None:
        if self._file is not None:
            line = {"event": event, "t": time.time(), "schema_version": SCHEMA_VERSION, **facts}
            try:
                self._file.write(json.dumps(line) + "\n")
                self._file.flush()
            except BrokenPipeError:
                self._wanted = False  # the watch ends when it looks next

    def is_wanted(self) -> bool:
        """Tell whether somebody may still read: a pipe whose reader is gone says so before we write."""
        if self._file is not sys.stdout or not self._wanted:
            return self._wanted
        poll = select.poll()
        poll.register(self._file.fileno(), 0)
        return not any(happened & (select.POLLERR | select.POLLHUP) for _, happened in poll.poll(0))

    def close(self) -> None:
        if self._file is not None and self._file is not sys.stdout:
            self._file.close()
