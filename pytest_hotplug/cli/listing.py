"""`hotplug list-plugins-hot` and `hotplug status`: what the workers serve, or, without one, what is on disk."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from pytest_hotplug.cli.across import across, worker_option, workers_or_none
from pytest_hotplug.cli.ondisk import misnamed, nothing_found, plugin_argument, plugins_on_disk
from pytest_hotplug.cli.output import SHORT, directory_option, emit_json, json_option, plain, say, table

if TYPE_CHECKING:
    from pytest_hotplug.worker.client import Client

__all__ = ["list_plugins", "status", "time_of"]

NARROW = 8  # the same where a row has much to tell
COLUMNS = ("plugin", "version", "gen", "digest", "loaded at", "reloads", "updates", "state", "")
LESS = ("reloads", "gen", "loaded at", "digest", "updates")  # what a small terminal does without, this first


def time_of(at: float | None) -> str:
    """Return a time as people read it."""
    return "" if at is None else datetime.fromtimestamp(at).strftime("%Y-%m-%d %H:%M:%S")


# -- list ---------------------------------------------------------------------------------------


@click.command("list-plugins-hot")
@worker_option
@directory_option
@json_option
def list_plugins(workers: tuple[str, ...], as_json: bool) -> int:
    """List the plugins: version, generation, digest and state, of each worker; read from disk when none runs.

    \b
    Examples:
      hotplug list
      hotplug list --json
    """
    clients = workers_or_none(workers)
    return _list_of_workers(clients, as_json) if clients else _list_on_disk(as_json)


def _list_of_workers(clients: Sequence[Client], as_json: bool) -> int:
    replies = [client.get("/plugins") for client in clients]
    plugins = [{**plugin, "worker": reply.worker} for reply in replies for plugin in reply.facts["plugins"]]
    if as_json:
        emit_json({"source": "worker", "plugins": plugins})
    elif plugins:
        several = len(clients) > 1
        rows = [([p["worker"]] if several else []) + _row(p) for p in plugins]
        table((("worker", *COLUMNS) if several else COLUMNS), rows, less=LESS)
    else:
        say(f"hotplug: {nothing_found()}", err=True)
    return 0 if plugins else 5


def _row(plugin: Mapping[str, Any]) -> list[object]:
    digest, loaded = (plugin["digest"] or "")[:NARROW], _short_time(plugin["load_time"])
    updates = "yes" if plugin["has_updates"] else ""
    known = (plugin["name"], plugin["version"], plugin["generation"], digest, loaded)
    return [*known, plugin["reload_count"], updates, plugin["state"], plugin["error"]]


def _short_time(at: float | None) -> str:
    """Return the time of today, the date of any other day: a row fits into 80 columns."""
    day, _, hour = time_of(at).partition(" ")
    return hour if day == time_of(time.time()).partition(" ")[0] else day


def _list_on_disk(as_json: bool) -> int:
    found = plugins_on_disk()
    for line in misnamed():
        say(f"hotplug: {line}", err=True)
    if as_json:
        emit_json({"source": "disk", "plugins": [plugin.facts() for plugin in found]})
    elif found:
        rows = [(p.name, p.version, p.digest[:SHORT], p.state, p.problem) for p in found]
        table(("plugin", "version", "digest", "state", ""), rows, less=LESS)
        say("(read from disk)")
    else:
        say(f"hotplug: {nothing_found()}", err=True)
    return 0 if found else 5


# -- status -------------------------------------------------------------------------------------


@click.command()
@plugin_argument("name")
@worker_option
@directory_option
@json_option
def status(name: str, workers: tuple[str, ...], as_json: bool) -> int:
    """Show one plugin: what each worker serves of it; read from disk when none runs.

    \b
    Examples:
      hotplug status greeter
      hotplug status greeter --json
    """
    clients = workers_or_none(workers)
    if clients:
        return across(clients, lambda client: client.get("/plugins/{plugin}", plugin=name), _show, as_json=as_json)
    (plugin,) = plugins_on_disk([name])
    if as_json:
        emit_json({"source": "disk", **plugin.facts()})
    else:
        _show(plugin.facts())
        say("(read from disk)")
    return 1 if plugin.problem else 0


def _show(facts: Mapping[str, Any]) -> None:
    shown = {key: value for key, value in facts.items() if value not in (None, "", [], {}) and key != "worker"}
    width = max(map(len, shown)) + 3
    for key, value in shown.items():
        say(f"{key + ':':<{width}}{time_of(value) if key == 'load_time' else plain(value)}")
