"""Claim: one more reload of a clean plugin leaves nothing: 0 blocks, over 10,000 reloads.

The plugin uses what old code hangs on to elsewhere (dataclasses, enums, generics, caches, dispatch,
threads of the context) and changes by a comment, since identifiers that change are immortal from
Python 3.12 on. Blocks are those of Python's own allocator after a collection.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness import SCHEMA_VERSION, allow_bytecode
from tests.reloader.test_memory import CHILD, WARM_UP


def measure(reloads: int, state: dict[str, str]) -> dict[str, Any]:
    """Return blocks at equal distances, and how many each reload left."""
    with tempfile.TemporaryDirectory() as directory:
        command = [sys.executable, "-c", CHILD, str(reloads), json.dumps(state)]
        done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=True)
    told: dict[str, Any] = json.loads(done.stdout)
    return {**told, "per_reload": (told["blocks"][-1] - told["blocks"][0]) / reloads}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure in memory and on disk, print both, write `--json FILE`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory")
    parser.add_argument("--reloads", type=int, default=10_002, help="reloads after the warm-up (10,002)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the result there")
    options = parser.parse_args(arguments)
    states: dict[str, dict[str, str]] = {"in memory": {}, "on disk": {"state_dir": "state"}}
    rows = {name: measure(options.reloads, state) for name, state in states.items()}
    for name, row in rows.items():
        print(f"versions kept {name}: {row['per_reload']:+.3f} blocks a reload, {row['alive']} generation alive")
    if options.json:
        told = {
            "schema_version": SCHEMA_VERSION,
            "script": "memory",
            "python": platform.python_version(),
            "platform": f"{platform.system()} {platform.machine()}",
            "cpus": os.cpu_count(),
            "taken_at": time.time(),
            "warm_up": WARM_UP,
            "reloads": options.reloads,
            "rows": rows,
        }
        options.json.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    allow_bytecode()
    raise SystemExit(main())
