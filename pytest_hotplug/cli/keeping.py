"""`hotplug history` and `hotplug rollback`: the good versions that are kept, and the way back to one."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import click
import msgspec

from pytest_hotplug.cli.across import across, addressed, local_option, worker_option
from pytest_hotplug.cli.listing import time_of
from pytest_hotplug.cli.ondisk import plugin_argument, plugins_on_disk
from pytest_hotplug.cli.output import SHORT, directory_option, emit_json, json_line, json_option, say, table, warn
from pytest_hotplug.cli.serving import manager_of_project
from pytest_hotplug.cli.statedir import known_plugins, opened_store, shown
from pytest_hotplug.cli.supervised import supervised
from pytest_hotplug.cli.verdict import Told
from pytest_hotplug.reloader.errors import HotplugError, visible
from pytest_hotplug.reloader.kept import Kept, Notes, Record
from pytest_hotplug.reloader.outcomes import KeptCurrent, Unchanged

if TYPE_CHECKING:
    from pytest_hotplug.worker.client import Client, Reply

__all__ = ["history", "rollback"]


# -- history ------------------------------------------------------------------------------------


@click.command()
@plugin_argument("name")
@directory_option
@json_option
def history(name: str, as_json: bool) -> int:
    """Show the versions of a plugin that are kept, and what became of its versions, the oldest first.

    \b
    Examples:
      hotplug history greeter
      hotplug history greeter --json
    """
    with opened_store() as store:
        known_plugins(store, name)
        notes, records = store.notes(name), store.history(name)
    if as_json:
        emit_json(_as_facts(name, notes, records))
    elif not notes.versions and not records:
        say(f"{name}: nothing is recorded in {shown()}")
    else:
        _show(notes, records)
    return 0


def _as_facts(name: str, notes: Notes, records: list[Record]) -> dict[str, Any]:
    return {
        "source": "disk",
        "plugin": name,
        "served_last": notes.served or None,
        "pinned": notes.pin.digest if notes.pin else None,
        "paused": notes.paused,
        "paused_until": notes.paused_until,
        "versions": [{"digest": v.digest, "version": v.version, "kept_at": v.kept_at} for v in notes.versions],
        "records": [msgspec.to_builtins(record) for record in records],
    }


def _show(notes: Notes, records: list[Record]) -> None:
    say("Kept, the newest first:")
    rows = [(v.version, v.digest[:SHORT], time_of(v.kept_at), _marks(v, notes)) for v in notes.versions]
    table(("version", "digest", "kept at", ""), rows)
    say("\nWhat happened:")
    columns = ("at", "what", "version", "digest", "by", "")
    table(columns, [(time_of(r.at), r.kind, r.version, r.digest[:SHORT], _by(r), r.message) for r in records])
    say("(read from disk)")


def _marks(version: Kept, notes: Notes) -> str:
    marks = ["served last"] if version.digest == notes.served else []
    if notes.pin is not None and notes.pin.digest == version.digest:
        marks.append("rolled back to")
    return ", ".join(marks)


def _by(record: Record) -> str:
    return ", ".join(filter(None, (record.asked_by, record.worker)))


# -- rollback -----------------------------------------------------------------------------------


@click.command()
@plugin_argument("name")
@click.option("--to", metavar="DIGEST", help="The version to serve (default: the one before), by 7 digits or more.")
@click.option("--end", is_flag=True, help="Serve again what is on disk.")
@local_option("Do it in this process; the next start of a worker serves that version.")
@worker_option
@directory_option
@json_option
def rollback(name: str, to: str | None, end: bool, local: bool, workers: tuple[str, ...], as_json: bool) -> int:
    """Serve an older good version of a plugin again, until its files change.

    \b
    Examples:
      hotplug rollback greeter
      hotplug rollback greeter --to 3f2a9c1
      hotplug rollback greeter --end --local
    """
    if end and to is not None:
        raise click.UsageError("--to and --end exclude each other")
    if not local:
        body = {"to": to, "end": end}
        clients = addressed(workers, plugins=[name], local=True)
        ask = partial(_ask, name, body)
        return across(clients, ask, _tell_of_worker, as_json=as_json)
    if workers:
        raise click.UsageError("--local and --worker exclude each other")
    plugins_on_disk([name])
    with supervised(name, partial(_roll_back, name, to, end=end, as_json=as_json)) as text:
        say(text)
    return 0


def _tell_of_worker(facts: Mapping[str, Any]) -> None:
    say(visible(_in_worker(facts)))
    warn(facts)


def _ask(name: str, body: dict[str, Any], client: Client) -> Reply:
    return client.post("/plugins/{plugin}/rollback", body, plugin=name)


def _in_worker(facts: Mapping[str, Any]) -> str:
    name = facts["plugin"]
    if not facts["digest"]:
        return f"{name}: nothing serves, and no rollback lasts"
    version = f"version {facts['version']} ({facts['digest'][:SHORT]})"
    if facts["outcome"] == "rolled-back":
        return f"{name}: {version} serves, until the files change or 'hotplug rollback {name} --end'"
    if facts["outcome"] == "ended":
        return f"{name}: {version}, which lies on disk, serves"
    return f"{name}: {version} serves already"


def _roll_back(name: str, to: str | None, *, end: bool, as_json: bool) -> str:
    """Roll back, leave the pin in the state directory, and return the text to print."""
    with manager_of_project(keeps="on-disk") as manager:
        manager.load(name)
        outcome = manager.end_rollback(name) if end else manager.rollback(name, to)
        if isinstance(outcome, KeptCurrent):
            raise Told(outcome.told_of_end() if end else outcome.told("rolled back"))
        info = manager.get_plugin_hot_info(name)
    pinned = _remembered(name, info["digest"])
    what = "unchanged" if isinstance(outcome, Unchanged) else "ended" if pinned is None else "rolled-back"
    facts = {"source": "local", "plugin": name, "outcome": what, "pinned": pinned}
    facts |= {key: info[key] for key in ("version", "digest")}
    return json_line(facts) if as_json else visible(_sentence(facts))


def _remembered(name: str, digest: str) -> str | None:
    """Return the digest that is pinned in the state directory; raises HotplugError when it holds something else."""
    with opened_store() as store:
        notes = store.notes(name)
    if notes.served != digest:
        raise HotplugError(f"{name}: the state directory {shown()} did not take it [state-unusable]")
    return notes.pin.digest if notes.pin else None


def _sentence(facts: dict[str, Any]) -> str:
    name, version = facts["plugin"], f"version {facts['version']} ({facts['digest'][:SHORT]})"
    if facts["outcome"] == "unchanged":
        return f"{name}: {version} serves already"
    if facts["outcome"] == "ended":
        return f"{name}: {version}, which lies on disk, serves from the next start on"
    return f"{name}: {version} serves from the next start on, until the files change or 'hotplug rollback {name} --end'"
