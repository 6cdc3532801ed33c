"""Writes docs/reference/speed.md from the stored results, so that the page says what was measured and nothing else.

python -m benchmarks.page
"""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
PAGE = REPOSITORY / "docs" / "reference" / "speed.md"

HEAD = """# How fast it is

Measured, stored and written here by [the benchmarks](../../benchmarks/README.md); no figure is typed by hand.
Contestants take turns within one run, and every result is checked in every round: who is fast and wrong is shown as
wrong. The machines that measured were small and shared: ratios within one table mean something elsewhere, bare times
little.
"""
# What we want to reach, and the command.
SECTIONS = {
    "reload_speed": (
        (
            "Ten modules at most 2.0 times one module with importlib.reload (14 with dataclasses), and faster than who "
            "is right: the entry returns the new value, and a call that goes on is answered by one version."
        ),
        " --rounds 300",
    ),
    "reload_peers": (
        (
            "Faster than every peer whose result is right, with less memory kept. It is right when the entry returns "
            "the new value and a call that went on meanwhile is answered by one version. hmr executes only what an "
            "edit reaches, in place: that is much faster where modules are dear, keeps less, and tears such a call. "
            "The first number is the ratio to importlib.reload of one module in the same process, the second to our "
            "reload in the same round. "
            "Right here is not right everywhere: see the [hazards](hazards.md)."
        ),
        " --rounds 100 --with hmr=python3.13",
    ),
    "check_speed": ("At most 2.0 times a stat of each file; at most 60 us more for a call.", ""),
    "worker_throughput": ("At most 1.05: as many calls as with hot reload off, but for 5 %.", ""),
    "many_plugins": ("In under a second, and nothing while nothing happens.", ""),
    "memory": ("No block per reload.", ""),
    "watch_speed": ("25 ms for a plugin (90th of 100), 120 for a source, 180 for a test file.", ""),
    "watch_peers": (
        (
            "First of all, about the new bytes, and no CPU at rest (the clock of the processes ticks 100 times a "
            "second: 0.1 % is one tick)."
        ),
        " --peers PYTHON --vitest DIR",
    ),
    "verification": (
        "Each unsafe plugin found each time, no false alarm in 200 runs; 15 s of CPU a plugin, 2 s at the fast level.",
        "",
    ),
    "recording": ("At most 1.15 times a plain run on Python 3.12 and newer.", ""),
}


def page() -> str:
    """Return the page for what is stored."""
    parts = [HEAD]
    for script, (goal, more) in SECTIONS.items():
        stored = json.loads((RESULTS / f"{script}.json").read_text(encoding="utf-8"))
        shown = _TABLES.get(script, _claims)(stored)
        command = f"python -m benchmarks.{script}{more} --json benchmarks/results/{script}.json"
        made = f"Made on Python {stored['python']}, {stored['platform']}, by"
        parts += [f"## {_claim_of(script)}\n", f"Wanted: {goal}\n", *shown, "", made, f"\n```text\n{command}\n```\n"]
    return "\n".join(parts)


def _claim_of(script: str) -> str:
    """Return what a script sets out to show, from the first line of its docstring."""
    source = (Path(__file__).parent / f"{script}.py").read_text(encoding="utf-8")
    first = (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]
    claim = first.removeprefix("Claim: ").rstrip(".")
    return claim[:1].upper() + claim[1:]


# -- tables -------------------------------------------------------------------------------------


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield _row(head)
    yield _row(["---", *["--:"] * (len(head) - 1)])
    yield from map(_row, rows)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _claims(stored: dict[str, Any]) -> Iterator[str]:
    for number, claim in enumerate(stored["claims"]):
        yield from ["", ""][:number]
        rows = [
            [row["name"], _time(row["median_us"]), _time(row["p90_us"]), f"{row['ratio']:.2f}", _verdict(row)]
            for row in claim["rows"]
        ]
        yield from _table([claim["title"], "median", "90 %", f"1.0 = {claim['baseline']}", "result"], rows)


