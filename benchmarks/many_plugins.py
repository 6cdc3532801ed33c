"""Claim: 1,000 plugins of 5 files are found, fingerprinted and watched in under a second, and watching costs nothing.

Each round makes a new manager over the same plugins: `discover`, a fingerprint of every plugin (the
digest of its content, read from disk), `start_watching` until it returns. The baselines beside it
read the same files in the plainest way. The second table is the CPU that the process uses while it
watches and nothing happens. Plugins lie in the directory that `--dir` names (a file system of
interest), else in a temporary one.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.harness import SCHEMA_VERSION, allow_bytecode
from pytest_hotplug import PluginManager
from pytest_hotplug.reloader.fingerprint import snapshot

PLUGINS = 1_000
SOURCES = ("main.py", "text.py", "core/__init__.py", "core/steps.py")
IDLE_SECONDS = 10.0


def write_plugins(parent: Path) -> None:
    """Write the plugins, each of four sources and a manifest."""
    for number in range(PLUGINS):
        directory = parent / f"plugin_{number:04}"
        for name in SOURCES:
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"# {number} {name}\ndef run():\n    return {number}\n" * 20, encoding="utf-8")
        (directory / "plugin.json").write_text('{"version": "1.0"}', encoding="utf-8")


def files_of(parent: Path) -> list[str]:
    """Return all files, by the plainest walk."""
    return [os.path.join(place, name) for place, _, names in os.walk(parent) for name in names]


def stat_all(parent: Path) -> int:
    return sum(os.stat(path).st_size > 0 for path in files_of(parent))


def md5_all(parent: Path) -> int:
    return sum(bool(hashlib.md5(Path(path).read_bytes()).digest()) for path in files_of(parent))


def ours(parent: Path) -> dict[str, float]:
    """Return the seconds of each step of a new manager."""
    with PluginManager(plugin_dirs=[parent], package="many") as manager:
        times = [time.perf_counter()]
        names = manager.discover()
        times.append(time.perf_counter())
        digests = {name: snapshot(parent / name, plugin=name).digest for name in names}
        times.append(time.perf_counter())
        manager.start_watching()
        times.append(time.perf_counter())
        assert len(digests) == len(set(digests.values())) == PLUGINS, "every plugin has a digest of its own"
    steps = dict(zip(("discover", "fingerprint", "watch"), (b - a for a, b in pairwise(times)), strict=True))
    return {**steps, "all": times[-1] - times[0]}


def idle(parent: Path) -> dict[str, float]:
    """Watch for a while without anything happening; return the CPU seconds of this process, and the wall's."""
    with PluginManager(plugin_dirs=[parent], package="many") as manager:
        manager.start_watching()
        time.sleep(2.0)  # what arming left to do is done
        gc.collect()
        cpu, wall = time.process_time(), time.perf_counter()
        time.sleep(IDLE_SECONDS)
        return {"cpu_seconds": time.process_time() - cpu, "wall_seconds": time.perf_counter() - wall}


def run(parent: Path, rounds: int) -> dict[str, Any]:
    """Measure everything and return it as JSON-ready data."""
    write_plugins(parent)
    baselines: dict[str, Callable[[Path], int]] = {"os.stat of each file": stat_all, "MD5 of each file": md5_all}
    plain: dict[str, list[float]] = {name: [] for name in baselines}
    own: dict[str, list[float]] = {}
    for _ in range(rounds):
        for name, work in baselines.items():
            start = time.perf_counter()
            assert work(parent) == PLUGINS * (len(SOURCES) + 1)
            plain[name].append(time.perf_counter() - start)
        for step, seconds in ours(parent).items():
            own.setdefault(step, []).append(seconds)
    return {
        "schema_version": SCHEMA_VERSION,
        "script": "many_plugins",
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "cpus": os.cpu_count(),
        "taken_at": time.time(),
        "rounds": rounds,
        "plugins": PLUGINS,
        "files": PLUGINS * (len(SOURCES) + 1),
        "baselines_ms": {name: statistics.median(times) * 1e3 for name, times in plain.items()},
        "ours_ms": {step: statistics.median(times) * 1e3 for step, times in own.items()},
        "idle": idle(parent),
    }


def table(result: dict[str, Any]) -> Table:
    """Return the result as a table."""
    title = f"{result['plugins']:,} plugins, {result['files']:,} files, medians of {result['rounds']} rounds"
    shown = Table(title=title, title_justify="left")
    shown.add_column("step")
    shown.add_column("ms", justify="right")
    for name, milliseconds in result["baselines_ms"].items():
        shown.add_row(name, f"{milliseconds:,.0f}")
    for name, milliseconds in result["ours_ms"].items():
        shown.add_row(f"pytest-hotplug: {name}", f"{milliseconds:,.0f}")
    found = result["idle"]
    share = 100 * found["cpu_seconds"] / found["wall_seconds"]
    shown.add_row(f"CPU while watching, {found['wall_seconds']:.0f} s idle", f"{share:.2f} %")
    return shown


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, write `--json FILE`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.many_plugins")
    parser.add_argument("--rounds", type=int, default=10, help="interleaved rounds (10)")
    parser.add_argument("--dir", type=Path, help="a directory on the file system to measure")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the result there")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(dir=options.dir) as directory:
        result = run(Path(directory).resolve() / "many", options.rounds)
    Console(width=None if sys.stdout.isatty() else 100).print(table(result))
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    allow_bytecode()
    raise SystemExit(main())
