"""`hotplug start`, `stop` and `workers`: the long-running process and its end."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import click

from pytest_hotplug.cli.across import across, addressed, worker_option
from pytest_hotplug.cli.listing import time_of
from pytest_hotplug.cli.ondisk import find_on_disk, nothing_found
from pytest_hotplug.cli.output import (
    directory_option,
    discard,
    emit_json,
    json_line,
    json_option,
    say,
    shortened,
    table,
)
from pytest_hotplug.cli.statedir import opened_store, shown, state_dir
from pytest_hotplug.cli.verdict import Told
from pytest_hotplug.reloader.errors import HotplugError, near, visible
from pytest_hotplug.reloader.settings import Project, read_settings
from pytest_hotplug.worker.run_dir import RunDir, worker_name
from pytest_hotplug.worker.streams import push

__all__ = ["start", "stop", "workers"]

GRACE = 15.0  # seconds that a worker has for its own end, beside the time that calls have
PATIENCE = 1.0  # seconds for a reader of our lines to take one
STEP = 0.02  # seconds between looks whether a process has gone
SERVES = ("serving", "failed", "left", "stopped")  # events that end the wait for a detached start


# -- start --------------------------------------------------------------------------------------


@click.command()
@click.option("--worker", "name", metavar="NAME", help="Its name (default: the setting worker_name).")
@click.option("--detach", is_flag=True, help="Go on in the background once it serves.")
@click.option("--require-all", is_flag=True, help="End with exit code 1 unless every enabled plugin loads.")
@click.option("--threads", type=click.IntRange(1, 1024), default=16, show_default=True, help="Calls that run at once.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    default=30.0,
    show_default=True,
    help="Seconds that running calls have when a signal ends the worker.",
)
@click.option("--page", type=click.IntRange(0, 65535), metavar="PORT", help="Serve a status page; 0: a free port.")
@directory_option
@json_option
def start(
    name: str | None, detach: bool, require_all: bool, threads: int, timeout: float, page: int | None, as_json: bool
) -> int:  # fmt: skip
    """Serve the plugins in this process, with hot reload on, until SIGTERM, Ctrl-C or 'hotplug stop'.

    Running calls are never interrupted by a reload. A plugin that doesn't load is served from its last
    good version, or is told as failed; the others serve.

    \b
    Examples:
      hotplug start
      hotplug start --detach
      hotplug start --worker blue --require-all --json
    """
    project = read_settings(overrides={"worker_name": name})
    worker_name(project.settings.worker_name)
    if detach:
        return _start_beside(
            project,
            name,
            [
                *(["--require-all"] if require_all else []),
                "--threads",
                str(threads),
                "--timeout",
                str(timeout),
                *(["--page", str(page)] if page is not None else []),
            ],
            as_json,
        )
    if not find_on_disk(project):
        say(f"hotplug: {nothing_found(project)}; one that comes will be loaded", err=True)
    from pytest_hotplug.worker.extra import extra_missing

    try:
        from pytest_hotplug.worker.process import Options, run_worker
    except ImportError as error:
        raise extra_missing(error) from None
    with opened_store(writes=True) as store, store.writing():
        pass  # a directory that can't be written is told before anything begins
    teller = _Teller(as_json, sys.stdout)
    with contextlib.redirect_stdout(sys.stderr):  # what plugins print must not mix with our lines
        return run_worker(project, Options(require_all, threads, timeout, page), teller.tell)


@dataclass(frozen=True)
class _Teller:
    """Writes what happens, flushed at once; when nobody reads any more, the worker goes on in silence."""

    as_json: bool
    out: TextIO

    def tell(self, facts: dict[str, Any]) -> None:
        line = json_line(facts) if self.as_json else shortened(visible_lines(facts["text"]))
        try:
            push(self.out, f"{line}\n", PATIENCE)
        except BrokenPipeError:
            discard(self.out)
        except OSError:
            return  # whoever reads it hangs, or its disk is full; the log has it, and the worker goes on


def visible_lines(text: str) -> str:
    """Return a text of several lines with nothing in it that a terminal would obey."""
    return "\n".join(visible(line) for line in text.split("\n"))


def _start_beside(project: Project, name: str | None, options: Sequence[str], as_json: bool) -> int:
    """Start a worker in a session of its own and wait until it serves, or has failed."""
    command = [sys.executable, "-m", "pytest_hotplug", "start", "--json", *options]
    command += ["--worker", name] if name is not None else []
    output = _output_file(project)
    with open(output, "ab") as said, open(os.devnull, "rb") as nothing:
        begins = said.tell()
        child = subprocess.Popen(
            command, cwd=project.root, stdin=nothing, stdout=subprocess.PIPE, stderr=said, start_new_session=True
        )
    assert child.stdout is not None, "started with a pipe"
    told: dict[str, Any] = {}
    with child.stdout as lines:
        for line in lines:
            told = json.loads(line)
            if told.get("event") in SERVES:
                break
    if told.get("event") != "serving":
        raise Told(_why_not(child, told, output, begins))
    if as_json:
        emit_json({**told, "output": str(output)})
    else:
        text, *page = told["text"].split("\n")
        say("\n".join([f"{text} (pid {told['pid']}; what it prints goes to {near(output)})", *page]))
    return 0


def _output_file(project: Project) -> Path:
    """Return where a detached worker's own output goes: beside the logs, or to the state directory."""
    settings = project.settings
    place = (
        state_dir(project) / "run" if settings.log_dir == "-" else project.root / Path(settings.log_dir).expanduser()
    )
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        text = f"{near(place)} can't be made: {error.strerror}; choose another log_dir [cannot-write]"
        raise HotplugError(text) from None
    return place / "output.log"


