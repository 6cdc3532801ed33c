"""Play scenarios in a process of their own: `python -m tests.hazards.child pytest-hotplug D01 [--without]`.

Hazards of bytecode, exit, signals and forks need one, and peers may hang or crash. The last line on
standard output is JSON: `{"passed": bool, "why": text}`.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.hazards.adapter import Adapter
from tests.hazards.ours import Ours
from tests.hazards.stage import Stage
from tests.hazards.suite import Hazard, every_hazard, play, play_without

PROJECT = Path(__file__).resolve().parents[2]
FORBIDS_BYTECODE = "PYTHONDONTWRITEBYTECODE"


@dataclass(frozen=True)
class Verdict:
    """Whether a scenario passed, and if not, why in a line."""

    passed: bool
    why: str = ""


def play_in_child(
    id: str,  # noqa: A002
    *,
    reloader: str = Ours.name,
    without: bool = False,
    python: str = sys.executable,
    module: str = "tests.hazards.child",
    limit: float = 30.0,
) -> Verdict:
    """Play one scenario in a child that may write bytecode; kill it, with its own children, at the limit."""
    command = [python, "-m", module, reloader, id, *(["--without"] if without else [])]
    environment = {k: v for k, v in os.environ.items() if k != FORBIDS_BYTECODE}
    environment["PYTHONPATH"] = str(PROJECT)
    with tempfile.TemporaryFile("w+") as said:
        child = subprocess.Popen(
            command, cwd=PROJECT, env=environment, stdout=said, stderr=said, stdin=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        try:
            code: int | str = child.wait(limit)
        except subprocess.TimeoutExpired:
            code = f"killed after {limit:g} s"
        finally:
            _end(child)
        said.seek(0)
        return _read(said.read(), code)


def _end(child: subprocess.Popen[bytes]) -> None:
    """End what the child left running in its session."""
    with contextlib.suppress(ProcessLookupError, PermissionError):  # nothing is left
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _read(output: str, code: int | str) -> Verdict:
    for line in reversed(output.splitlines()):
        if line.startswith('{"passed"'):
            return Verdict(**json.loads(line))
    last = output.strip().splitlines()[-1:] or [""]
    return Verdict(False, code if isinstance(code, str) else f"the process ended with {code}: {last[0]}"[:300])


def main(arguments: list[str], adapters: dict[str, Callable[[], Adapter]]) -> None:
    """Play what the command line asks for, print the verdict and leave without waiting for anybody."""
    reloader, id, *more = arguments  # noqa: A001
    one = {found.id: found for found in every_hazard()}[id]
    verdict = judged(one, adapters[reloader], "--without" in more)
    print(json.dumps({"passed": verdict.passed, "why": verdict.why}), flush=True)
    os._exit(0)


def judged(one: Hazard, adapter: Callable[[], Adapter], without: bool) -> Verdict:
    """Play one scenario here and judge it."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        os.chmod(scratch, 0o755)  # a scenario may look at it as another user
        try:
            stage = Stage(Path(scratch), adapter(), one.settings)
            (play_without if without else play)(one, stage)
        except BaseException as error:  # noqa: BLE001  # whatever it is, the hazard did not pass
            traceback.print_exc()
            return Verdict(False, _in_a_line(error).replace(scratch, "..."))
        return Verdict(True)


def _in_a_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    if text or not error.__traceback__:
        return f"{type(error).__name__}: {text}"[:300]
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} at `{last.line}`"[:300]


if __name__ == "__main__":
    main(sys.argv[1:], {Ours.name: Ours})
