"""`hotplug enable-hot-reload` and `hotplug disable-hot-reload`: remembered in the state directory."""

from __future__ import annotations

from typing import Any

import click

from pytest_hotplug.cli.ondisk import plugin_argument
from pytest_hotplug.cli.output import directory_option, emit_json, json_option, say
from pytest_hotplug.cli.statedir import known_plugins, opened_store, shown
from pytest_hotplug.reloader.errors import visible
from pytest_hotplug.reloader.pauses import duration, end_of, spoken
from pytest_hotplug.reloader.store import DiskStore

__all__ = ["disable", "enable"]


@click.command("enable-hot-reload")
@plugin_argument("names", nargs=-1)
@directory_option
@json_option
def enable(names: tuple[str, ...], as_json: bool) -> int:
    """Check for changes again: all plugins, or the named ones. A process heeds it from its next start on.

    \b
    Examples:
      hotplug enable
      hotplug enable greeter ticker
    """
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
@directory_option
@json_option
def disable(names: tuple[str, ...], reason: str | None, lasts: str | None, as_json: bool) -> int:
    """Check nothing, or not the named plugins, until they are enabled. A process heeds it from its next start on.

    What serves goes on serving; edits wait.

    \b
    Examples:
      hotplug disable
      hotplug disable --for 30m
      hotplug disable greeter --reason "frozen for the release" --for 2h
    """
    if reason is not None and not names:
        raise click.UsageError("--reason needs the names of the plugins that are paused")
    until = end_of(duration(lasts) if lasts is not None else None)
    with opened_store(writes=True) as store:
        known = known_plugins(store, *names)
        for name in names:
            store.set_paused(name, reason or "", until)
        if not names:
            store.set_enabled(False, until)
        facts = _remembered(store, known)
    _tell({**facts, "until": until}, as_json)
    return 0


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
    until = spoken(facts["disabled_until"])
    say(f"hot reload is {'enabled' if facts['hot_reload_enabled'] else f'disabled{until}'}")
    for name, reason in facts["paused"].items():
        until = spoken(facts["paused_until"][name])
        say(visible(f"{name}: paused{until} ({reason or 'no reason was given'})"))
    say(f"(remembered in {shown()}; a process heeds it from its next start on)")