def _why_not(child: subprocess.Popen[bytes], told: Mapping[str, Any], output: Path, begins: int) -> str:
    code = child.wait()
    with open(output, "rb") as said:
        said.seek(begins)
        printed = said.read()[-4000:].decode("utf-8", "replace").strip()
    text = str(told.get("error") or told.get("text") or printed or f"exit code {code}")
    return text.removeprefix("hotplug: ")


# -- stop ---------------------------------------------------------------------------------------


@click.command()
@click.option(
    "--timeout", type=click.FloatRange(min=0), default=30.0, show_default=True,
    help="Seconds that running calls have; past them the worker leaves and names them.",
)  # fmt: skip
@worker_option
@directory_option
@json_option
def stop(timeout: float, workers: tuple[str, ...], as_json: bool) -> int:
    """End the workers once their running calls have ended; wait until they are gone.

    \b
    Examples:
      hotplug stop
      hotplug stop --worker blue --timeout 5
    """
    clients = addressed(workers)
    run_dir = RunDir(state_dir(read_settings()))

    def ask(client: Any) -> Any:
        reply = client.post("/stop", {"timeout": timeout})
        deadline = time.monotonic() + GRACE
        while run_dir.is_held(client.name):
            if time.monotonic() > deadline:
                raise HotplugError(f"worker {client.name} has not ended after {GRACE:g} s more [worker-gone]")
            time.sleep(STEP)  # a process's end can't be waited for by one that is not its parent
        reply.facts["text"] = _ended(client.name, reply.facts)
        return reply

    return across(clients, ask, lambda facts: say(visible_lines(facts["text"])), as_json=as_json)


def _ended(name: str, facts: Mapping[str, Any]) -> str:
    if facts.get("stopped"):
        return f"worker {name} has stopped"
    left = "".join(f"\n  {line}" for line in facts.get("left", ()))
    return f"worker {name} left while these still ran:{left}\n  [calls-left]"


# -- workers ------------------------------------------------------------------------------------


@click.command()
@worker_option
@directory_option
@json_option
def workers(workers: tuple[str, ...], as_json: bool) -> int:
    """List the workers that run: name, process, version, and plugins that are behind the disk.

    \b
    Examples:
      hotplug workers
      hotplug workers --json
    """
    clients = addressed(workers)
    found = list(_abouts(clients))
    if as_json:
        emit_json({"source": "worker", "workers": found})
    else:
        columns = ("worker", "pid", "version", "since", "phase", "plugins", "behind the disk", "page")
        rows = [
            (
                w["name"],
                w["pid"],
                w["version"],
                time_of(w["started_at"]),
                w["phase"],
                w["plugins"],
                w["behind"],
                w["page"],
            )
            for w in found
        ]
        table(columns, rows, whole="page", less=("since", "version", "plugins"))
        say(f"(in {shown()})")
    return 0


def _abouts(clients: Sequence[Any]) -> Iterator[dict[str, Any]]:
    for client in clients:
        facts = client.get("/worker").facts
        yield {"name": facts.pop("worker"), **facts}
