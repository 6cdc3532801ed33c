"""JSON lines and file descriptors over a socket between the watcher and a parked process.

A message says how many descriptors come with it. Each end belongs to one reader and one writer.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Iterator, Sequence
from typing import Any

__all__ = ["Channel", "Received"]

Received = tuple[dict[str, Any], list[int]]

_MOST_DESCRIPTORS = 16  # of one message


class Channel:
    """One end of a stream socket."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._begun = b""
        self._descriptors: list[int] = []  # received, and not handed out yet

    @classmethod
    def pair(cls) -> tuple[Channel, socket.socket]:
        """Return our end, and the other one to give away."""
        ours, theirs = socket.socketpair()
        return cls(ours), theirs

    def fileno(self) -> int:
        """Return what `select` waits for."""
        return self._end.fileno()

    def send(self, facts: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
        """Send one message; raises OSError when nobody reads any more."""
        line = json.dumps({**facts, "descriptors": len(descriptors)}).encode() + b"\n"
        sent = socket.send_fds(self._end, [line], descriptors) if descriptors else 0
        if sent < len(line):  # whoever has it all may have closed the other end by now, which is no error
            self._end.sendall(line[sent:])

    def receive(self) -> list[Received] | None:
        """Wait for bytes and return the messages that are complete, None when the other end is closed."""
        try:
            part, descriptors, _, _ = socket.recv_fds(self._end, 1 << 16, _MOST_DESCRIPTORS)
        except ConnectionResetError:
            return None
        if not part:
            return None
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)  # what a test starts must not hold our pipes open
        self._descriptors += descriptors
        *lines, self._begun = (self._begun + part).split(b"\n")
        return list(self._complete(lines))

    def _complete(self, lines: list[bytes]) -> Iterator[Received]:
        for line in lines:
            facts = json.loads(line)
            number = facts.pop("descriptors")
            mine, self._descriptors = self._descriptors[:number], self._descriptors[number:]
            yield facts, mine

    def finish(self) -> None:
        """Send no more; what the other end has to say is still heard, until it closes."""
        with contextlib.suppress(OSError):  # the other end is gone already
            self._end.shutdown(socket.SHUT_WR)

    def leave(self) -> None:
        """Close this process's copy of the end."""
        self._end.close()
