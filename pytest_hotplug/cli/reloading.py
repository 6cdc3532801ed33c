"""`hotplug reload`: load plugins anew in every worker, and say what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import click

from pytest_hotplug.cli.across import across_pairs, addressed, local_option, worker_option
from pytest_hotplug.cli.ondisk import end_without_plugins, plugin_argument, plugins_on_disk
from pytest_hotplug.cli.output import directory_option, json_line, json_option, say, shortened
from pytest_hotplug.cli.serving import manager_of_project
from pytest_hotplug.cli.supervised import supervised
from pytest_hotplug.cli.verdict import Told
from pytest_hotplug.reloader.errors import visible

if TYPE_CHECKING:
    from pytest_hotplug.worker.client import Client

__all__ = ["reload"]


@click.command("reload")
@plugin_argument("names", nargs=-1)
@click.option("--all", "every", is_flag=True, help="Every plugin that is enabled.")
@local_option("Load them in this process, which then ends: shows that they load, and changes no worker.")
@worker_option
@directory_option
@json_option
def reload(names: tuple[str, ...], every: bool, local: bool, workers: tuple[str, ...], as_json: bool) -> int:
    """Load plugins anew, even if nothing changed; wait until the new generation serves or was refused.

    \b
    Examples:
      hotplug reload greeter
      hotplug reload --all
    """
    if bool(names) == every:
        raise click.UsageError("name plugins, or say --all")
    if local:
        return _reload_here(names, workers, as_json)
    clients = addressed(workers, plugins=names, local=True)
    pairs = [(client, name) for client in clients for name in names or _enabled(client)]
    if not pairs:
        return end_without_plugins(as_json)
    return across_pairs(
        pairs, lambda client, name: client.post("/plugins/{plugin}/reload", plugin=name), as_json=as_json
    )


def _enabled(client: Client) -> list[str]:
    return [plugin["name"] for plugin in client.get("/plugins").facts["plugins"] if plugin["state"] != "disabled"]


def _reload_here(names: Sequence[str], workers: Sequence[str], as_json: bool) -> int:
    if workers:
        raise click.UsageError("--local and --worker exclude each other")
    found = [p for p in plugins_on_disk(names) if names or p.manifest.enabled]
    if not found:
        return end_without_plugins(as_json)
    code = 0
    for plugin in found:
        try:
            with supervised(plugin.name, partial(_load, plugin.name, as_json=as_json)) as text:
                say(text)
        except Told as refused:
            if len(found) == 1:
                raise
            code = max(code, refused.code)
            say(f"hotplug: {shortened(refused.format_message())}", err=True)
    return code


def _load(name: str, *, as_json: bool) -> str:
    """Load a plugin without starting it, and return the text to print."""
    with manager_of_project(keeps="read-only", starts=False) as manager:
        generation = manager.load(name)
        facts = {"source": "local", "plugin": name, "outcome": "reloaded", "ok": True, "version": generation.version,
                 "digest": generation.digest}  # fmt: skip
    text = f"{name}: version {generation.version} loads ({generation.digest[:12]}); no worker was asked"
    return json_line(facts) if as_json else visible(text)
