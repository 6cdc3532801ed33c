"""Measure several ways to do one thing, side by side, and say who did it right.

Rounds are interleaved and each round starts with another contestant, so that a busy moment of the
machine hits all alike; what counts is the ratio to a named baseline within one run, never a bare
time. Every result is verified in every round: a contestant that is fast and wrong is shown as wrong.
Only the scripts of this directory and their test import it.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

SCHEMA_VERSION = 1
FORBIDS_BYTECODE = "PYTHONDONTWRITEBYTECODE"


def _nothing(number: int) -> None:
    """Prepare nothing."""


@dataclass(frozen=True)
class Contestant:
    """One way to do the thing.

    `run(number)` is timed, `repeats` times in a row where a single call is too short for the clock;
    `prepare(number)` comes before it and `verify(number, result)` after it, both untimed. `verify`
    returns what is wrong with the (last) result, or an empty string.
    """

    name: str
    run: Callable[[int], object]
    verify: Callable[[int, Any], str]
    prepare: Callable[[int], None] = _nothing
    repeats: int = 1


@dataclass(frozen=True)
class Claim:
    """A sentence about speed, the contestants that it compares and the name of the one that counts as 1.0."""

    title: str
    baseline: str
    contestants: Sequence[Contestant]


@dataclass(frozen=True)
class Row:
    """What one contestant showed: microseconds per run, ratio to the baseline, rounds that were wrong."""

    name: str
    median_us: float
    p90_us: float
    best_us: float
    ratio: float
    rounds: int
    wrong: int
    complaint: str


def measure(claim: Claim, rounds: int) -> list[Row]:
    """Return a row per contestant of `claim`, in their order, from `rounds` interleaved rounds."""
    names = [contestant.name for contestant in claim.contestants]
    if claim.baseline not in names:
        raise ValueError(f"the baseline {claim.baseline!r} is none of {names}")
    times: dict[str, list[float]] = {name: [] for name in names}
    complaints: dict[str, list[str]] = {name: [] for name in names}
    for number in range(rounds):
        for contestant in _rotated(claim.contestants, number):
            seconds, complaint = _one_round(contestant, number)
            times[contestant.name].append(seconds)
            complaints[contestant.name] += [complaint] if complaint else []
    return [_row(name, times[name], times[claim.baseline], complaints[name]) for name in names]


def _rotated(contestants: Sequence[Contestant], number: int) -> list[Contestant]:
    start = number % len(contestants)
    return [*contestants[start:], *contestants[:start]]


def _one_round(contestant: Contestant, number: int) -> tuple[float, str]:
    """Return (seconds per run, what was wrong); others' garbage is collected before the clock starts."""
    contestant.prepare(number)
    gc.collect()
    result: object = None
    start = time.perf_counter()
    for _ in range(contestant.repeats):
        result = contestant.run(number)
    seconds = (time.perf_counter() - start) / contestant.repeats
    return seconds, contestant.verify(number, result)


def _row(name: str, seconds: list[float], baseline: list[float], complaints: list[str]) -> Row:
    ordered = sorted(seconds)
    ratios = [own / other for own, other in zip(seconds, baseline, strict=True)]
    return Row(
        name=name,
        median_us=statistics.median(ordered) * 1e6,
        p90_us=ordered[min(len(ordered) - 1, int(len(ordered) * 0.9))] * 1e6,
        best_us=ordered[0] * 1e6,
        ratio=statistics.median(ratios),
        rounds=len(seconds),
        wrong=len(complaints),
        complaint=complaints[0] if complaints else "",
    )


def table(claim: Claim, rows: Iterable[Row]) -> Table:
    """Return `rows` as a table whose last column tells who was right."""
    shown = Table(title=claim.title, title_justify="left", caption=f"1.0 = {claim.baseline}")
    shown.add_column("contestant")
    for heading in ("median us", "p90 us", "ratio"):
        shown.add_column(heading, justify="right")
    shown.add_column("result")
    for row in rows:
        verdict = f"WRONG in {row.wrong} of {row.rounds}: {row.complaint}" if row.wrong else "right"
        shown.add_row(row.name, f"{row.median_us:,.1f}", f"{row.p90_us:,.1f}", f"{row.ratio:.2f}", verdict)
    return shown


def report(script: str, rounds: int, measured: Iterable[tuple[Claim, list[Row]]]) -> dict[str, Any]:
    """Return the whole run as JSON-ready data, with what one must know to read it."""
    return {
        "schema_version": SCHEMA_VERSION,
        "script": script,
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "platform": f"{platform.system()} {platform.machine()}",
        "cpus": os.cpu_count(),
        "package": _installed_version(),
        "taken_at": time.time(),
        "rounds": rounds,
        "claims": [
            {"title": claim.title, "baseline": claim.baseline, "rows": [asdict(row) for row in rows]}
            for claim, rows in measured
        ],
    }


def _installed_version() -> str:
    try:
        return version("pytest-hotplug")
    except PackageNotFoundError:
        return "checkout"


def allow_bytecode() -> None:
    """Start this program anew without PYTHONDONTWRITEBYTECODE when it is set.

    A user's imports read and write .pyc files; forbidding them would slow the peers and hide the
    stale .pyc that some of them serve. Raises RuntimeError when bytecode is forbidden by `-B`.
    """
    if os.environ.get(FORBIDS_BYTECODE):
        allowed = {name: value for name, value in os.environ.items() if name != FORBIDS_BYTECODE}
        sys.stdout.flush()
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], allowed)
    if sys.dont_write_bytecode:
        raise RuntimeError("run without -B: the peers' imports must be allowed to keep bytecode")


def run(script: str, claims: Callable[[], Iterable[Claim]], arguments: Sequence[str] | None = None) -> int:
    """Measure all `claims`, print a table each, write `--json FILE`; return 0 even if a peer was wrong."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{script}")
    parser.add_argument("--rounds", type=int, default=100, help="interleaved rounds per claim (100)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the result there")
    options = parser.parse_args(arguments)
    console = Console(width=None if sys.stdout.isatty() else 120)
    measured = []
    for claim in claims():
        rows = measure(claim, options.rounds)
        console.print(table(claim, rows))
        measured.append((claim, rows))
    if options.json:
        text = json.dumps(report(script, options.rounds, measured), indent=2)
        options.json.write_text(f"{text}\n", encoding="utf-8")
    return 0