def _peers_of_reload(stored: dict[str, Any]) -> Iterator[str]:
    shapes = [name for name, value in stored["rows"][0].items() if isinstance(value, dict) and name != "memory"]
    rows = []
    for row in (row for row in stored["rows"] if row["runs"]):
        memory = row["memory"]
        grown = f"{memory['grown_kib']:,}" + (f", WRONG in {memory['wrong']:,}" if memory["wrong"] else "")
        rows.append([
            f"{row['name']} {row['version']}".strip(), row["python"], *(_peer(row[shape]) for shape in shapes), grown,
        ])  # fmt: skip
    reloads = stored["rows"][0]["memory"]["reloads"]
    yield from _table(["reloader", "Python", *shapes, f"KiB after {reloads:,} reloads"], rows)


def _peer(measured: dict[str, Any]) -> str:
    if "failed" in measured:
        return "fails"
    wrong = f", WRONG in {measured['wrong']}" if measured["wrong"] else ", TORN" if measured["torn"] else ""
    ours = f"; {measured['to_ours']:.2f} of ours"
    return f"{_time(measured['median_us'])} ({measured['ratio']:.2f}{ours}{wrong})"


def _many(stored: dict[str, Any]) -> Iterator[str]:
    steps = {**stored["baselines_ms"], **{f"pytest-hotplug: {name}": ms for name, ms in stored["ours_ms"].items()}}
    rows = [[name, f"{ms:.0f} ms"] for name, ms in steps.items()]
    idle = stored["idle"]["cpu_seconds"] / stored["idle"]["wall_seconds"]
    rows.append(["CPU while nothing happens", f"{idle:.2%}"])
    yield from _table([f"{stored['plugins']:,} plugins, {stored['files']:,} files", "median"], rows)


def _memory(stored: dict[str, Any]) -> Iterator[str]:
    rows = [[name, f"{row['per_reload']:.4f}", str(row["alive"])] for name, row in stored["rows"].items()]
    yield from _table([f"{stored['reloads']:,} reloads", "blocks per reload", "generations alive"], rows)


def _watchers(stored: dict[str, Any]) -> Iterator[str]:
    yield from _claims(stored)
    yield ""
    rows = [
        [each["name"], str(each["processes"]), f"{each['uss'] / 2**20:.0f} MiB", f"{each['idle']:.1%}"]
        for each in stored["costs"]
    ]
    yield from _table(["after a verdict", "processes", "memory of their own", "CPU in ten seconds of rest"], rows)
    yield ""
    yield f"Versions: {' · '.join(f'{name} {version}' for name, version in stored['versions'].items())}."


def _verification(stored: dict[str, Any]) -> Iterator[str]:
    rows = []
    for python, row in stored["pythons"].items():
        detection, costs = row["detection"], row["cost"].values()
        missed = "; ".join(f"{what} missed {times} times" for what, times in detection["missed"].items())
        alarms = sum(sum(clean["alarms"].values()) for clean in row["false_alarms"].values())
        runs = " + ".join(str(clean["runs"]) for clean in row["false_alarms"].values())
        rows.append([
            python, f"{detection['plugins']} x {detection['times']}", missed or "none", runs, str(alarms),
            *(f"{min(cost[level] for cost in costs):.1f} to {max(cost[level] for cost in costs):.1f} s"
              for level in ("fast", "full")),
        ])  # fmt: skip
    found = ["unsafe plugins x runs", "missed", "runs of clean plugins", "false alarms"]
    yield from _table(["Python", *found, "CPU, fast", "CPU, full"], rows)


_TABLES: dict[str, Callable[[dict[str, Any]], Iterator[str]]] = {
    "reload_peers": _peers_of_reload,
    "many_plugins": _many,
    "memory": _memory,
    "watch_peers": _watchers,
    "verification": _verification,
}


def _time(us: float) -> str:
    return f"{us:,.1f} us" if us < 1000 else f"{us / 1000:,.1f} ms"


def _verdict(row: dict[str, Any]) -> str:
    return f"WRONG in {row['wrong']} of {row['rounds']}: {row['complaint']}" if row["wrong"] else "right"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
