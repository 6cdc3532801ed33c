"""`hotplug wait`: until the workers serve a version."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from pytest_hotplug.cli.across import across_pairs, addressed, worker_option
from pytest_hotplug.cli.ondisk import plugin_argument
from pytest_hotplug.cli.output import SHORT, directory_option, json_option
from pytest_hotplug.reloader.errors import visible

if TYPE_CHECKING:
    from pytest_hotplug.worker.client import Client, Reply

__all__ = ["wait"]

STEP = 0.1  # seconds between two questions
DIGEST = re.compile(r"[0-9a-f]{7,}")


@click.command()
@plugin_argument("names", nargs=-1, required=True)
@click.option(
    "--digest", metavar="DIGEST", help="The version to wait for (default: what lies on disk), 7 digits or more."
)
@click.option("--timeout", type=click.FloatRange(min=0), default=60.0, show_default=True, help="Seconds.")
@worker_option
@directory_option
@json_option
def wait(names: tuple[str, ...], digest: str | None, timeout: float, workers: tuple[str, ...], as_json: bool) -> int:
    """Wait until the workers serve the version of plugins that lies on disk, or have refused it.

    \b
    Examples:
      hotplug wait greeter
      hotplug wait greeter --digest 3f2a9c1 --timeout 10
    """
    if digest is not None and len(names) != 1:
        raise click.UsageError("--digest needs the name of exactly one plugin")
    if digest is not None and not DIGEST.fullmatch(digest):
        raise click.UsageError(f"--digest: {digest!r} is no digest; it takes 7 or more of 0-9 and a-f")
    clients = addressed(workers, plugins=names)
    deadline = time.monotonic() + timeout
    pairs = [(client, name) for client in clients for name in names]
    return across_pairs(pairs, lambda client, name: _awaited(client, name, digest, deadline), as_json=as_json)


def _awaited(client: Client, name: str, digest: str | None, deadline: float) -> Reply:
    """Ask until the version serves, was refused, or the time is over."""
    while True:
        reply = client.get("/plugins/{plugin}", plugin=name)
        facts = reply.facts
        if not reply.ok or _serves(facts, digest):
            facts.setdefault("text", _waited_for(facts) if reply.ok else None)
            return reply
        refused = facts["refused"] is not None and facts["refused"].startswith(digest or "")
        if refused or time.monotonic() > deadline:
            text = f"refused: {facts['error']}" if refused else f"{_not_yet(facts, digest)} [wait-timeout]"
            return replace(reply, status=409, facts={**facts, "text": f"{name}: {text}"})
        time.sleep(STEP)  # what another process does by itself can only be asked for


def _serves(facts: Mapping[str, Any], digest: str | None) -> bool:
    if digest is not None:
        return (facts["digest"] or "").startswith(digest)
    return facts["loaded"] and not facts["has_updates"] and facts["state"] not in ("degraded", "failed", "settling")


def _not_yet(facts: Mapping[str, Any], digest: str | None) -> str:
    if facts["loaded"]:
        serves = f"version {facts['version']} ({facts['digest'][:SHORT]}) still serves"
        return f"{serves}, and not {digest}" if digest else f"{serves} (state: {facts['state']})"
    return f"nothing serves yet (state: {facts['state']})"


def _waited_for(facts: Mapping[str, Any]) -> str:
    version = f"version {facts['version']} ({facts['digest'][:SHORT]})"
    return visible(f"{facts['name']}: generation {facts['generation']} serves, {version}")
