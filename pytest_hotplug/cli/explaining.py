"""`hotplug why NAME`: which version serves, and why not another one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

import click

from pytest_hotplug.cli.across import across, addressed, local_option, worker_option
from pytest_hotplug.cli.ondisk import plugin_argument, plugins_on_disk
from pytest_hotplug.cli.output import directory_option, json_line, json_option, say, shortened
from pytest_hotplug.cli.serving import manager_of_project
from pytest_hotplug.cli.supervised import supervised
from pytest_hotplug.reloader.errors import PluginLoadError, visible

__all__ = ["why"]


@click.command()
@plugin_argument("name")
@local_option("Ask in this process: the plugin is imported, and not started.")
@worker_option
@directory_option
@json_option
def why(name: str, local: bool, workers: tuple[str, ...], as_json: bool) -> int:
    """Say in a word why this version of a plugin serves, then the facts; who holds old ones, when is the next try.

    \b
    Examples:
      hotplug why greeter
      hotplug why greeter --local --json
    """
    if not local:
        clients = addressed(workers, plugins=[name], local=True)
        return across(clients, lambda client: client.ask("/plugins/{plugin}/why", plugin=name), _tell, as_json=as_json)
    if workers:
        raise click.UsageError("--local and --worker exclude each other")
    plugins_on_disk([name])
    with supervised(name, partial(_ask, name, as_json=as_json)) as text:
        say(text)
    return 0


def _tell(facts: Mapping[str, Any]) -> None:
    say("\n".join(_lines(facts)))


def _ask(name: str, *, as_json: bool) -> str:
    """Load the plugin and return the text to print."""
    with manager_of_project(keeps="read-only", starts=False) as manager:
        with suppress(PluginLoadError):  # the verdict tells of it
            manager.load(name)
        facts = manager.why(name)
    return json_line({"source": "local", **facts}) if as_json else "\n".join(_lines(facts))


def _lines(facts: Mapping[str, Any]) -> Iterator[str]:
    """Yield the verdict, what it rests on, and whatever else is known."""
    yield facts["verdict"]
    yield f"  {shortened(visible(facts['text']))}"
    if facts["remedy"]:
        yield f"  {visible(facts['remedy'])}"
    serving = f"generation {facts['generation']}, version {facts['version']}" if facts["generation"] else "nothing"
    yield visible(f"  serving: {serving} ({facts['state']})")
    yield from (f"  {visible(line)}" for line in (*facts["lines"], *map(str, facts["limits"])))
    if facts["next_try"] is not None:
        pause = round(facts["next_try"])
        yield f"  tried again {f'in {pause} s' if pause else 'at the next call'}, and when it changes"
