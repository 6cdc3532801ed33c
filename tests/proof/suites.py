"""Well-known projects with their own tests, unmodified: watched, edited, and compared with a fresh pytest.

    python -m tests.proof.suites click more-itertools h11 --edits 10

Fetches each project's source archive with pip, installs it and its test dependencies into an environment
of its own, watches all of its tests, then edits its sources and tests at random: after each edit, and
after each is taken back, what stands must be what a fresh pytest says. Takes minutes and a network, so
it is no part of the test suite.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.proof.edits import Editor
from tests.proof.standing import Standing, failing_when_cold
from tests.testing.watched import Watched

REPOSITORY = Path(__file__).parents[2]
PATIENCE = 300.0  # seconds for a run
WAYS = (
    "change_a_value",
    "change_a_return",
    "turn_an_operator",
    "break_the_syntax",
    "delete_a_line",
    "comment",
    "touch",
)


@dataclass(frozen=True)
class Suite:
    """What to edit of a project, what its tests need, and options that pytest is given."""

    places: tuple[str, ...]
    needs: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


SUITES = {  # none that pytest itself runs on: a broken edit of pluggy leaves nothing to compare with
    "attrs": Suite(("src", "tests"), ("hypothesis", "cloudpickle"), ("-p", "no:randomly")),
    "click": Suite(("src", "tests")),
    "h11": Suite(("h11",)),
    "itsdangerous": Suite(("src", "tests"), ("freezegun",)),
    "jinja2": Suite(("src", "tests"), ("trio",)),
    "more-itertools": Suite(("more_itertools", "tests")),
}


def fetch(name: str, directory: Path) -> Path:
    """Return the unpacked source archive of a project."""
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:", name]
    subprocess.run(command, cwd=directory, check=True)
    (archive,) = directory.glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        packed.extractall(directory, filter="data")
    archive.unlink()
    (root,) = (path for path in directory.iterdir() if path.is_dir())
    return root


def install(root: Path, suite: Suite, directory: Path) -> str:
    """Return the interpreter of a new environment with the project, what its tests need, and us."""
    venv.create(directory, with_pip=True)
    python = os.fspath(directory / "bin" / "python")
    what = ["-e", os.fspath(root), "-e", os.fspath(REPOSITORY), *suite.needs]
    subprocess.run([python, "-m", "pip", "install", "-q", *what], check=True)
    return python


def try_suite(name: str, edits: int, seed: int) -> str:
    """Watch, edit, compare; return what to say of it. Raises AssertionError with the edits so far."""
    suite = SUITES[name]
    with tempfile.TemporaryDirectory() as temporary:
        (Path(temporary) / "project").mkdir()
        root = fetch(name, Path(temporary) / "project")
        python = install(root, suite, Path(temporary) / "environment")
        environment = {"PYTHONDONTWRITEBYTECODE": ""}
        began = time.monotonic()
        with Watched(root, *suite.options, environment=environment, python=python, patience=PATIENCE) as watched:
            standing = Standing(watched)
            standing.wait()
            took, verdict = time.monotonic() - began, watched.events_of("verdict")[-1]
            story: list[str] = []
            compare(name, standing, root, python, suite, story)
            for number in range(edits):
                place = suite.places[number % len(suite.places)]
                original = Path(temporary) / "original"
                shutil.copytree(root / place, original, ignore=shutil.ignore_patterns("__pycache__"))
                story.append(Editor(root, place, original, seed + number, WAYS, below=root / place).edit())
                changed = not story[-1].endswith("touched")
                standing.wait(changed=changed)
                compare(name, standing, root, python, suite, story)
                put_back(original, root / place)
                story.append("taken back")
                standing.wait(changed=changed)
                compare(name, standing, root, python, suite, story)
                shutil.rmtree(original)
            levels = [event["level"] for event in watched.events_of("run")]
        counted = ", ".join(f"{levels.count(level)} {level}" for level in dict.fromkeys(levels))
        outcomes = ", ".join(f"{verdict[outcome]} {outcome}" for outcome in ("passed", "failed", "skipped"))
        return (
            f"{root.name}: {outcomes} in {took:.1f} s; "
            f"{edits} edits and as many taken back: warm and cold agree; runs: {counted}"
        )


def put_back(original: Path, place: Path) -> None:
    """Restore what differs, and nothing else."""
    for path in original.rglob("*"):
        here = place / path.relative_to(original)
        if path.is_file() and (not here.exists() or here.read_bytes() != path.read_bytes()):
            shutil.copyfile(path, here)


def compare(name: str, standing: Standing, root: Path, python: str, suite: Suite, story: Sequence[str]) -> None:
    """Check what stands against a fresh pytest."""
    cold = failing_when_cold(root, {}, python, suite.options)
    warm = standing.failing
    agree = bool(cold is None or cold) if warm is None else warm == cold
    if not agree:
        warm, cold = warm or set(), cold or set()
        raise AssertionError(f"{name}, after {list(story)}: only warm {warm - cold}, only cold {cold - warm}")


def main() -> int:
    """Try the projects that are named."""
    parser = argparse.ArgumentParser(prog="python -m tests.proof.suites")
    parser.add_argument("projects", nargs="*", default=list(SUITES), metavar="PROJECT")
    parser.add_argument("--edits", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    for name in options.projects:
        sys.stdout.write(f"{try_suite(name, options.edits, options.seed)}\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
