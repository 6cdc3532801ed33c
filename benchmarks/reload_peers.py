"""Claim: a reload by ours is faster than by the others whose result is right, and keeps hardly any memory.

Each reloader lives in a process of its own, and all of them take turns, round after round, so that what
the machine does meanwhile meets them alike; in its turn each reloads one module by `importlib.reload`,
then the plugin. What counts is the ratio to that, and to ours in the same round. A leaf of the plugin is
edited before each reload, and after it the entry must return the new value. At the end a call goes on while
the plugin is reloaded: it must be answered by one version, or it is torn. Reloaders that are driven by a
file watcher are told which file changed, so that their own looking is not counted; ours looks. The
second table is the growth of the resident memory over many reloads of a plugin without a change of
its names.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import importlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.harness import SCHEMA_VERSION, allow_bytecode
from benchmarks.hazards import describe
from benchmarks.peers import PEERS, Autoreload, Hmr, InPlace, Jurigged, Limeade, SuperReload
from benchmarks.sample_plugins import SamplePlugin, let_age, write_plugin
from tests.hazards.adapter import Adapter

SHAPES = ((1, False), (10, False), (10, True))
GROWTH_RELOADS = 2_000
WARM_UP = 200
LIMIT = 1200.0  # seconds for one child
OURS = "pytest-hotplug"


def timed(adapter: Adapter) -> Callable[[Path], object]:
    """Return what a reload costs this reloader once it knows which file changed."""
    if isinstance(adapter, Hmr):
        return lambda path: adapter.reloader.on_changes({path.resolve()})
    if isinstance(adapter, SuperReload):
        return lambda path: asyncio.run(adapter.reloader.reload_from_paths([path]))
    if isinstance(adapter, Jurigged):
        return lambda path: adapter.watcher.refresh(str(path))
    if isinstance(adapter, Autoreload):
        return lambda path: adapter.reloader.check(check_all=True)
    if isinstance(adapter, InPlace):
        return lambda path: adapter.bring("subject")
    return lambda path: adapter.reload("subject")


class Arena:
    """One reloader over one plugin, and the module that the baseline reloads."""

    def __init__(self, name: str, parent: Path, modules: int, with_dataclasses: bool) -> None:
        peer = next(peer for peer in PEERS if peer.name == name)
        plugins = parent / "plugs"
        self.adapter = peer.adapter()
        self.sample = write_plugin(plugins, "subject", modules, with_dataclasses)
        if self.adapter.init:
            with (self.sample.directory / "__init__.py").open("a", encoding="utf-8") as init:
                init.write(self.adapter.init)
        self.adapter.open(plugins, {})
        self.adapter.start("subject")
        self.reload = timed(self.adapter)
        self.clock = time.time()

    def edit(self, value: int) -> None:
        """Edit the plugin as nobody can overlook: another size, and a time two seconds later."""
        self.sample.edit(value)
        self.clock += 2
        os.utime(self.sample.edited, (self.clock, self.clock))
        if isinstance(self.adapter, Limeade):
            self.adapter.date_bytecode()

    def answer(self) -> object:
        return self.adapter.call("subject", "run")

    def tears(self, value: int) -> bool:
        """Tell whether a call that began on one version and goes on after a reload gets something of both."""
        call = self.adapter.call("subject", "long")
        before = next(call)
        self.edit(value)
        self.reload(self.sample.edited)
        return bool(next(call) != before)


def baseline(parent: Path, with_dataclasses: bool) -> tuple[SamplePlugin, Callable[[], object]]:
    """Return a plugin of one module, and its reload by importlib."""
    place = parent / "alone"
    sample = write_plugin(place, "alone_plugin", 1, with_dataclasses)
    sys.path.insert(0, str(place))
    module = importlib.import_module(sample.modules[-1])
    return sample, lambda: importlib.reload(module)


def take_turns(name: str, modules: int, with_dataclasses: bool) -> None:
    """Reload once for each value that comes by stdin, and tell what it took; at the end, whether calls are torn."""
    with tempfile.TemporaryDirectory() as directory:
        parent = Path(directory)
        alone, reload_alone = baseline(parent, with_dataclasses)
        arena = Arena(name, parent, modules, with_dataclasses)
        let_age()
        _tell(ready=True)
        for line in sys.stdin:
            value = int(line)
            alone.edit(value)
            arena.edit(value)
            other = _clocked(reload_alone)
            own = _clocked(lambda: arena.reload(arena.sample.edited))
            _tell(own=own, baseline=other, wrong=arena.answer() != value)
        _tell(torn=arena.tears(2_000_000))
        arena.adapter.close()


def _tell(**facts: object) -> None:
    print(json.dumps(facts), flush=True)


class Contestant:
    """One reloader's process, and what its turns have shown."""

    def __init__(self, python: str, name: str, modules: int, with_dataclasses: bool) -> None:
        arguments = ["speed", name, str(modules), str(int(with_dataclasses))]
        self._said = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115  # closed by `end`
        self._process = subprocess.Popen(
            [python, "-m", "benchmarks.reload_peers", "--child", *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said, text=True,
        )  # fmt: skip
        self._clock = threading.Timer(LIMIT, self._process.kill)
        self._clock.start()
        self.turns: list[dict[str, Any]] = []
        self.failed = ""
        self.torn = False

    def is_ready(self) -> bool:
        """Wait until it can begin; False when it failed."""
        return self._heard() is not None

    def turn(self, value: int) -> None:
        """Let it reload once; without effect once it has failed."""
        if self.failed:
            return
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # its last words say why
            self._process.stdin.write(f"{value}\n")
            self._process.stdin.flush()
        if (told := self._heard()) is not None:
            self.turns.append(told)

    def end(self) -> None:
        """Let it end, and hear whether it tears calls."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        if not self.failed and (told := self._heard()) is not None:
            self.torn = told["torn"]
        self._process.wait()
        self._clock.cancel()
        self._said.close()

    def _heard(self) -> dict[str, Any] | None:
        """Return the next answer; None, with the reason noted, when it is no longer there."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):  # some print to stdout
                told: dict[str, Any] = json.loads(line)
                return told
        self._said.seek(0)
        self.failed = (self._said.read().strip().splitlines() or [f"it ended, or took more than {LIMIT:g} s"])[-1]
        return None


def speed(
    pythons: dict[str, str], names: Sequence[str], modules: int, dataclasses: bool, rounds: int
) -> dict[str, Any]:
    """Let all take turns; return by name the medians in microseconds, the ratios of each round, what was wrong."""
    contestants = {n: Contestant(pythons.get(n, sys.executable), n, modules, dataclasses) for n in names}
    try:
        for contestant in contestants.values():
            contestant.is_ready()
        for number in range(rounds):
            begin = number % len(names)
            for name in (*names[begin:], *names[:begin]):
                contestants[name].turn(1_000_000 + number)
    finally:
        for contestant in contestants.values():
            contestant.end()
    ours = contestants[OURS].turns
    return {name: _summary(contestant, ours) for name, contestant in contestants.items()}


def _summary(contestant: Contestant, ours: Sequence[dict[str, Any]]) -> dict[str, Any]:
    turns = contestant.turns
    if contestant.failed:
        return {"failed": contestant.failed}
    return {
        "median_us": statistics.median(turn["own"] for turn in turns) * 1e6,
        "baseline_us": statistics.median(turn["baseline"] for turn in turns) * 1e6,
        "ratio": statistics.median(turn["own"] / turn["baseline"] for turn in turns),
        "to_ours": statistics.median(t["own"] / our["own"] for t, our in zip(turns, ours, strict=True)),
        "rounds": len(turns),
        "wrong": sum(turn["wrong"] for turn in turns),
        "torn": contestant.torn,
    }


def _clocked(work: Callable[[], object]) -> float:
    gc.collect()
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def growth(name: str, reloads: int) -> dict[str, Any]:
    """Reload a plugin of ten modules again and again; return KiB of growth after a warm-up, and wrong answers."""
    _resident()  # what measures is there before the warm-up, and fills no holes after it
    with tempfile.TemporaryDirectory() as directory:
        arena = Arena(name, Path(directory), 10, False)
        wrong = 0
        before = 0
        for number in range(WARM_UP + reloads):
            if number == WARM_UP:
                before = _resident()
            value = 1_000_000 + number
            arena.edit(value)
            arena.reload(arena.sample.edited)
            wrong += arena.answer() != value
        grown = _resident() - before
        arena.adapter.close()
    return {"grown_kib": grown, "reloads": reloads, "wrong": wrong}


def _resident() -> int:
    """Return the resident memory of this process in KiB, garbage collected."""
    import psutil

    for _ in range(3):
        gc.collect()
    return int(psutil.Process().memory_info().rss // 1024)


def in_child(python: str, arguments: Sequence[str]) -> dict[str, Any]:
    """Run one measurement in a process of its own; a peer that fails or hangs says why."""
    command = [python, "-m", "benchmarks.reload_peers", "--child", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False)
    except subprocess.TimeoutExpired:
        return {"failed": f"did not end within {LIMIT:g} s"}
    if done.returncode:
        return {"failed": (done.stderr.strip().splitlines() or ["it said nothing"])[-1]}
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def run(pythons: dict[str, str], rounds: int, reloads: int) -> dict[str, Any]:
    """Measure every reloader that runs here and return the result as JSON-ready data."""
    rows = {peer.name: describe(peer, pythons) for peer in PEERS}
    running = [name for name, row in rows.items() if row["runs"]]
    for modules, dataclasses in SHAPES:
        shape = f"{modules} module{'s' * (modules > 1)}, {'with' if dataclasses else 'no'} dataclasses"
        for name, told in speed(pythons, running, modules, dataclasses, rounds).items():
            rows[name][shape] = told
        print(f"{shape}: measured", file=sys.stderr, flush=True)
    for name in running:
        rows[name]["memory"] = in_child(pythons.get(name, sys.executable), ["growth", name, str(reloads)])
        print(f"{name}: memory measured", file=sys.stderr, flush=True)
    return {
        "schema_version": SCHEMA_VERSION,
        "script": "reload_peers",
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "cpus": os.cpu_count(),
        "taken_at": time.time(),
        "rows": list(rows.values()),
    }


def table(result: dict[str, Any]) -> Table:
    """Return the result as a table: ratios to a one-module importlib.reload, and growth."""
    shapes = [key for key in result["rows"][0] if "dataclasses" in key]
    shown = Table(
        title="reload, ratio to importlib.reload of one module in the same process (to ours in the same round)"
    )
    for heading in ("reloader", *shapes, "KiB grown"):
        shown.add_column(heading, justify="left" if heading == "reloader" else "right")
    for row in result["rows"]:
        name = f"{row['name']} {row['version']}".strip()
        if not row["runs"]:
            shown.add_row(name, row["note"])
            continue
        shown.add_row(name, *(_ratio(row[shape]) for shape in shapes), _grown(row["memory"]))
    return shown


def _ratio(told: dict[str, Any]) -> str:
    if "failed" in told:
        return "failed"
    wrong = f" WRONG {told['wrong']}/{told['rounds']}" if told["wrong"] else " TORN" if told["torn"] else ""
    return f"{told['ratio']:.2f} ({told['to_ours']:.2f}){wrong}"


def _grown(told: dict[str, Any]) -> str:
    if "failed" in told:
        return "failed"
    return f"{told['grown_kib']:,}" + (" WRONG" if told["wrong"] else "")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, write `--json FILE`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reload_peers")
    parser.add_argument("--rounds", type=int, default=200, help="reloads per shape (200)")
    parser.add_argument("--reloads", type=int, default=GROWTH_RELOADS, help=f"reloads for memory ({GROWTH_RELOADS})")
    parser.add_argument("--with", dest="others", action="append", default=[], metavar="PEER=PYTHON")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the result there")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child:
        kind, name, *numbers = options.child
        if kind == "growth":
            print(json.dumps(growth(name, int(numbers[0]))))
        else:
            take_turns(name, int(numbers[0]), numbers[1] == "1")
        return 0
    result = run(dict(pair.split("=", 1) for pair in options.others), options.rounds, options.reloads)
    Console(width=None if sys.stdout.isatty() else 140).print(table(result))
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    allow_bytecode()
    raise SystemExit(main())
