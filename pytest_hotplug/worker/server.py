"""uvicorn on a thread of its own, behind a protocol that looks at who connects before it reads a byte.

What is sent slowly, or never, or is no HTTP, costs one connection for a few seconds and nobody else
anything.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

from pytest_hotplug.worker.extra import extra_missing
from pytest_hotplug.worker.listening import WAITING, peer_of

try:
    import uvicorn
    from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle
except ImportError as error:
    raise extra_missing(error) from None

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.types import Receive, Scope, Send

__all__ = ["Server"]

LOG = logging.getLogger("hotplug")
PATIENCE = 5.0  # seconds for a request's head to arrive, and for an idle connection
MOST = 512  # connections at once
HEAD = 16 * 1024  # bytes of a request's head
LEAVING = 2.0  # seconds that open connections have when the server ends
TELLING = 60.0  # seconds between two words that no connection can be taken


class _Checked(H11Protocol):
    """HTTP/1.1 for peers that may command us; whoever sends no whole request in time is let go."""

    most = MOST
    _waits: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        connection = transport.get_extra_info("socket")
        if connection is not None and connection.family == getattr(socket, "AF_UNIX", None):
            peer = peer_of(connection)
            if peer is not None:
                self.client = (str(peer), peer.pid)
            if peer is not None and not peer.may_command:
                LOG.warning("hotplug.peer_refused", extra={"text": f"{peer} may not command this worker"})
                transport.abort()
                return
        if len(self.connections) > self.most:
            transport.abort()
            return
        self._wait()

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        super().data_received(data)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._wait_no_more()
        super().connection_lost(exc)

    def _wait(self) -> None:
        """Start the clock where a request is due; it stands while one is answered."""
        if self._is_answering():
            self._wait_no_more()
        elif self._waits is None and self.timeout_keep_alive_task is None:
            self._waits = self.loop.call_later(PATIENCE, self._late)

    def _wait_no_more(self) -> None:
        if self._waits is not None:
            self._waits.cancel()
            self._waits = None

    def _late(self) -> None:
        self._waits = None
        if not self._is_answering():
            self.transport.abort()

    def _is_answering(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle  # None until the first request
        return cycle is not None and not cycle.response_complete


class Server:
    """Serves an application on a socket that listens already, until `stop`; at most so many connections at once."""

    def __init__(self, app: Starlette, ours: socket.socket, name: str, *, most: int = MOST) -> None:

        async def until_the_end(scope: Scope, receive: Receive, send: Send) -> None:
            try:
                await app(scope, receive, send)
            except asyncio.CancelledError:  # the server has ended, and the connection with it
                return

        config = uvicorn.Config(
            until_the_end,
            http=type("Checked", (_Checked,), {"most": most}),
            loop="asyncio",
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="error",  # a line for each request that is no HTTP tells nobody anything
            access_log=False,
            server_header=False,
            proxy_headers=False,
            h11_max_incomplete_event_size=HEAD,
            timeout_keep_alive=int(PATIENCE),
            backlog=WAITING,  # asyncio tries as often to take one when the process has no descriptor left
        )
        self._server = uvicorn.Server(config)
        self._socket = ours
        self._loop: asyncio.AbstractEventLoop | None = None
        self._told_full = -TELLING
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)

    def start(self) -> None:
        """Serve from now on; connections that waited are taken."""
        self._thread.start()

    def stop(self) -> None:
        """Let open connections end within two seconds, break those that don't, and join the thread."""
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(LEAVING)
        if self._thread.is_alive() and self._loop is not None:
            self._loop.call_soon_threadsafe(self._break_off)
            self._thread.join(1.0)

    def sockets(self) -> list[int]:
        """Return the descriptors of the socket that listens and of every connection."""
        connections = (protocol.transport for protocol in self._server.server_state.connections)
        ours = (self._socket, *(transport.get_extra_info("socket") for transport in connections))
        return [one.fileno() for one in ours if one is not None and one.fileno() != -1]

    @property
    def alive(self) -> bool:
        """Tell whether anybody is served."""
        return self._thread.is_alive()

    def _serve(self) -> None:
        try:
            asyncio.run(self._served())
        except BaseException:  # its end is told by the process, which looks at `alive`
            LOG.exception("hotplug.server_ended")

    async def _served(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(self._failed)
        await self._server.serve(sockets=[self._socket])

    def _break_off(self) -> None:
        """Break the connections whose answers will never come: an answer would say what nobody knows."""
        for connection in list(self._server.server_state.connections):
            connection.transport.abort()
        self._server.force_exit = True

    def _failed(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Tell of what failed on the loop; once a minute, that no connection can be taken."""
        if "socket" not in context or not isinstance(context.get("exception"), OSError):
            loop.default_exception_handler(context)
        elif time.monotonic() - self._told_full >= TELLING:
            self._told_full = time.monotonic()
            text = f"no connection can be taken: {context['exception'].strerror}; it is tried again every second"
            LOG.error("hotplug.no_connection", extra={"text": text})
