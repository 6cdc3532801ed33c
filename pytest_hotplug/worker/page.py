"""The status page of a worker: for a browser on this machine, read-only, on a loopback port behind a token.

A port of the machine is open to all its users, and to every page that one of them visits. So nothing is
answered without the token of this start or the cookie that it was exchanged for, nor under a name that is
not the machine's own (a foreign page's, whose address was turned to 127.0.0.1). See
docs/decisions/a-cookie-for-the-status-page.md.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import errno
import hashlib
import json
import os
import re
import secrets
import socket
import stat
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pytest_hotplug import __version__
from pytest_hotplug.reloader.errors import HotplugError
from pytest_hotplug.worker.extra import extra_missing
from pytest_hotplug.worker.journal import identity
from pytest_hotplug.worker.results import SCHEMA_VERSION

try:
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.requests import Request
    from starlette.responses import PlainTextResponse, RedirectResponse, Response, StreamingResponse
    from starlette.routing import Route
except ImportError as error:
    raise extra_missing(error) from None

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from pytest_hotplug.worker.journal import Feed
    from pytest_hotplug.worker.service import Service

__all__ = ["Page", "listen"]

LOOPBACK = "127.0.0.1"
WAITING = 32  # connections that may wait to be taken
THREADS = 2  # that ask the service
ROWS = 200  # of the past
HEARTBEAT = 15.0  # seconds after which a stream says that it lives
MOST_READERS = 32  # event streams at once
WEEK = 7 * 24 * 3600.0  # seconds; a start later than that makes a new key
KEY = re.compile(r"[A-Za-z0-9_-]{43}")
T = TypeVar("T")


def listen(port: int) -> socket.socket:
    """Return a socket that takes connections of this machine alone; port 0: a free one.

    Raises HotplugError `[page-port-in-use]`, `[cannot-listen]`.
    """
    ours = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        if os.name == "posix":  # connections that ended a moment ago are no reason to refuse; elsewhere it means more
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        ours.bind((LOOPBACK, port))
        ours.listen(WAITING)
    except OSError as error:
        ours.close()
        raise _not_listening(port, error) from None
    return ours


def _not_listening(port: int, error: OSError) -> HotplugError:
    if error.errno == errno.EADDRINUSE:
        way_out = "choose another one, or --page 0 for a free one"
        return HotplugError(f"port {port} of the status page is in use; {way_out} [page-port-in-use]")
    return HotplugError(f"can't listen at port {port} for the status page: {error.strerror} [cannot-listen]")


class Page:
    """The page of one worker on a socket of `listen`; `app` is what a server serves there.

    `key_file` is where the value of the cookie outlives a restart; its directory must be the user's alone.
    """

    def __init__(self, service: Service, feed: Feed, ours: socket.socket, key_file: Path) -> None:
        self._service = service
        self._feed = feed
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="hotplug-page")
        self._readers = 0  # of the page's loop alone, as all that follows
        self._closed = False
        port = int(ours.getsockname()[1])
        door = _Door(port, secrets.token_urlsafe(32), _key_of(key_file))
        self.address = f"http://{LOOPBACK}:{port}/?token={door.token}"
        routes = [
            Route("/", self._document, methods=["GET"]),
            Route("/plugins", self._plugins, methods=["GET"]),
            Route("/events", self._events, methods=["GET"]),
        ]
        self._html = files("pytest_hotplug.worker").joinpath("status_page.html").read_text(encoding="utf-8")
        headers = {**_HEADERS, b"content-security-policy": _policy(self._html).encode()}
        self.app = Starlette(routes=routes, middleware=[Middleware(_Guard, door=door, headers=headers)])

    def close(self) -> None:
        """Let every stream end, also one that begins just now, so that nobody waits for the server's end."""
        self._closed = True
        self._feed.close()

    def end(self) -> None:
        """End the threads that have nothing to do; once nobody asks any more."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    # -- the routes -----------------------------------------------------------------------------

    async def _document(self, request: Request) -> Response:
        return Response(self._html, media_type="text/html")

    async def _plugins(self, request: Request) -> Response:
        """Answer with the plugins; the address with the token is no part of it."""
        if self._closed:
            return PlainTextResponse("the worker has stopped [worker-stopping]", 503)
        facts = {
            "schema_version": SCHEMA_VERSION,
            "worker": self._service.name,
            "pid": os.getpid(),
            "version": __version__,
            "phase": self._service.phase,
            "hot_reload_enabled": self._service.manager.hot_reload_enabled,
            "plugins": await self._thread(self._service.plugins),
        }
        return Response(json.dumps(facts, default=str), media_type="application/json")

    async def _events(self, request: Request) -> Response:
        """Answer with server-sent events: `past`, a list of what happened, then one message for what happens."""
        if self._readers >= MOST_READERS:
            return PlainTextResponse(f"{MOST_READERS} pages are open already [worker-busy]", 503)
        return StreamingResponse(self._stream(), media_type="text/event-stream")

    async def _stream(self) -> AsyncIterator[bytes]:
        self._readers += 1
        try:
            with self._feed.listening() as queue:
                if self._closed:  # looked at after listening: who comes later than `close` finds it set
                    return
                before = await self._thread(self._service.past, None, None, ROWS)
                yield f"event: past\ndata: {json.dumps(before, default=str)}\n\n".encode()
                known = {identity(facts) for facts in before}  # happened while the past was read: told once
                while True:
                    try:
                        told = await asyncio.wait_for(queue.get(), HEARTBEAT)
                    except TimeoutError:
                        yield b": lives\n\n"
                        continue
                    if told is None:
                        return
                    if identity(told) not in known:
                        yield f"data: {json.dumps(told, default=str)}\n\n".encode()
        finally:
            self._readers -= 1

    async def _thread(self, work: Callable[..., T], *given: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *given)


# -- who gets in --------------------------------------------------------------------------------


class _Door:
    """Knows who may see the page: who has the token of this start, or the cookie that it was exchanged for."""

    def __init__(self, port: int, token: str, key: str) -> None:
        self.token = token
        self._key = key
        self._cookie = f"hotplug-page-{port}"  # browsers send a machine's cookies to all its ports
        bare = {LOOPBACK, "localhost"} if port == 80 else set()
        self._hosts = {f"{LOOPBACK}:{port}", f"localhost:{port}"} | bare

    def is_ours(self, request: Request) -> bool:
        """Tell whether the page is asked for under a name of this machine."""
        return request.headers.getlist("host") in ([host] for host in self._hosts)

    def knows(self, request: Request) -> bool:
        return _same(request.cookies.get(self._cookie, ""), self._key)

    def is_shown_token(self, request: Request) -> bool:
        return request.url.path == "/" and _same(request.query_params.get("token", ""), self.token)

    def let_in(self) -> Response:
        """Answer a token with the cookie, and lead the browser to an address that can be shown to others."""
        answer = RedirectResponse("/", 303)
        answer.set_cookie(self._cookie, self._key, path="/", httponly=True, samesite="strict")
        return answer


class _Guard:
    """Stands before all routes: refuses, lets in, and gives every answer the headers that shut the page."""

    def __init__(self, app: ASGIApp, door: _Door, headers: Mapping[bytes, bytes]) -> None:
        self._app = app
        self._door = door
        self._headers = list(headers.items())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_shut(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *self._headers]
            await send(message)

        answer = self._answer(Request(scope))
        await (self._app if answer is None else answer)(scope, receive, send_shut)

    def _answer(self, request: Request) -> Response | None:
        """Return what is answered at the door; None for who may go on."""
        if not self._door.is_ours(request):
            return PlainTextResponse(_NOT_ALLOWED, 403)
        shows_token = self._door.is_shown_token(request)
        if not shows_token and not self._door.knows(request):
            return PlainTextResponse(_NOT_ALLOWED, 403)
        if request.method != "GET":
            return PlainTextResponse("the status page only shows", 405, {"allow": "GET"})
        if shows_token:
            return self._door.let_in()
        if "token" in request.query_params:  # an old one, of a browser that is known
            return RedirectResponse(request.url.path, 303)
        return None


_NOT_ALLOWED = (
    "Not allowed: this worker does not know the browser. Copy the whole address that 'hotplug workers' shows "
    "into the browser's address bar. [page-not-allowed]"
)
_HEADERS = {
    b"cache-control": b"no-store",
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
}


def _policy(html: str) -> str:
    """Return a policy that lets run what stands in the page, by its hash, and nothing else."""
    rules = ["default-src 'none'", "connect-src 'self'", "img-src data:"]
    for tag, rule in (("script", "script-src"), ("style", "style-src")):
        parts = re.findall(f"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        sums = [base64.b64encode(hashlib.sha256(part.encode()).digest()).decode() for part in parts]
        rules.append(" ".join([rule, *(f"'sha256-{one}'" for one in sums)]))
    return "; ".join([*rules, "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"])


def _same(given: str, ours: str) -> bool:
    return secrets.compare_digest(given.encode("utf-8", "replace"), ours.encode())


# -- the cookie's value -------------------------------------------------------------------------


def _key_of(path: Path) -> str:
    """Return the key that lies at `path`, or a new one, which then lies there: readable by its user alone."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return _kept_key(path)
    key = secrets.token_urlsafe(32)
    number, beside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # 0600 from its first moment
    try:
        with open(number, "w", encoding="ascii") as file:
            file.write(key)
        os.replace(beside, path)
    except OSError:
        os.unlink(beside)
        raise
    return key


def _kept_key(path: Path) -> str:
    """Return the key that was kept; raises OSError where none lies there that is ours alone and not too old."""
    number = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    with open(number, encoding="ascii") as file:
        found = os.fstat(file.fileno())
        private = stat.S_ISREG(found.st_mode) and not found.st_mode & 0o077
        owned = not hasattr(os, "geteuid") or found.st_uid == os.geteuid()
        key = file.read(100) if private and owned else ""
    if KEY.fullmatch(key) is None or not 0 <= time.time() - found.st_mtime < WEEK:
        raise FileNotFoundError(path)
    return key
