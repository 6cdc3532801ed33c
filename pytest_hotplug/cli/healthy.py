"""`hotplug health` and `hotplug metrics`: for people, probes and scrapers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from typing import Any

import click

from pytest_hotplug.cli.across import across, addressed, local_option, worker_option
from pytest_hotplug.cli.ondisk import plugin_argument, plugins_on_disk
from pytest_hotplug.cli.operating import visible_lines
from pytest_hotplug.cli.output import directory_option, emit_json, json_option, say
from pytest_hotplug.cli.serving import manager_of_project
from pytest_hotplug.cli.supervised import supervised
from pytest_hotplug.reloader.errors import HotplugError

__all__ = ["health", "metrics"]


@click.command()
@plugin_argument("names", nargs=-1)
@click.option("--live", is_flag=True, help="Only whether the process answers.")
@click.option("--ready", is_flag=True, help="Only whether every enabled plugin (or NAME) serves something.")
@local_option("Load the plugins in this process, without starting them, and judge that.")
@worker_option
@directory_option
@json_option
def health(
    names: tuple[str, ...], live: bool, ready: bool, local: bool, workers: tuple[str, ...], as_json: bool
) -> int:
    """Judge the workers: ok is exit code 0, degraded and failed are 1, with reasons.

    \b
    Examples:
      hotplug health
      hotplug health greeter
      hotplug health --live               a liveness probe
      hotplug health --ready              a readiness probe
    """
    if live and ready:
        raise click.UsageError("--live and --ready exclude each other")
    if names and live:
        raise click.UsageError("--live asks for the process alone; leave out the names")
    if local:
        if workers or live or ready:
            raise click.UsageError("--local excludes --worker, --live and --ready")
        return _health_here(names, as_json)
    clients = addressed(workers, plugins=names, local=True)
    path = "/health/live" if live else "/health/ready" if ready else "/health"

    def ask(client: Any) -> Any:
        probe = client.get if live or ready else client.ask  # a probe is answered at once, or the worker hangs
        return _judged(probe(path, {"plugin": list(names)} if names else None))

    return across(clients, ask, _say, as_json=as_json)


def _judged(reply: Any) -> Any:
    """Give an answer of degraded, which is an answer all the same, the exit code that it means here."""
    from pytest_hotplug.worker.client import Reply

    facts = reply.facts
    bad = facts.get("status") in ("degraded", "failed") or facts.get("ready") is False
    return Reply(reply.worker, facts, 503 if bad else reply.status)


def _say(facts: Mapping[str, Any]) -> None:
    if "live" in facts:
        say(f"live ({facts['phase']})")
    elif "ready" in facts:
        missing = ", ".join(facts["missing"])
        why = f"nothing serves of {missing}" if missing else f"the worker is {facts['phase']}"
        say("ready" if facts["ready"] else f"not ready: {why}")
    else:
        say(facts["status"])
        for reason in facts["reasons"]:
            say(visible_lines(f"  {reason}"))


def _health_here(names: tuple[str, ...], as_json: bool) -> int:
    found = [plugin.name for plugin in plugins_on_disk(names) if names or plugin.manifest.enabled]
    with supervised("health", partial(_judge, found)) as text:
        facts = json.loads(text)
    if as_json:
        emit_json({"source": "local", **facts})
    else:
        _say(facts)
    return 0 if facts["status"] == "ok" else 1


def _judge(names: list[str]) -> str:
    """Load the plugins and return their health as JSON."""
    with manager_of_project(keeps="read-only", starts=False) as manager:
        for name in names:
            try:
                manager.load(name)
            except HotplugError:
                continue  # the health tells of it
        facts = manager.health()
    states = {name: state for name, state in facts["plugins"].items() if name in names}
    return json.dumps({**facts, "plugins": states})


# -- metrics ------------------------------------------------------------------------------------


@click.command()
@worker_option
@directory_option
@json_option
def metrics(workers: tuple[str, ...], as_json: bool) -> int:
    """Print the workers' metrics as Prometheus reads them; of several workers with a label `worker`.

    \b
    Examples:
      hotplug metrics
      hotplug metrics --json | jq '.metrics[] | select(.labels.plugin == "greeter")'
      curl --unix-socket .hotplug/run/worker.sock http://localhost/metrics
    """
    clients = addressed(workers)
    texts = {client.name: client.text("/metrics") for client in clients}
    text = next(iter(texts.values())) if len(texts) == 1 else _together(texts)
    if as_json:
        emit_json({"source": "worker", "metrics": _samples(text)})
    else:
        say(text.rstrip("\n"))
    return 0


def _samples(text: str) -> list[dict[str, Any]]:
    """Return each value of an exposition with its name and labels."""
    from prometheus_client.parser import text_string_to_metric_families

    families = text_string_to_metric_families(text)
    return [{"name": s.name, "labels": s.labels, "value": s.value} for family in families for s in family.samples]


def _together(texts: Mapping[str, str]) -> str:
    """Return the metrics of several workers as one exposition, told apart by a label."""
    from pytest_hotplug.worker.metrics import labelled

    return labelled(texts)
