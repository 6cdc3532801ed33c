"""The socket of a worker: only its user gets in, and never a moment in which others might.

Bound, then closed to others, then opened for connections (before that a connection is refused), in a
directory that is the user's alone. Who connects is asked of the system, not of the one who connects.
"""

from __future__ import annotations

import os
import socket
import stat
import struct
from dataclasses import dataclass
from pathlib import Path

from pytest_hotplug.reloader.errors import HotplugError, near, visible
from pytest_hotplug.worker.run_dir import answers

__all__ = ["Peer", "close", "listen", "peer_of"]

LONGEST = 103  # bytes of a path that every system takes; Linux takes 4 more
WAITING = 128  # connections that may wait to be taken
_CREDENTIALS = struct.Struct("3i")


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end of a connection: process, user, group."""

    pid: int
    uid: int
    gid: int

    def __str__(self) -> str:
        return f"uid {self.uid} (pid {self.pid})"

    @property
    def may_command(self) -> bool:
        """Tell whether this user may command this process: its own, or root."""
        return self.uid in (0, os.geteuid())


def listen(path: Path) -> socket.socket:
    """Return a socket that takes connections at `path`, from this user's processes alone.

    What a worker that was killed left there is replaced; anything else is not touched. Raises
    HotplugError `[socket-in-the-way]`, `[socket-path-too-long]`, `[cannot-listen]`.
    """
    shown = visible(near(path))
    if not hasattr(socket, "AF_UNIX"):
        raise HotplugError("this system has no unix sockets, over which workers are commanded [cannot-listen]")
    if len(os.fsencode(path)) > LONGEST:
        remedy = f"the system takes {LONGEST} bytes; choose a shorter state_dir, or HOTPLUG_STATE_DIR=/run/NAME"
        raise HotplugError(f"the path of the socket is too long ({shown}): {remedy} [socket-path-too-long]")
    _make_room(path, shown)
    ours = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        ours.bind(os.fspath(path))
        os.chmod(path, 0o600)
        ours.listen(WAITING)
    except OSError as error:
        ours.close()
        raise HotplugError(f"can't listen at {shown}: {error.strerror or error} [cannot-listen]") from None
    return ours


def close(ours: socket.socket, path: Path, inode: int) -> None:
    """Take the name away, unless another one has taken its place, and the socket with it."""
    try:
        if os.lstat(path).st_ino == inode:
            os.unlink(path)
    except FileNotFoundError:
        pass
    ours.close()


def peer_of(connection: socket.socket) -> Peer | None:
    """Return who connected; None where the system can't tell, and the socket's mode is what protects it."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return None
    return Peer(*_CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, option, _CREDENTIALS.size)))


def _make_room(path: Path, shown: str) -> None:
    """Remove what a killed worker left; raises HotplugError `[socket-in-the-way]` for anything else."""
    try:
        there = os.lstat(path)
    except FileNotFoundError:
        return
    why = ""
    if not stat.S_ISSOCK(there.st_mode):
        why = "is no socket"
    elif there.st_uid != os.geteuid():
        why = f"belongs to uid {there.st_uid}"
    elif answers(path):
        why = "is listened at by another process"
    if why:
        raise HotplugError(f"{shown} {why}; remove it, or choose another state_dir [socket-in-the-way]")
    os.unlink(path)
