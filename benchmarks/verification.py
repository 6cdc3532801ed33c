"""Claim: a verification finds every unsafe plugin, each time, and no fault in a clean one; it costs seconds.

The corpus is that of the tests. Detection: each unsafe plugin's own check, `--detections` times. False alarms:
`--runs` runs of every clean plugin, what it leaves behind, whom it holds and what memory it takes. Cost: the CPU
that the children of one example take, at both levels. What other Pythons found stays in the file, and so does a
part that a run leaves out (`--detections 0`, say); each part says when it was measured.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any

from benchmarks.harness import SCHEMA_VERSION, allow_bytecode
from pytest_hotplug.reloader.settings import layouts, read_settings
from pytest_hotplug.safety.check import Level, Scenario
from pytest_hotplug.safety.checks import ALL
from pytest_hotplug.safety.judging import judge
from pytest_hotplug.safety.runner import Subjects, chosen, play
from tests.safety.corpus import CLEAN, PLUGINS, subjects_in, write
from tests.safety.corpus_upgrade import BAD, released

EXAMPLES = Path(__file__).parents[1]
_QUIET: tuple[Scenario, ...] = ("cycle", "memory")


def detected(check_id: str, name: str) -> bool:
    """Tell whether the check that must catch an unsafe plugin, or a bad upgrade, does."""
    (check,) = (one for one in ALL if one.id == check_id)
    with tempfile.TemporaryDirectory() as directory:
        if check_id in BAD:
            subjects, plugin = released(Path(directory), BAD[check_id][name]), "subject"
        else:
            subjects = subjects_in(Path(directory))
            plugin = write(subjects, PLUGINS[check_id][name])
        return judge(check, play(subjects, plugin, check.scenario)).outcome == "failed"


def alarms(name: str) -> list[str]:
    """Return the checks that find fault with a clean plugin in one run."""
    with tempfile.TemporaryDirectory() as directory:
        subjects = subjects_in(Path(directory))
        plugin = write(subjects, {"main.py": CLEAN[name]})
        seen = {scenario: play(subjects, plugin, scenario) for scenario in _QUIET}
        judged = [judge(check, seen[check.scenario]) for check in ALL if check.scenario in seen]
    return [one.check.id for one in judged if one.outcome in ("failed", "error")]


def cost(plugin: str, level: Level) -> float:
    """Return the CPU, in seconds, that all of a level's children take with one of the examples."""
    project = read_settings(EXAMPLES)
    subjects = Subjects(project.settings, project.root, layouts(project.settings, project.root))
    before = _cpu()
    checks = chosen(subjects, level)
    for scenario in dict.fromkeys(check.scenario for check in checks):
        play(subjects, plugin, scenario, checks=checks)
    return _cpu() - before


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _beside(jobs: int, function: Callable[..., Any], work: Iterable[tuple[str, ...]]) -> list[Any]:
    with ThreadPoolExecutor(jobs) as pool:
        return list(pool.map(lambda arguments: function(*arguments), work))


def _detection(times: int, jobs: int) -> dict[str, Any]:
    names = [
        *((check, name) for check in PLUGINS for name in PLUGINS[check]),
        *((check, name) for check in BAD for name in BAD[check]),
    ]
    found = _beside(jobs, detected, names * times)
    caught = Counter(case for case, right in zip(names * times, found, strict=True) if right)
    missed = {f"{check}: {name}": times - caught[check, name] for check, name in names if caught[check, name] < times}
    return {"plugins": len(names), "times": times, "missed": missed}


def _false_alarms(runs: int, jobs: int) -> dict[str, Any]:
    return {
        name: {"runs": runs, "alarms": dict(Counter(chain.from_iterable(_beside(jobs, alarms, [(name,)] * runs))))}
        for name in CLEAN
    }


def _costs() -> dict[str, dict[str, float]]:
    examples = sorted(path.parent.name for path in EXAMPLES.glob("example_plugins/*/plugin.json"))
    levels: tuple[Level, ...] = ("fast", "full")
    return {
        plugin: {level: statistics.median(cost(plugin, level) for _ in range(3)) for level in levels}
        for plugin in examples
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure on this Python, print, add to `--json FILE`; 1 when anything was missed or alarmed falsely."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.verification")
    parser.add_argument("--detections", type=int, default=10, help="runs of each unsafe plugin (10)")
    parser.add_argument("--runs", type=int, default=200, help="runs of each clean plugin (200)")
    parser.add_argument("--jobs", type=int, default=2, help="how many run beside each other (2)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the result there")
    options = parser.parse_args(arguments)
    parts: dict[str, Callable[[], Any]] = {"cost": _costs}
    if options.detections:
        parts["detection"] = lambda: _detection(options.detections, options.jobs)
    if options.runs:
        parts["false_alarms"] = lambda: _false_alarms(options.runs, options.jobs)
    measured: dict[str, Any] = {}
    for name, measure in parts.items():
        measured[name] = measure()
        measured.setdefault("taken_at", {})[name] = time.time()
    print(json.dumps(measured, indent=2))
    if options.json:
        _store(options.json, measured)
    missed = measured.get("detection", {}).get("missed")
    return 1 if missed or any(one["alarms"] for one in measured.get("false_alarms", {}).values()) else 0


def _store(file: Path, measured: dict[str, Any]) -> None:
    stored = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    before = stored.get("pythons", {}).get(platform.python_version(), {})
    row = {**before, **measured, "taken_at": {**before.get("taken_at", {}), **measured["taken_at"]}}
    told: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "script": "verification",
        "platform": f"{platform.system()} {platform.machine()}",
        "cpus": os.cpu_count(),
        "pythons": {**stored.get("pythons", {}), platform.python_version(): row},
    }
    told["python"] = ", ".join(sorted(told["pythons"]))
    file.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    allow_bytecode()
    raise SystemExit(main())
