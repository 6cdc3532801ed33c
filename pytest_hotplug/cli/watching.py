"""`hotplug watch`: reload at every save in this process, and print what happened."""

from __future__ import annotations

import signal
import sys
import threading
from typing import Any

import click

from pytest_hotplug.cli.output import directory_option, emit_json, json_option
from pytest_hotplug.reloader.errors import HotplugError
from pytest_hotplug.reloader.outcomes import KeptCurrent, Outcome, Reloaded, Unchanged
from pytest_hotplug.reloader.settings import read_settings

__all__ = ["watch"]


@click.command()
@click.option("--poll", type=float, help="Look at the files every SECONDS instead of waiting for events.")
@directory_option
@json_option
def watch(poll: float | None, as_json: bool) -> int:
    """Watch the plugins and reload them at every change, until Ctrl-C. Plugins are imported, not started.

    \b
    Examples:
      hotplug watch
      hotplug watch --json | jq .
      hotplug watch --poll 2
    """
    from pytest_hotplug.default import PluginManager

    project = read_settings(overrides={"poll_interval": poll})
    sys.path[:0] = [str((project.root / path).resolve()) for path in project.settings.pythonpath]
    ended = threading.Event()
    previous = signal.signal(signal.SIGTERM, lambda number, frame: ended.set())
    try:
        with PluginManager.from_settings(project.settings, project.root, starts=False) as manager:
            names = manager.discover()
            if not names:
                click.echo("hotplug: no plugins to watch [no-plugins]", err=True)
                return 5
            for name in names:
                _tell(_first(manager, name), as_json)
            manager.start_watching(tell=lambda outcome: _tell(_facts(outcome), as_json))
            watching = manager.health()["watching"]
            if as_json:
                emit_json({"event": "watching", **watching, "plugins": len(names)})
            else:
                click.echo(f"hotplug: watching {len(names)} plugins ({watching['reason']}); Ctrl-C ends")
            ended.wait()
    except KeyboardInterrupt:
        click.echo("hotplug: stopped watching", err=True)
    finally:
        signal.signal(signal.SIGTERM, previous)
    return 0


def _first(manager: Any, name: str) -> dict[str, Any]:
    try:
        generation = manager.load(name)
    except HotplugError as error:
        return {"event": "refused", "plugin": name, "serving": None, "text": str(error)}
    return {
        "event": "loaded",
        "plugin": name,
        "serving": generation.number,
        "text": f"{name}: version {generation.version}",
    }


def _facts(outcome: Outcome) -> dict[str, Any]:
    event, text = "unloaded", f"{outcome.name}: no longer serves ({outcome.reason})"
    if isinstance(outcome, Reloaded):
        also = f", with {', '.join(outcome.also)}" if outcome.also else ""
        event, text = "reloaded", f"{outcome.name}: generation {outcome.serving} serves{also}"
    elif isinstance(outcome, Unchanged):
        event, text = "unchanged", f"{outcome.name}: same content, not reloaded [same-content]"
    elif isinstance(outcome, KeptCurrent):
        why = outcome.error.render(_kept(outcome)) if outcome.error else f"{_kept(outcome)} ({outcome.reason})"
        event, text = "refused", why
    return {"event": event, "plugin": outcome.name, "serving": outcome.serving, "text": text}


def _kept(outcome: Outcome) -> str:
    serving = f"generation {outcome.serving} keeps serving" if outcome.serving else "nothing serves"
    return f"{outcome.name}: not reloaded, {serving}."


def _tell(facts: dict[str, Any], as_json: bool) -> None:
    if as_json:
        emit_json(facts)
    else:
        click.echo(facts["text"])
    sys.stdout.flush()
