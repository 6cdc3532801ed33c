"""`hotplug enable-hot-reload` and `hotplug disable-hot-reload`: remembered in the state directory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from pytest_hotplug.cli.across import across, worker_option, workers_or_none
from pytest_hotplug.cli.ondisk import plugin_argument
from pytest_hotplug.cli.output import directory_option, emit_json, json_option, say, warn
from pytest_hotplug.cli.statedir import known_plugins, opened_store, shown
from pytest_hotplug.reloader.errors import visible
from pytest_hotplug.reloader.pauses import duration, end_of, spoken
from pytest_hotplug.reloader.store import DiskStore

if TYPE_CHECKING:
    from pytest_hotplug.worker.client import Client, Reply

__all__ = ["disable", "enable"]


@click.command("enable-hot-reload")
@plugin_argument("names", nargs=-1)
@worker_option
@directory_option
@json_option
def enable(names: tuple[str, ...], workers: tuple[str, ...], as_json: bool) -> int:
    """Check for changes again: all plugins, or the named ones; edits that waited are applied. It is remembered.

    The workers heed it at once; without one it is heeded from the next start on.

    \b
    Examples:
      hotplug enable
      hotplug enable greeter ticker
    """
    clients = workers_or_none(workers)
    if clients:
        return _in_workers(clients, names, "enable", {}, as_json)
    with opened_store(writes=True) as store:
        known = known_plugins(store, *names)
        for name in names:
            store.set_paused(name, None)
        if not names:
            store.set_enabled(True)
        facts = _remembered(store, known)
    _tell(facts, as_json)
    return 0


@click.command("disable-hot-reload")
@plugin_argument("names", nargs=-1)
@click.option("--reason", metavar="TEXT", help="Why the named plugins are paused; shown wherever their state is.")
@click.option("--for", "lasts", metavar="TIME", help="Until it ends by itself: 90s, 30m, 2h, 7d (default: never).")
@worker_option
@directory_option
@json_option
def disable(
    names: tuple[str, ...], reason: str | None, lasts: str | None, workers: tuple[str, ...], as_json: bool
) -> int:
    """Check nothing, or not the named plugins, until they are enabled; it is remembered.

    What serves goes on serving; edits wait. The workers heed it at once; without one it is heeded from
    the next start on.

    \b
    Examples:
      hotplug disable
      hotplug disable --for 30m
      hotplug disable greeter --reason "frozen for the release" --for 2h
    """
    if reason is not None and not names:
        raise click.UsageError("--reason needs the names of the plugins that are paused")
    seconds = duration(lasts) if lasts is not None else None
    clients = workers_or_none(workers)
    if clients:
        body = {"reason": reason or "", "lasts": seconds}
        return _in_workers(clients, names, "disable", body, as_json)
    until = end_of(seconds)
    with opened_store(writes=True) as store:
        known = known_plugins(store, *names)
        for name in names:
            store.set_paused(name, reason or "", until)
        if not names:
            store.set_enabled(False, until)
        facts = _remembered(store, known)
    _tell({**facts, "until": until}, as_json)
    return 0


def _in_workers(clients: Sequence[Client], names: Sequence[str], verb: str, body: dict[str, Any], as_json: bool) -> int:
    """Switch all plugins, or one after the other, in every worker; the first that is refused ends it there."""

    def ask(client: Client) -> Reply:
        replies = (client.post(f"/plugins/{{plugin}}/{verb}", body, plugin=name) for name in names)
        first_refused = next((reply for reply in replies if not reply.ok), None)
        if first_refused is not None:
            return first_refused
        return client.get("/switches") if names else client.post(f"/{verb}", body)

    return across(clients, ask, _say, as_json=as_json)


def _remembered(store: DiskStore, known: list[str]) -> dict[str, Any]:
    """Return what is remembered now, whatever it was before."""
    paused = {name: notes for name in known if (notes := store.notes(name)).paused is not None}
    switch = store.switch
    return {
        "source": "disk",
        "hot_reload_enabled": switch.enabled,
        "disabled_until": switch.until,
        "paused": {name: notes.paused for name, notes in paused.items()},
        "paused_until": {name: notes.paused_until for name, notes in paused.items()},
    }


def _tell(facts: dict[str, Any], as_json: bool) -> None:
    """Say what is remembered, once the store is closed: a stream that fails is no fault of it."""
    if as_json:
        emit_json(facts)
        return
    _say(facts)
    say(f"(remembered in {shown()}; a process heeds it from its next start on)")


def _say(facts: Mapping[str, Any]) -> None:
    until = spoken(facts["disabled_until"])
    say(f"hot reload is {'enabled' if facts['hot_reload_enabled'] else f'disabled{until}'}")
    for name, reason in facts["paused"].items():
        until = spoken(facts["paused_until"][name])
        say(visible(f"{name}: paused{until} ({reason or 'no reason was given'})"))
    warn(facts)
