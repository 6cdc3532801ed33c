"""`hotplug events`: what happened to plugins, and what happens now."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import click

from pytest_hotplug.cli.across import addressed, local_option, worker_option
from pytest_hotplug.cli.listing import time_of
from pytest_hotplug.cli.ondisk import plugin_argument
from pytest_hotplug.cli.output import SHORT, directory_option, emit_json, json_option, say, shortened
from pytest_hotplug.cli.statedir import known_plugins, opened_store
from pytest_hotplug.cli.verdict import Told
from pytest_hotplug.reloader.errors import HotplugError, visible
from pytest_hotplug.reloader.pauses import duration
from pytest_hotplug.worker.journal import identity, past

if TYPE_CHECKING:
    from pytest_hotplug.worker.client import Client

__all__ = ["events"]

_BEGUN, _ENDED = object(), object()
_Heard: TypeAlias = queue.SimpleQueue[object]


@click.command()
@plugin_argument("name", required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on with what happens, until Ctrl-C.")
@click.option("--since", metavar="TIME", help="Only what happened within TIME: 90s, 30m, 2h, 7d.")
@click.option("--tail", type=click.IntRange(min=0), metavar="N", help="Only the last N.")
@local_option("Read the state directory; no worker is asked.")
@worker_option
@directory_option
@json_option
def events(
    name: str | None, follow: bool, since: str | None, tail: int | None, local: bool, workers: tuple[str, ...],
    as_json: bool,
) -> int:  # fmt: skip
    """Show what became of plugins' versions, over restarts, with who asked; the oldest first.

    \b
    Examples:
      hotplug events
      hotplug events greeter --since 1h
      hotplug events -f --tail 10
    """
    start = None if since is None else time.time() - duration(since)
    if local:
        if follow or workers:
            raise click.UsageError("--local excludes --follow and --worker")
        _show_disk(name, start, tail, as_json)
        return 0
    clients = addressed(workers, plugins=[name] if name else [], local=True)
    query = {k: v for k, v in {"plugin": name, "since": start, "tail": tail}.items() if v is not None}
    if follow:
        return _follow(clients, query, as_json)
    _show_past(clients, query, as_json)
    return 0


def _show_disk(name: str | None, since: float | None, tail: int | None, as_json: bool) -> None:
    with opened_store() as store:
        if name is not None:
            known_plugins(store, name)
        found = past(store, name, since=since, tail=tail)
    for facts in found:
        _tell({"source": "disk", **facts}, as_json)


def _show_past(clients: Sequence[Client], query: Mapping[str, Any], as_json: bool) -> set[tuple[Any, ...]]:
    """Show what lies in the state directory, which all workers share: one of them is asked. Return what was shown."""
    reply = clients[0].ask("/events", query)
    if not reply.ok:
        raise Told(reply.text, reply.code)
    names = {client.name for client in clients}
    for facts in reply.facts["events"]:
        if len(names) == 1 or facts.get("worker") in (None, *names):
            _tell({"source": "worker", **facts}, as_json)
    return {identity(facts) for facts in reply.facts["events"]}


def _follow(clients: Sequence[Client], query: Mapping[str, Any], as_json: bool) -> int:
    """Show the past, then what happens in all workers, as it is heard, until the last has ended; miss nothing between.

    Returns the exit code: 1 if one of them refused.
    """
    heard: _Heard = queue.SimpleQueue()
    plugin = {key: value for key, value in query.items() if key == "plugin"}
    for client in clients:
        threading.Thread(target=_listen, args=(client, plugin, heard), daemon=True).start()
    listening, code = len(clients), 0
    with contextlib.suppress(KeyboardInterrupt):
        early = _until_all_listen(heard, len(clients))
        known = _show_past(clients, query, as_json)
        while listening:
            told = early.popleft() if early else heard.get()
            if told is _ENDED:
                listening -= 1
            elif isinstance(told, HotplugError):
                code = 1
                if as_json:
                    emit_json({"error": str(told), "exit_code": code})
                else:
                    say(f"hotplug: {told}", err=True)
            elif isinstance(told, dict) and identity(told) not in known:
                told.pop("schema_version", None)
                _tell({"source": "worker", **told}, as_json)
    return code


def _listen(client: Client, query: Mapping[str, Any], heard: _Heard) -> None:
    """Put into `heard`: once that nothing can be missed any more (or never came to be heard), facts, the end."""
    begun = False

    def begin() -> None:
        nonlocal begun
        if not begun:
            begun = True
            heard.put(_BEGUN)

    try:
        for facts in client.follow(query, begin):
            heard.put(facts)
    except HotplugError as error:
        heard.put(error)
    finally:
        begin()
        heard.put(_ENDED)


def _until_all_listen(heard: _Heard, workers: int) -> deque[Any]:
    """Wait until every worker is listened to, and return what was heard meanwhile."""
    early: deque[Any] = deque()
    while workers:
        told = heard.get()
        if told is _BEGUN:
            workers -= 1
        else:
            early.append(told)
    return early


def _tell(facts: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        emit_json(facts)
        return
    version = " ".join(filter(None, (facts.get("version"), facts.get("digest", "")[:SHORT])))
    by = f" (asked by: {facts['asked_by']})" if facts.get("asked_by") else ""
    on = f" [{facts['worker']}]" if facts.get("worker") else ""
    message = f": {facts['message']}" if facts.get("message") else ""
    say(shortened(visible(f"{time_of(facts['at'])}{on} {facts['plugin']} {facts['kind']} {version}{by}{message}")))
