"""Calls to a worker without end, over few connections, and what was wrong with any answer; a disk that is full."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.cli.terminal import PATIENCE

__all__ = ["Caller", "Tally", "full_disk"]


@dataclass
class Tally:
    """What callers have seen; `lock` guards it."""

    answered: Counter[int] = field(default_factory=Counter)  # by status
    cut: int = 0  # connections that ended before an answer
    wrong: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


class Caller(threading.Thread):
    """One connection that asks again as soon as it is answered, at most `rate` times a second.

    An answer must be whole: both halves of it come from one version, and never from one that was refused.
    """

    def __init__(self, path: Path, plugins: list[str], tally: Tally, rate: float) -> None:
        super().__init__(daemon=True)
        self._path = path
        self._plugins = plugins
        self._tally = tally
        self._pause = 1 / rate
        self._over = threading.Event()
        self._buffer = b""

    def stop(self) -> None:
        self._over.set()
        self.join(PATIENCE)
        assert not self.is_alive(), "a call was never answered"

    def run(self) -> None:
        number, due = 0, time.monotonic()
        connection: socket.socket | None = None
        while not self._over.is_set():
            try:
                if connection is None:
                    connection = socket.socket(socket.AF_UNIX)
                    connection.settimeout(PATIENCE)
                    connection.connect(str(self._path))
                    self._buffer = b""
                self._judge(*self._call(connection, self._plugins[number % len(self._plugins)]))
            except (ConnectionError, FileNotFoundError, EOFError):  # the worker was killed; the next one takes over
                if connection is not None:
                    connection.close()
                connection = None
                with self._tally.lock:
                    self._tally.cut += 1
                self._over.wait(0.02)
            number += 1
            due = max(due + self._pause, time.monotonic() - 1)
            self._over.wait(max(0.0, due - time.monotonic()))
        if connection is not None:
            connection.close()

    def _call(self, connection: socket.socket, plugin: str) -> tuple[int, dict[str, object]]:
        connection.sendall(f"POST /plugins/{plugin}/execute HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".encode())
        head = self._until(connection, b"\r\n\r\n").decode()
        fields = dict(line.split(": ", 1) for line in head.lower().split("\r\n")[1:])
        length = int(fields["content-length"])
        while len(self._buffer) < length:
            self._more(connection)
        body, self._buffer = self._buffer[:length], self._buffer[length:]
        return int(head.split()[1]), json.loads(body)

    def _until(self, connection: socket.socket, end: bytes) -> bytes:
        while end not in self._buffer:
            self._more(connection)
        found, _, self._buffer = self._buffer.partition(end)
        return found

    def _more(self, connection: socket.socket) -> None:
        part = connection.recv(65536)
        if not part:
            raise EOFError
        self._buffer += part

    def _judge(self, status: int, answer: dict[str, object]) -> None:
        result = answer.get("result")
        whole = status == 200 and isinstance(result, list) and result[0] == result[1] and result[0] >= 0
        with self._tally.lock:
            self._tally.answered[status] += 1
            if not whole and len(self._tally.wrong) < 10:
                self._tally.wrong.append(f"{status}: {answer}")


@contextmanager
def full_disk(pid: int) -> Iterator[None]:
    """Let no file take one more byte of a process, as a full disk does; sockets and pipes take what they took."""
    import resource  # not everywhere

    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)
