"""The control channel as an ASGI application: a closed list of routes, JSON in and out.

Bodies are bounded in size and time and read strictly. Every error is an object with a text, a slug and
the exit code that a command ends with. Who asks was checked before a request was parsed (see `server`).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from pytest_hotplug import __version__
from pytest_hotplug.reloader.errors import (
    HotplugError,
    InvalidPluginName,
    ParameterError,
    PluginDisabled,
    UnknownPlugin,
    UsageError,
)
from pytest_hotplug.worker.calls import Busy, Calls, EntryRaised
from pytest_hotplug.worker.extra import extra_missing
from pytest_hotplug.worker.journal import Feed, identity
from pytest_hotplug.worker.messages import (
    MOST,
    Disable,
    Enable,
    Execute,
    Nothing,
    Rollback,
    Stop,
    read,
)
from pytest_hotplug.worker.openapi import ENDPOINTS, described
from pytest_hotplug.worker.results import SCHEMA_VERSION
from pytest_hotplug.worker.service import Service

try:
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.requests import ClientDisconnect, Request
    from starlette.responses import JSONResponse, Response, StreamingResponse
    from starlette.routing import Route
except ImportError as error:
    raise extra_missing(error) from None

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from pytest_hotplug.worker.metrics import Metrics

__all__ = ["Parts", "make_app"]

BODY_TIME = 5.0  # seconds for a request's body to arrive
HEARTBEAT = 15.0  # seconds after which an event stream says that it lives
MOST_READERS = 32  # event streams at once
_SLUG = re.compile(r"\[([a-z][a-z0-9-]*)\]\s*\Z")
T = TypeVar("T")
Stopping = Callable[[float], Awaitable[dict[str, Any]]]


@dataclass(frozen=True)
class Parts:
    """What the routes work with. `threads` run what may take its time."""

    service: Service
    calls: Calls
    feed: Feed
    metrics: Metrics
    threads: Executor
    stop: Stopping


def make_app(parts: Parts) -> Starlette:
    """Return the application of one worker."""
    channel = _Channel(parts)
    routes = [Route(e.path, getattr(channel, e.operation), methods=[e.method]) for e in ENDPOINTS]
    return Starlette(
        routes=routes,
        exception_handlers={
            HTTPException: channel.no_such_route,
            HotplugError: channel.refused,
            Exception: channel.failed,
        },
    )


class _Channel:
    """The routes, each a few lines from a request to what the service says."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.service = parts.service
        self._readers = 0

    # -- what is known --------------------------------------------------------------------------

    async def worker(self, request: Request) -> Response:
        return self._answer(await self._thread(self.service.about))

    async def health(self, request: Request) -> Response:
        facts = await self._thread(self.service.health, request.query_params.getlist("plugin"))
        return self._answer(facts, 503 if facts["status"] == "failed" else 200)

    async def live(self, request: Request) -> Response:
        return self._answer({"live": True, "phase": self.service.phase})

    async def ready(self, request: Request) -> Response:
        facts = await self._thread(self.service.ready, request.query_params.getlist("plugin"))
        return self._answer(facts, 200 if facts["ready"] else 503)

    async def plugins(self, request: Request) -> Response:
        return self._answer({"plugins": await self._thread(self.service.plugins)})

    async def plugin(self, request: Request) -> Response:
        return self._answer(await self._thread(self.service.plugin, _name(request)))

    async def history(self, request: Request) -> Response:
        name = _name(request)
        return self._answer({"plugin": name, **await self._thread(self.service.history, name)})

    async def why(self, request: Request) -> Response:
        return self._answer(await self._thread(self.service.why, _name(request)))

    async def switches(self, request: Request) -> Response:
        return self._answer(await self._thread(self.service.switches))

    async def metrics(self, request: Request) -> Response:
        text = await self._thread(self.parts.metrics.render)
        return Response(text, media_type=self.parts.metrics.content_type)

    async def openapi(self, request: Request) -> Response:
        return JSONResponse(described(__version__))

    # -- what is done ---------------------------------------------------------------------------

    async def execute(self, request: Request) -> Response:
        asked = read(await _body(request), Execute)
        answer = await self.parts.calls.execute(_name(request), asked.parameters, newest=asked.newest)
        return self._answer(
            {
                "plugin": answer.plugin,
                "generation": answer.generation,
                "version": answer.version,
                "digest": answer.digest,
                "result": answer.result,
                "refused": answer.refused or None,
            }
        )

    async def reload(self, request: Request) -> Response:
        read(await _body(request), Nothing)
        return await self._outcome(partial(self.service.reload, _name(request), _asked_by(request, "reload")))

    async def refresh(self, request: Request) -> Response:
        read(await _body(request), Nothing)
        return await self._outcome(partial(self.service.bring_up, _name(request), _asked_by(request, "deploy")))

    async def unload(self, request: Request) -> Response:
        read(await _body(request), Nothing)
        return await self._outcome(partial(self.service.unload, _name(request), _asked_by(request, "unload")))

    async def rollback(self, request: Request) -> Response:
        asked = read(await _body(request), Rollback)
        if asked.end and asked.to is not None:
            raise UsageError("'to' and 'end' exclude each other", "bad-request")
        who = _asked_by(request, "rollback")
        return await self._outcome(partial(self.service.rollback, _name(request), asked.to, who, end=asked.end))

    async def enable(self, request: Request) -> Response:
        read(await _body(request), Enable)
        return self._answer(await self._thread(self.service.enable, _names(request)))

    async def disable(self, request: Request) -> Response:
        asked = read(await _body(request), Disable)
        facts = await self._thread(self.service.disable, _names(request), asked.reason, asked.lasts)
        return self._answer(facts)

    async def stop(self, request: Request) -> Response:
        asked = read(await _body(request), Stop)
        if not 0 <= asked.timeout < 1e9:
            raise UsageError("'timeout' is a number of seconds, not negative", "bad-request")
        facts = await self.parts.stop(asked.timeout)
        return self._answer(facts, 200 if facts["stopped"] else 500)

    async def _outcome(self, work: Callable[[], dict[str, Any]]) -> Response:
        facts = await self._thread(work)
        return self._answer(facts, 200 if facts["ok"] else 409)

    # -- events ---------------------------------------------------------------------------------

    async def events(self, request: Request) -> Response:
        """Answer with what happened (`since`, `tail`), and, with `follow=1`, what happens as server-sent events."""
        query = request.query_params
        plugin, since, tail = query.get("plugin"), _number(query, "since", float), _number(query, "tail", int)
        if query.get("follow") not in ("1", "true"):
            return self._answer({"events": await self._thread(self.service.past, plugin, since, tail)})
        if self._readers >= MOST_READERS:
            raise Busy(f"{MOST_READERS} readers follow the events already [worker-busy]")
        if plugin is not None:
            await self._thread(self.service.plugin, plugin)  # refuses one that nobody knows
        stream = self._stream(plugin, since, tail)
        return StreamingResponse(stream, media_type="text/event-stream", headers={"cache-control": "no-store"})

    async def _stream(self, plugin: str | None, since: float | None, tail: int | None) -> AsyncIterator[bytes]:
        self._readers += 1
        try:
            with self.parts.feed.listening() as queue:
                yield b": follows\n\n"
                wants_past = since is not None or tail is not None
                before = await self._thread(self.service.past, plugin, since, tail) if wants_past else []
                for facts in before:
                    yield _sent(facts)
                known = {identity(facts) for facts in before}  # happened while the past was read: told once
                while True:
                    try:
                        told = await asyncio.wait_for(queue.get(), HEARTBEAT)
                    except TimeoutError:
                        yield b": lives\n\n"
                        continue
                    if told is None:
                        return
                    if plugin in (None, told["plugin"]) and identity(told) not in known:
                        yield _sent(told)
        finally:
            self._readers -= 1

    # -- errors ---------------------------------------------------------------------------------

    async def no_such_route(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException), "registered for these"
        what = "takes no such method" if error.status_code == 405 else "is no address of a worker"
        text = f"{request.url.path} {what}; /openapi.json lists them [no-such-route]"
        return self._error(text, error.status_code, 4)

    async def refused(self, request: Request, error: Exception) -> Response:
        status, code = _meaning(error)
        return self._error(str(error), status, code)

    async def failed(self, request: Request, error: Exception) -> Response:
        return self._error(f"internal error: {error!r}; see the worker's log [internal]", 500, 3)

    def _error(self, text: str, status: int, code: int) -> Response:
        slug = _SLUG.search(text)
        return self._answer({"error": text, "slug": slug[1] if slug else None, "exit_code": code}, status)

    # -- both -----------------------------------------------------------------------------------

    def _answer(self, facts: Mapping[str, Any], status: int = 200) -> Response:
        text = json.dumps({"schema_version": SCHEMA_VERSION, "worker": self.service.name, **facts}, default=str)
        return Response(text, status, media_type="application/json")

    async def _thread(self, work: Callable[..., T], *given: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self.parts.threads, work, *given)


