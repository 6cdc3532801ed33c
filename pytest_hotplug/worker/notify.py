"""Tell systemd what state the worker is in, when it is run by it: see sd_notify(3). Nothing without it."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping

__all__ = ["notify", "ready", "reloading", "stopping"]


def ready(status: str) -> None:
    """Say that the worker serves."""
    notify({"READY": "1", "STATUS": status})


def reloading() -> None:
    """Say that settings are read again, and since when; `ready` ends it."""
    notify({"RELOADING": "1", "MONOTONIC_USEC": str(time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000)})


def stopping(status: str) -> None:
    """Say that the worker ends."""
    notify({"STOPPING": "1", "STATUS": status})


def notify(facts: Mapping[str, str]) -> None:
    """Send a message to the socket that `NOTIFY_SOCKET` names; raises OSError where it can't be sent."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address or not hasattr(socket, "AF_UNIX"):
        return
    if address[0] == "@":  # of Linux's own name space
        address = "\0" + address[1:]
    text = "\n".join(f"{key}={value.replace(chr(10), ' ')}" for key, value in facts.items())
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | getattr(socket, "SOCK_CLOEXEC", 0)) as sender:
        sender.settimeout(1.0)  # seconds; a manager that hangs must not stop us
        sender.sendto(text.encode("utf-8", "backslashreplace"), address)
