"""A worker that runs beside a test, as `hotplug start` makes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx

from tests.cli.terminal import PATIENCE, Running, User

__all__ = ["asked", "posted", "serving", "socket_of"]


def serving(user: User, *options: str, **variables: str) -> Running:
    """Start a worker and return it once it serves."""
    worker = user.starts("start", "--json", *options, HOTPLUG_DEBOUNCE="0.05", **variables)
    worker.until(event="serving")
    return worker


def socket_of(user: User, name: str = "worker") -> Path:
    return user.here / ".hotplug" / "run" / f"{name}.sock"


def client(user: User, name: str = "worker") -> httpx.Client:
    transport = httpx.HTTPTransport(uds=str(socket_of(user, name)))
    return httpx.Client(transport=transport, base_url="http://localhost", timeout=PATIENCE)


def asked(user: User, path: str, **query: Any) -> httpx.Response:
    """Return what the worker answers to a GET."""
    with client(user) as open_client:
        return open_client.get(path, params=query)


def posted(user: User, path: str, body: Any = None, content: bytes | None = None) -> httpx.Response:
    """Return what the worker answers to a POST."""
    with client(user) as open_client:
        return open_client.post(path, content=content) if content is not None else open_client.post(path, json=body)
