"""Claim: ours survives every hazard of hot reloading, as far as Python allows, and no other reloader does.

Plays the scenarios of `tests/hazards` once for each reloader that is installed, each in a process of
its own with a time limit: some hang, some crash. A hazard that needs what a reloader hasn't got
(hooks, a watcher) is n/a for it. A peer that doesn't run on this Python can be played by another
one's: `--with hmr=/path/to/python`. `--page` writes the stored result as docs/reference/hazards.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.harness import SCHEMA_VERSION, allow_bytecode
from benchmarks.peers import PEERS, Peer
from tests.hazards.child import main as play_one
from tests.hazards.child import play_in_child
from tests.hazards.suite import OURS, Hazard, applies, every_hazard

HERE = Path(__file__).resolve().parent
RESULT = HERE / "results" / "hazards.json"
PAGE = HERE.parent / "docs" / "reference" / "hazards.md"
COMMAND = "python -m benchmarks.hazards{more} --json benchmarks/results/hazards.json --page"
LIMIT = 20.0  # seconds for one scenario
AT_ONCE = 2


def run(peers: Sequence[Peer], pythons: dict[str, str], only: Sequence[str] = ()) -> dict[str, Any]:
    """Play everything and return the result as JSON-ready data."""
    hazards = [one for one in every_hazard() if not only or one.id in only]
    played = {peer.name: describe(peer, pythons) for peer in peers}
    jobs = [(one, peer) for one in hazards for peer in peers if played[peer.name]["runs"]]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        verdicts = list(pool.map(lambda job: verdict_of(job[0], job[1], pythons), jobs))
    found: dict[str, dict[str, Any]] = {one.id: {} for one in hazards}
    for (one, peer), verdict in zip(jobs, verdicts, strict=True):
        found[one.id][peer.name] = verdict
    return {
        "schema_version": SCHEMA_VERSION,
        "script": "hazards",
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "taken_at": time.time(),
        "limit": LIMIT,
        "reloaders": list(played.values()),
        "hazards": [
            {"id": one.id, "sentence": one.sentence, "ours": one.outcome, "how": one.how, "results": found[one.id]}
            for one in hazards
        ],
    }


def describe(peer: Peer, pythons: dict[str, str]) -> dict[str, Any]:
    """Tell which version of a peer runs, on which Python, or why none does."""
    if peer.name in pythons:
        asked = f"import platform, importlib.metadata as m; print(m.version({peer.distribution!r}))\n"
        asked += "print(platform.python_version())"
        done = subprocess.run([pythons[peer.name], "-c", asked], capture_output=True, text=True, check=True)
        installed, python = done.stdout.split()
        return {"name": peer.name, "version": installed, "python": python, "runs": True, "note": ""}
    told = {"name": peer.name, "version": "", "python": platform.python_version(), "runs": True, "note": ""}
    if peer.module and find_spec(peer.module) is None:
        return {**told, "runs": False, "note": f"not installed: pip install {peer.distribution}"}
    try:
        return {**told, "version": version(peer.distribution) if peer.distribution else ""}
    except PackageNotFoundError:
        return told


def verdict_of(one: Hazard, peer: Peer, pythons: dict[str, str]) -> dict[str, Any]:
    """Play one scenario for one peer."""
    if not applies(one, peer.can):
        return {"passed": None, "why": f"needs {', '.join(sorted(one.needs - peer.can))}"}
    python = pythons.get(peer.name, sys.executable)
    verdict = play_in_child(one.id, reloader=peer.name, python=python, module="benchmarks.hazards", limit=LIMIT)
    print(f"{one.id} {peer.name}: {'passed' if verdict.passed else verdict.why}", flush=True)
    return {"passed": verdict.passed, "why": verdict.why}


# -- the page ------------------------------------------------------------------------------------

HEAD = """# Hazards

Everything known to go wrong when plugins of several modules are reloaded in a running process, and what becomes of
it. Each line is one scenario on real files and real threads; the same scenario is played for every reloader, each in
a process of its own. `+` passed, `-` failed (or hung, or crashed), `n/a` can't befall this reloader.

