"""`hotplug why NAME`: which version serves, and why not another one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from typing import Any

import click

from pytest_hotplug.cli.ondisk import plugin_argument, plugins_on_disk
from pytest_hotplug.cli.output import directory_option, json_line, json_option, say, shortened
from pytest_hotplug.cli.serving import manager_of_project
from pytest_hotplug.cli.statedir import no_worker
from pytest_hotplug.cli.supervised import supervised
from pytest_hotplug.reloader.errors import PluginLoadError, visible

__all__ = ["why"]


@click.command()
@plugin_argument("name")
@click.option("--local", is_flag=True, help="Ask in this process: the plugin is imported, and not started.")
@directory_option
@json_option
def why(name: str, local: bool, as_json: bool) -> int:
    """Say in a word why this version of a plugin serves, then the facts; who holds old ones, when is the next try.

    \b
    Examples:
      hotplug why greeter --local
      hotplug why greeter --local --json
    """
    plugins_on_disk([name])
    if not local:
        raise no_worker()
    with supervised(name, partial(_ask, name, as_json=as_json)) as text:
        say(text)
    return 0


def _ask(name: str, *, as_json: bool) -> str:
    """Load the plugin and return the text to print."""
    with manager_of_project(keeps="read-only", starts=False) as manager:
        with suppress(PluginLoadError):  # the verdict tells of it
            manager.load(name)
        facts = manager.why(name)
    return json_line({"source": "local", **facts}) if as_json else "\n".join(_lines(facts))


def _lines(facts: dict[str, Any]) -> Iterator[str]:
    """Yield the verdict, what it rests on, and whatever else is known."""
    yield facts["verdict"]
    yield f"  {shortened(visible(facts['text']))}"
    serving = f"generation {facts['generation']}, version {facts['version']}" if facts["generation"] else "nothing"
    yield visible(f"  serving: {serving} ({facts['state']})")
    yield from (f"  {visible(line)}" for line in (*facts["lines"], *map(str, facts["limits"])))
    if facts["next_try"] is not None:
        yield f"  tried again in {facts['next_try']:.0f} s, and when it changes"
