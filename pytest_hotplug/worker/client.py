"""Speak to a worker over its socket: one request, one answer, or a stream of events."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_hotplug.reloader.errors import HotplugError, InvalidPluginName, near, visible
from pytest_hotplug.reloader.names import is_plugin_name
from pytest_hotplug.worker.extra import extra_missing

try:
    import httpx
except ImportError as error:
    raise extra_missing(error) from None

__all__ = ["Client", "Reply"]

PATIENCE = 10.0  # seconds for a worker to take a connection, and to answer what it knows at once
AT_ONCE = httpx.Timeout(PATIENCE)
WHEN_DONE = httpx.Timeout(PATIENCE, read=None)  # a load, a call, a stop: the worker bounds it


@dataclass(frozen=True)
class Reply:
    """What a worker answered; without `ok` the facts hold "text" or "error", and "exit_code"."""

    worker: str
    facts: dict[str, Any]
    status: int

    @property
    def ok(self) -> bool:
        return self.status < 400

    @property
    def code(self) -> int:
        """Return the exit code that the answer means."""
        return 0 if self.ok else int(self.facts.get("exit_code", 1))

    @property
    def text(self) -> str:
        """Return what is to be said to people, of what went wrong or of what was done."""
        failed = "exit_code" in self.facts  # else "error" is a plugin's
        return str(self.facts["error"] if failed else self.facts.get("text") or "")


class Client:
    """One worker, by its name and its socket."""

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        self._path = path

    def get(self, path: str, query: Mapping[str, Any] | None = None, *, plugin: str | None = None) -> Reply:
        """Ask what is known; `{plugin}` in the path stands for a plugin's name."""
        return self._reply("GET", path, query=query, plugin=plugin, timeout=AT_ONCE)

    def ask(self, path: str, query: Mapping[str, Any] | None = None, *, plugin: str | None = None) -> Reply:
        """Ask what may take its time to find out."""
        return self._reply("GET", path, query=query, plugin=plugin, timeout=WHEN_DONE)

    def post(self, path: str, body: Mapping[str, Any] | None = None, *, plugin: str | None = None) -> Reply:
        """Ask for something to be done; answers when it is."""
        return self._reply("POST", path, body=dict(body or {}), plugin=plugin, timeout=WHEN_DONE)

    def text(self, path: str) -> str:
        """Return an answer that is no JSON."""
        response = self._response("GET", path, timeout=AT_ONCE)
        return response.text

    def follow(self, query: Mapping[str, Any], begun: Callable[[], None]) -> Iterator[dict[str, Any]]:
        """Yield events as they happen, until the worker ends; `begun` is called once none can be missed any more."""
        timeout = httpx.Timeout(PATIENCE, read=60.0)  # it says that it lives more often
        with self._client(timeout) as client:
            try:
                with client.stream("GET", "/events", params={**query, "follow": "1"}) as response:
                    if response.status_code >= 400:
                        response.read()
                        raise HotplugError(str(response.json().get("error")))
                    for line in response.iter_lines():
                        if line == ": follows":
                            begun()
                        elif line.startswith("data: "):
                            yield json.loads(line.removeprefix("data: "))
            except (httpx.ReadError, httpx.RemoteProtocolError):
                return  # it was killed: nothing more will come
            except httpx.HTTPError as error:
                raise self._gone(error) from None

    def _reply(
        self, method: str, path: str, *, timeout: httpx.Timeout, body: dict[str, Any] | None = None,
        query: Mapping[str, Any] | None = None, plugin: str | None = None,
    ) -> Reply:  # fmt: skip
        if plugin is not None:
            if not is_plugin_name(plugin):  # it could lead to any address of the worker
                error = str(InvalidPluginName(plugin))
                return Reply(self.name, {"error": error, "slug": "invalid-name", "exit_code": 4}, 400)
            path = path.format(plugin=plugin)
        response = self._response(method, path, timeout=timeout, body=body, query=query)
        try:
            facts = response.json()
        except ValueError:
            raise HotplugError(f"worker {self.name} gave no answer that can be read [worker-gone]") from None
        facts.pop("schema_version", None)
        return Reply(self.name, facts, response.status_code)

    def _response(
        self, method: str, path: str, *, timeout: httpx.Timeout, body: dict[str, Any] | None = None,
        query: Mapping[str, Any] | None = None,
    ) -> httpx.Response:  # fmt: skip
        with self._client(timeout) as client:
            try:
                return client.request(method, path, json=body, params=dict(query) if query else None)
            except httpx.HTTPError as error:
                raise self._gone(error) from None

    def _client(self, timeout: httpx.Timeout) -> httpx.Client:
        transport = httpx.HTTPTransport(uds=str(self._path))
        return httpx.Client(transport=transport, base_url="http://localhost", timeout=timeout, trust_env=False)

    def _gone(self, error: httpx.HTTPError) -> HotplugError:
        where = f"worker {self.name} ({visible(near(self._path))})"
        if isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout)):
            return HotplugError(f"{where} takes no connection; did it end just now? [worker-gone]")
        if isinstance(error, httpx.TimeoutException):
            return HotplugError(f"{where} does not answer; see its log, and 'hotplug health --live' [worker-gone]")
        return HotplugError(f"{where} ended before it answered; whether it was done is unknown [worker-gone]")
