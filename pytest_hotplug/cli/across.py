"""The workers that a command addresses: all that live in the state directory, or those that are named."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import click

from pytest_hotplug.cli.ondisk import plugins_on_disk
from pytest_hotplug.cli.output import emit_json, say, shortened
from pytest_hotplug.cli.statedir import no_worker, state_dir
from pytest_hotplug.cli.verdict import Told
from pytest_hotplug.reloader.errors import HotplugError, did_you_mean
from pytest_hotplug.reloader.settings import read_settings
from pytest_hotplug.worker.run_dir import RunDir

if TYPE_CHECKING:
    from pytest_hotplug.worker.client import Client, Reply

__all__ = ["across", "addressed", "local_option", "worker_option", "workers_or_none"]

F = TypeVar("F", bound=Callable[..., Any])


def worker_option(function: F) -> F:
    """Add `--worker NAME` to a command."""
    return click.option(
        "--worker", "workers", metavar="NAME", multiple=True, shell_complete=_complete,
        help="Only this worker (repeatable; default: all that run).",
    )(function)  # fmt: skip


def local_option(help_text: str) -> Callable[[F], F]:
    """Add `--local` to a command."""
    return click.option("--local", is_flag=True, help=help_text)


def _complete(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    try:
        return [name for name in _run_dir().names() if name.startswith(incomplete)]
    except HotplugError:  # in the middle of a command line there is nobody to tell
        return []


def workers_or_none(names: Sequence[str] = (), *, local: bool = False) -> list[Client]:
    """Return the workers to address, none when none runs, or when this process was asked for.

    Raises HotplugError `[no-worker]` for a named one that doesn't run.
    """
    if local:
        if names:
            raise click.UsageError("--local and --worker exclude each other")
        return []
    run_dir = _run_dir()
    live = run_dir.live()
    for name in names:
        if name not in live:
            known = f"; running: {', '.join(live)}" if live else ""
            hint = did_you_mean(name, live) or known
            raise HotplugError(f"no worker named {name!r} answers{hint} [no-worker]")
    if not live:
        return []
    from pytest_hotplug.worker.client import Client

    return [Client(name, run_dir.socket(name)) for name in (dict.fromkeys(names) if names else live)]


def addressed(names: Sequence[str] = (), *, plugins: Sequence[str] = (), local: bool = False) -> list[Client]:
    """Return the workers to address; raises HotplugError `[no-worker]` when none runs.

    For `plugins` that nobody knows it raises UnknownPlugin instead: that would be wrong with a worker as
    well. `local` tells whether the command could do its work in this process.
    """
    workers = workers_or_none(names)
    if not workers:
        plugins_on_disk(plugins)
        raise no_worker(local=local)
    return workers


def across(
    workers: Sequence[Client],
    ask: Callable[[Client], Reply],
    tell: Callable[[Mapping[str, Any]], None],
    *,
    as_json: bool,
) -> int:
    """Ask one worker after the other, tell each answer, and return the exit code: the first refusal's.

    With several workers, each text begins with a worker's name.
    """
    code = 0
    for reply in _replies(workers, ask):
        code = code or reply.code
        if as_json:
            emit_json({"source": "worker", "worker": reply.worker, **reply.facts})
        elif not reply.ok and reply.text:
            say(f"{_named(workers, reply.worker)}hotplug: {shortened(reply.text)}", err=True)
        else:
            if len(workers) > 1:
                say(f"{reply.worker}:")
            tell(reply.facts)
    return code


def across_pairs(pairs: Sequence[tuple[Client, str]], ask: Callable[[Client, str], Reply], *, as_json: bool) -> int:
    """Ask each worker of each plugin, tell each answer's text in a line, and return the worst exit code."""
    several = len({client.name for client, _ in pairs}) > 1
    code = 0
    for client, plugin in pairs:
        (reply,) = _replies([client], partial(_of, ask, plugin))
        code = max(code, reply.code)
        if as_json:
            emit_json({"source": "worker", "worker": reply.worker, **reply.facts})
        else:
            mark = "" if reply.ok else "hotplug: "
            say(f"{mark}{f'{client.name}: ' if several else ''}{shortened(reply.text)}", err=not reply.ok)
    return code


def _of(ask: Callable[[Client, str], Reply], plugin: str, client: Client) -> Reply:
    return ask(client, plugin)


def _named(workers: Sequence[Client], name: str) -> str:
    return f"{name}: " if len(workers) > 1 else ""


def _replies(workers: Sequence[Client], ask: Callable[[Client], Reply]) -> Iterator[Reply]:
    """Yield what each says; one that has gone meanwhile is a refusal, and the others are asked all the same."""
    from pytest_hotplug.worker.client import Reply

    for worker in workers:
        try:
            yield ask(worker)
        except HotplugError as error:
            if len(workers) == 1:
                raise Told(str(error)) from None
            yield Reply(worker.name, {"error": str(error), "exit_code": 1}, 503)


def _run_dir() -> RunDir:
    return RunDir(state_dir(read_settings()))
