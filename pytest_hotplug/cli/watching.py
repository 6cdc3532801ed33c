"""`hotplug watch`: reload at every save in this process, and print what happened."""

from __future__ import annotations

import _thread
import contextlib
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

import click

from pytest_hotplug.cli.ondisk import nothing_found
from pytest_hotplug.cli.output import directory_option, discard, json_line, json_option, say, shortened
from pytest_hotplug.reloader.errors import HotplugError, PluginDisabled, visible
from pytest_hotplug.reloader.outcomes import KeptCurrent, Outcome, Reloaded, Unchanged
from pytest_hotplug.reloader.settings import read_settings
from pytest_hotplug.worker.newcomers import and_load_the_rest

if TYPE_CHECKING:
    from pytest_hotplug.default import PluginManager

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
    teller = _Teller(as_json, sys.stdout)
    with (
        _until_interrupted(),
        contextlib.redirect_stdout(sys.stderr),  # what plugins print must not mix with our lines
        PluginManager.from_settings(project.settings, project.root, starts=False) as manager,
    ):
        if not manager.discover():
            teller.nothing(nothing_found(project))
            return 5
        _watch(manager, teller)
        threading.Event().wait()
    return 0


@contextlib.contextmanager
def _until_interrupted() -> Iterator[None]:
    """Make of Ctrl-C, and of the signals that mean the same, a good end; also while a load hangs."""
    try:
        yield
    except KeyboardInterrupt:
        say("hotplug: stopped watching", err=True)


def _watch(manager: PluginManager, teller: _Teller) -> None:
    """Load everything once, then watch; returns while the watch goes on."""
    names = manager.discover()
    for name in names:
        teller.tell(_first(manager, name))
    watch = and_load_the_rest(manager, lambda name: teller.tell(_first(manager, name)))
    manager.start_watching(watch, tell=lambda outcome: teller.tell(_facts(outcome)))
    watching = manager.health()["watching"]
    text = f"hotplug: watching {len(names)} plugin{'s' * (len(names) != 1)} ({watching['reason']}); Ctrl-C ends"
    teller.tell({"event": "watching", **watching, "plugins": len(names), "text": text})


def _first(manager: PluginManager, name: str) -> dict[str, Any]:
    try:
        generation = manager.load(name)
    except PluginDisabled as error:
        return {"event": "disabled", "plugin": name, "serving": None, "text": str(error)}
    except HotplugError as error:
        return {"event": "refused", "plugin": name, "serving": None, "text": str(error)}
    return {
        "event": "loaded",
        "plugin": name,
        "serving": generation.number,
        "text": visible(f"{name}: version {generation.version}"),
    }


def _facts(outcome: Outcome) -> dict[str, Any]:
    event, text = "unloaded", f"{outcome.name}: no longer serves ({outcome.reason})"
    if isinstance(outcome, Reloaded):
        also = f", with {', '.join(outcome.also)}" if outcome.also else ""
        event = "loaded" if outcome.serving == 1 else "reloaded"
        text = f"{outcome.name}: generation {outcome.serving} serves{also}"
    elif isinstance(outcome, Unchanged):
        event, text = "unchanged", f"{outcome.name}: same content, not reloaded [same-content]"
    elif isinstance(outcome, KeptCurrent):
        why = outcome.error.render(_kept(outcome)) if outcome.error else f"{_kept(outcome)} ({outcome.reason})"
        event, text = "refused", why
    return {"event": event, "plugin": outcome.name, "serving": outcome.serving, "text": text}


def _kept(outcome: Outcome) -> str:
    serving = f"generation {outcome.serving} keeps serving" if outcome.serving else "nothing serves"
    return f"{outcome.name}: not reloaded, {serving}."


@dataclass(frozen=True)
class _Teller:
    """Writes what happened, as JSON lines or as sentences, flushed at once."""

    as_json: bool
    out: TextIO

    def tell(self, facts: dict[str, Any]) -> None:
        """Write a line; ends the watch when nobody reads it, whichever thread finds out."""
        try:
            click.echo(json_line(facts) if self.as_json else shortened(facts["text"]), self.out)
            self.out.flush()
        except BrokenPipeError:
            discard(self.out)
            _thread.interrupt_main()

    def nothing(self, text: str) -> None:
        """Say why there is nothing to watch."""
        if self.as_json:
            self.tell({"error": text, "exit_code": 5})
        else:
            say(f"hotplug: {text}", err=True)