def _meaning(error: Exception) -> tuple[int, int]:
    """Return the HTTP status and the exit code of an error."""
    if isinstance(error, InvalidPluginName):
        return 400, 4
    if isinstance(error, UnknownPlugin):
        return 404, 4
    if isinstance(error, ParameterError):
        return 422, 4
    if isinstance(error, UsageError):
        return 400, 4
    if isinstance(error, PluginDisabled):
        return 409, 1
    if isinstance(error, EntryRaised):
        return 500, 1
    return 503, 1  # Busy, PluginLoadError: later it may go


async def _body(request: Request) -> bytes:
    """Return the body; raises UsageError `[bad-request]` when it is too large or doesn't arrive."""
    received = bytearray()
    try:
        async with asyncio.timeout(BODY_TIME):
            async for part in request.stream():
                received += part
                if len(received) > MOST:
                    raise UsageError(f"the request's body is larger than {MOST:,} bytes", "bad-request")
    except TimeoutError:
        raise UsageError(f"the request's body did not arrive within {BODY_TIME:g} s", "bad-request") from None
    except ClientDisconnect:
        raise UsageError("whoever asked has gone", "bad-request") from None
    return bytes(received)


def _name(request: Request) -> str:
    return str(request.path_params["name"])


def _names(request: Request) -> list[str]:
    """Return the plugin of the path, none where the path is of all."""
    name = request.path_params.get("name")
    return [] if name is None else [str(name)]


def _asked_by(request: Request, what: str) -> str:
    """Return who asks, as the system told it, for the records."""
    who = request.client.host if request.client is not None else ""
    return f"{what} by {who}" if who else what


def _number(query: Mapping[str, str], key: str, kind: Callable[[str], T]) -> T | None:
    text = query.get(key)
    if text is None:
        return None
    with contextlib.suppress(ValueError):
        number = kind(text)
        if 0 <= number < 1e12:  # type: ignore[operator]  # float and int
            return number
    raise UsageError(f"{key!r}: {text!r} is no number that fits", "bad-request")


def _sent(facts: Mapping[str, Any]) -> bytes:
    return f"data: {json.dumps({'schema_version': SCHEMA_VERSION, **facts})}\n\n".encode()
