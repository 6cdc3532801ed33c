"""The routes of the control channel, each described once: the application serves them, OpenAPI tells of them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import msgspec

from pytest_hotplug.worker import messages

__all__ = ["ENDPOINTS", "Endpoint", "described"]


@dataclass(frozen=True)
class Endpoint:
    """One route: how it is asked, and what for. `answers` are status codes with their meaning."""

    method: str
    path: str
    operation: str
    summary: str
    body: type[msgspec.Struct] | None = None
    query: dict[str, str] = field(default_factory=dict)
    answers: dict[int, str] = field(default_factory=dict)
    media_type: str = "application/json"


_ONE = "/plugins/{name}"
_REFUSED = {409: "Refused: what served before goes on; `text` says why"}
ENDPOINTS = (
    Endpoint("GET", "/worker", "worker", "Who this worker is, and which of its plugins are behind the disk"),
    Endpoint(
        "GET", "/health", "health", "Status over all plugins: ok, degraded or failed, with reasons",
        query={"plugin": "Only this plugin (repeatable)"}, answers={503: "The status is failed"},
    ),
    Endpoint("GET", "/health/live", "live", "Liveness: the process answers"),
    Endpoint(
        "GET", "/health/ready", "ready", "Readiness: every enabled plugin serves something",
        query={"plugin": "Only this plugin (repeatable)"}, answers={503: "Not ready; `missing` names the plugins"},
    ),
    Endpoint("GET", "/plugins", "plugins", "Every plugin with version, generation, digest and state"),
    Endpoint("GET", _ONE, "plugin", "One plugin"),
    Endpoint(
        "POST", f"{_ONE}/execute", "execute", "Call the plugin's entry on its newest good version",
        body=messages.Execute,
        answers={
            409: "The plugin is disabled", 422: "A parameter doesn't fit", 500: "The entry raised",
            503: "No version can serve, or the worker takes no more calls; nothing was executed",
        },
    ),
    Endpoint(
        "POST", f"{_ONE}/reload", "reload", "Load the plugin anew; answers when it serves or was refused",
        body=messages.Nothing, answers=_REFUSED,
    ),
    Endpoint(
        "POST", f"{_ONE}/refresh", "refresh", "Act on what lies on disk: load what is new, unload what is gone",
        body=messages.Nothing, answers=_REFUSED,
    ),
    Endpoint("POST", f"{_ONE}/unload", "unload", "Let the plugin serve no more", body=messages.Nothing),
    Endpoint(
        "POST", f"{_ONE}/rollback", "rollback", "Serve an older good version, until the files change",
        body=messages.Rollback, answers=_REFUSED,
    ),
    Endpoint("POST", f"{_ONE}/enable", "enable", "Check the plugin for changes again", body=messages.Enable),
    Endpoint("POST", f"{_ONE}/disable", "disable", "Check the plugin for changes no more", body=messages.Disable),
    Endpoint("GET", f"{_ONE}/history", "history", "The plugin's kept versions, and what became of its versions"),
    Endpoint("GET", f"{_ONE}/why", "why", "Why this version serves, and who holds old ones"),
    Endpoint("GET", "/switches", "switches", "Whether changes are looked for, and which plugins are paused"),
    Endpoint("POST", "/enable", "enable", "Check for changes again", body=messages.Enable),
    Endpoint("POST", "/disable", "disable", "Check for changes no more", body=messages.Disable),
    Endpoint(
        "GET", "/events", "events", "What happened to plugins; with follow=1 a stream of server-sent events",
        query={
            "plugin": "Only this plugin", "since": "Only from this time on (seconds since 1970)",
            "tail": "Only the last so many", "follow": "1: go on with what happens, as server-sent events",
        },
    ),
    Endpoint("GET", "/metrics", "metrics", "Prometheus metrics", media_type="text/plain"),
    Endpoint(
        "POST", "/stop", "stop", "End the worker once running calls have ended; answers then", body=messages.Stop,
        answers={500: "The time was over first; `left` names the calls that were left"},
    ),
    Endpoint("GET", "/openapi.json", "openapi", "This description"),
)  # fmt: skip


def described(version: str) -> dict[str, Any]:
    """Return the OpenAPI description of the control channel."""
    bodies = sorted({e.body for e in ENDPOINTS if e.body is not None}, key=lambda body: body.__name__)
    _, schemas = msgspec.json.schema_components(bodies, ref_template="#/components/schemas/{name}")
    schemas["Error"] = {
        "type": "object",
        "required": ["schema_version", "error", "exit_code"],
        "properties": {
            "schema_version": {"const": 1},
            "error": {"type": "string", "description": "What is wrong and what to do, with a slug in brackets"},
            "slug": {"type": ["string", "null"]},
            "exit_code": {"type": "integer", "description": "What the command ends with"},
        },
    }
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in ENDPOINTS:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "pytest-hotplug worker",
            "version": version,
            "description": "The control channel of a worker: HTTP over a unix socket that is its user's alone.",
        },
        "servers": [{"url": "http://localhost", "description": "curl --unix-socket .hotplug/run/worker.sock"}],
        "paths": paths,
        "components": {"schemas": schemas},
    }


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    answers: dict[str, Any] = {"200": {"description": "Done", "content": {endpoint.media_type: {}}}}
    answers |= {str(code): {"description": said, "content": error} for code, said in endpoint.answers.items()}
    described: dict[str, Any] = {"summary": endpoint.summary, "operationId": _id(endpoint), "responses": answers}
    names = [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
             for name in re.findall(r"{(\w+)}", endpoint.path)]  # fmt: skip
    names += [{"name": name, "in": "query", "description": said, "schema": {"type": "string"}}
              for name, said in endpoint.query.items()]  # fmt: skip
    if names:
        described["parameters"] = names
        if "{name}" in endpoint.path:
            answers["404"] = {"description": "No plugin has this name", "content": error}
    if endpoint.body is not None:
        schema = {"$ref": f"#/components/schemas/{endpoint.body.__name__}"}
        described["requestBody"] = {"content": {"application/json": {"schema": schema}}}
        answers["400"] = {"description": "The body is refused", "content": error}
    return described


def _id(endpoint: Endpoint) -> str:
    of_all = endpoint.operation in ("enable", "disable") and "{name}" not in endpoint.path
    return f"{endpoint.operation}_all" if of_all else endpoint.operation