Ours has one of three outcomes: **passes**; **passes with help**, where Python makes it impossible without the
plugin's own part, which is named (a plugin that gives no help breaks nothing, and what it leaves behind is told);
**reported**, where we say what can't be done, by name.
"""

FOOT = """
Peers are used as their documentation says. Where one has hooks (setup and teardown, dispose callbacks), plugins use
them as ours use `on_load` and `context.register`. A peer that is driven by a file watcher is told of every file that
changed, so nothing that a watcher overlooks counts against it. Files are dated two seconds apart except where times
are the hazard.

Made on Python {python}, {platform}, by

```text
{command}
```
"""


def page(stored: dict[str, Any]) -> str:
    """Return docs/reference/hazards.md for a stored run."""
    reloaders = stored["reloaders"]
    ours, peers = reloaders[0], [found for found in reloaders[1:] if found["runs"]]
    rows = [_row(["id", "hazard", "ours", *(peer["name"] for peer in peers)])]
    rows.append(_row(["---"] * 3 + [":-:"] * len(peers)))
    for hazard in stored["hazards"]:
        results = hazard["results"]
        marks = [_mark(results[peer["name"]]) for peer in peers]
        rows.append(_row([hazard["id"], hazard["sentence"], _ours(hazard), *marks]))
    totals = [_total(stored, found["name"]) for found in (ours, *peers)]
    rows.append(_row(["", "**passed, of those that apply**", *(f"**{total}**" for total in totals)]))
    versions = [_version(found) for found in reloaders]
    foot = FOOT.format(python=stored["python"], platform=stored["platform"], command=_command(stored))
    return "\n".join([HEAD, *rows, "", f"Versions: {' · '.join(versions)}.", foot.rstrip("\n"), ""])


def _command(stored: dict[str, Any]) -> str:
    """Return what made this run; peers on another Python were named with it."""
    others = [found for found in stored["reloaders"] if found["python"] != stored["python"]]
    pairs = [f" --with {found['name']}=python{'.'.join(found['python'].split('.')[:2])}" for found in others]
    return COMMAND.format(more="".join(pairs))


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _mark(result: dict[str, Any]) -> str:
    return "n/a" if result["passed"] is None else "+" if result["passed"] else "-"


def _ours(hazard: dict[str, Any]) -> str:
    if not hazard["results"][OURS]["passed"]:
        return "**fails**"
    return f"{hazard['ours']}: {hazard['how']}" if hazard["how"] else str(hazard["ours"])


def _total(stored: dict[str, Any], name: str) -> str:
    told = [hazard["results"][name]["passed"] for hazard in stored["hazards"]]
    return f"{told.count(True)}/{len(told) - told.count(None)}"


def _version(found: dict[str, Any]) -> str:
    if not found["runs"]:
        return f"{found['name']} ({found['note']})"
    return f"{found['name']} {found['version']}".strip() + f" on Python {found['python']}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Play, store, and write the page; return 0 even where a peer failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hazards")
    parser.add_argument("--json", type=Path, metavar="FILE", help="play everything and write the result there")
    parser.add_argument("--only", action="append", default=[], metavar="ID", help="play this hazard alone (repeatable)")
    parser.add_argument("--peer", action="append", default=[], metavar="NAME", help="play this reloader alone")
    parser.add_argument("--with", action="append", default=[], metavar="NAME=PYTHON", dest="pythons")
    parser.add_argument("--page", action="store_true", help=f"write {PAGE.name} from the stored result")
    options = parser.parse_args(arguments)
    if options.json or not options.page:
        pythons = dict(pair.split("=", 1) for pair in options.pythons)
        peers = [peer for peer in PEERS if not options.peer or peer.name in options.peer]
        result = run(peers, pythons, options.only)
        for peer in peers:
            if all(peer.name in hazard["results"] for hazard in result["hazards"]):
                print(f"{peer.name}: {_total(result, peer.name)}")
        if options.json:
            options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if options.page:
        PAGE.write_text(page(json.loads((options.json or RESULT).read_text(encoding="utf-8"))), encoding="utf-8")
    return 0


if __name__ == "__main__":
    if len(sys.argv) >= 3 and sys.argv[1] in {peer.name for peer in PEERS}:
        play_one(sys.argv[1:], {peer.name: peer.adapter for peer in PEERS})
    allow_bytecode()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    raise SystemExit(main())
