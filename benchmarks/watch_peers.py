"""Claim: of all watchers of tests, ours says first whether the edit of a plugin was good, and says it of the new bytes.

1,000 tests of 20 plugins. One plugin is edited; the clock runs from before the save to the first report
of one of its tests, which tells what the plugin answered. Who reports nothing within half a minute, or
reports on old bytes, is wrong. Beside the watchers: a plain pytest of one affected test, to its end.
A second table: what each of them costs while nothing happens.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from benchmarks.harness import Claim, Contestant, Row, allow_bytecode, measure, report, table
from benchmarks.told_project import Running, ToldProject

PLUGINS, TESTS = 20, 50
APART = 1.3  # seconds between two edits: some look at whole seconds of file times
IDLE = 10.0
BASELINE = "plain pytest, one test"
OURS = "pytest --hotplug-watch"
WATCHERS: dict[str, Sequence[str]] = {
    OURS: ("-m", "pytest", "-q", "--hotplug-watch"),
    "pytest-watcher": ("-m", "pytest_watcher", ".", "--now"),
    "pytest-watcher, testmon": ("-m", "pytest_watcher", ".", "--now", "--testmon"),
    "pytest-watch": ("-m", "pytest_watch", "--", "-q"),
    "pytest-xdist -f": ("-m", "pytest", "-q", "-f"),
}
VITEST = "vitest (JavaScript)"


def watchers(python: str, vitest: Path | None, temporary: Path, undo: ExitStack) -> dict[str, Running]:
    """Start all watchers, each over a project of its own, and wait for the first run of each."""
    running = {}
    for number, (name, words) in enumerate(WATCHERS.items()):
        project = ToldProject(temporary / f"project{number}", PLUGINS, TESTS)
        path = os.pathsep.join([os.path.dirname(python), os.environ["PATH"]])  # where some look for pytest
        environment = {"PATH": path, "HOTPLUG_WATCH": "always"}
        running[name] = Running(project, [python, *words], environment)
        undo.callback(running[name].close)
    if vitest is not None:
        project = ToldProject(temporary / "vitest", PLUGINS, TESTS, vitest)
        program = vitest / "node_modules" / ".bin" / "vitest"
        running[VITEST] = Running(project, [str(program), "--watch", "--reporter=./reporter.js"], {})
        undo.callback(running[VITEST].close)
    return running


def plain(python: str, project: ToldProject) -> Contestant:
    """Edit, then start pytest with one test."""
    command = [python, "-m", "pytest", "-q", "plugins/plugin_000/test_plugin_000.py::test_it_adds[0]"]

    def once(number: int) -> dict[str, Any] | None:
        project.edit(number + 1)
        subprocess.run(command, cwd=project.root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        return project.first_report()

    return Contestant(BASELINE, once, about_the_new_bytes, lambda _: project.forget())


def watched(name: str, running: Running, last: dict[str, float]) -> Contestant:
    """Edit, then wait for the first report; the end of the run is awaited off the clock."""
    project = running.project

    def prepare(number: int) -> None:
        time.sleep(max(0.3, last.get(name, 0.0) + APART - time.monotonic()))
        project.forget()

    def once(number: int) -> dict[str, Any] | None:
        last[name] = time.monotonic()
        project.edit(number + 1)
        return project.first_report()

    def verify(number: int, said: Any) -> str:
        if said is not None:
            project.wait_for_end()
        return about_the_new_bytes(number, said)

    return Contestant(name, once, verify, prepare)


def about_the_new_bytes(number: int, said: Any) -> str:
    """Return what is wrong with a report."""
    if said is None:
        return "no run came"
    return "" if said["answer"] == number + 1 else f"reported on old code: {said['answer']} instead of {number + 1}"


def costs(name: str, running: Running) -> dict[str, Any]:
    """Return memory that belongs to a watcher's processes alone (bytes), and their CPU while nothing happens."""
    whole = psutil.Process(running.pid)
    processes = [whole, *whole.children(recursive=True)]
    memory = sum(each.memory_full_info().uss for each in processes)
    began, before = time.perf_counter(), sum(map(_cpu, processes))
    time.sleep(IDLE)
    used = sum(map(_cpu, processes)) - before
    return {"name": name, "processes": len(processes), "uss": memory, "idle": used / (time.perf_counter() - began)}


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print both tables, write `--json FILE`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.watch_peers")
    parser.add_argument("--rounds", type=int, default=20, help="edits for each watcher (20)")
    parser.add_argument("--peers", default=sys.executable, metavar="PYTHON", help="an interpreter that has them and us")
    parser.add_argument("--vitest", type=Path, metavar="DIR", help="where vitest is installed (npm install vitest)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the result there")
    options = parser.parse_args(arguments)
    vitest = options.vitest.resolve() if options.vitest else None
    with ExitStack() as undo:
        temporary = Path(undo.enter_context(tempfile.TemporaryDirectory()))
        running = watchers(options.peers, vitest, temporary, undo)
        last: dict[str, float] = {}
        contestants = [plain(options.peers, ToldProject(temporary / "plain", PLUGINS, TESTS))]
        contestants += [watched(name, each, last) for name, each in running.items()]
        claim = Claim(f"save to first report, {PLUGINS * TESTS} tests: an edit of a plugin", BASELINE, contestants)
        rows = measure(claim, options.rounds)
        spent = [costs(name, each) for name, each in running.items()]
    show(claim, rows, spent)
    if options.json:
        told = {**report("watch_peers", options.rounds, [(claim, rows)]), "costs": spent, "versions": versions(options)}
        options.json.write_text(f"{json.dumps(told, indent=2)}\n", encoding="utf-8")
    return 0


def show(claim: Claim, rows: Sequence[Row], spent: Sequence[dict[str, Any]]) -> None:
    """Print both tables."""
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(table(claim, rows))
    shown = Table(title="after the last verdict", title_justify="left", caption=f"CPU over {IDLE:.0f} s")
    for heading in ("watcher", "processes", "memory MiB", "CPU %"):
        shown.add_column(heading)
    for each in spent:
        memory, cpu = f"{each['uss'] / 2**20:.0f}", f"{each['idle'] * 100:.2f}"
        shown.add_row(each["name"], str(each["processes"]), memory, cpu)
    console.print(shown)


def versions(options: argparse.Namespace) -> dict[str, str]:
    """Return which versions of the peers ran."""
    ask = "import importlib.metadata as m, sys; print('\\n'.join(f'{n} {m.version(n)}' for n in sys.argv[1:]))"
    names = ["pytest", "pytest-watcher", "pytest-testmon", "pytest-watch", "pytest-xdist"]
    told = _said([options.peers, "-c", ask, *names]).splitlines()
    found = dict(line.split() for line in told)
    if options.vitest:
        package = json.loads((options.vitest / "node_modules" / "vitest" / "package.json").read_text())
        found["vitest"] = package["version"]
    return found


def _said(command: Sequence[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    allow_bytecode()
    raise SystemExit(main())
