"""Build sdist and wheel, install the wheel alone, and run it as a stranger would.

A checkout hides what a wheel forgot: so the wheel is built from the sdist, installed into an empty
environment and started from an empty directory. Called by `tox run -e pkg`; argument: a scratch
directory, which is emptied first.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
IN_SDIST = (
    ".importlinter",
    "CHANGELOG.md",
    "LICENSE",
    "benchmarks/harness.py",
    "docs/architecture.md",
    "pyproject.toml",
    "requirements/lowest.txt",
    "tests/architecture/test_packaging.py",
    "tox.ini",
)
IN_WHEEL = (
    "pytest_hotplug/__init__.py",
    "pytest_hotplug/py.typed",
    "pytest_hotplug/testing/pytest_plugin.py",
    "pytest_hotplug/cli/_examples/hot_reload_demo/plugin.json",
    "pytest_hotplug/cli/_examples/hot_reload_demo/main.py",
)
FIRST_STEPS = (["hotplug", "--version"], ["hotplug", "--help"], ["hotplug", "demo"])


def main(scratch: Path) -> None:
    """Run all steps in `scratch`; raise on the first that fails."""
    shutil.rmtree(scratch, ignore_errors=True)
    empty = scratch / "empty"
    empty.mkdir(parents=True)
    sdist, wheel = build(scratch / "dist")
    require(IN_SDIST, names_in_sdist(sdist), sdist)
    require(IN_WHEEL, names_in_wheel(wheel), wheel)
    programs = install_alone(wheel, scratch / "bare")
    for step in FIRST_STEPS:
        run([str(programs / step[0]), *step[1:]], cwd=empty)


def build(target: Path) -> tuple[Path, Path]:
    """Return the paths of the sdist and of the wheel that was built from it."""
    run([sys.executable, "-m", "build", "--outdir", str(target), str(PROJECT)], cwd=PROJECT)
    (sdist,) = target.glob("*.tar.gz")
    (wheel,) = target.glob("*.whl")
    return sdist, wheel


def names_in_sdist(sdist: Path) -> set[str]:
    with tarfile.open(sdist) as archive:
        return {name.partition("/")[2] for name in archive.getnames()}


def names_in_wheel(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    strangers = {top for name in names if not (top := name.partition("/")[0]).startswith("pytest_hotplug")}
    junk = {name for name in names if "__pycache__" in name or name.endswith(".pyc")}
    if strangers or junk:
        raise SystemExit(f"{wheel.name} holds what it must not: {sorted(strangers | junk)}")
    return names


def require(wanted: tuple[str, ...], found: set[str], archive: Path) -> None:
    missing = sorted(set(wanted) - found)
    if missing:
        raise SystemExit(f"{archive.name} lacks {missing}")


def install_alone(wheel: Path, directory: Path) -> Path:
    """Return the directory of the programs in a new environment that holds only `wheel` and its needs."""
    venv.create(directory, with_pip=True)
    programs = directory / ("Scripts" if os.name == "nt" else "bin")
    run([str(programs / "python"), "-m", "pip", "install", "-q", str(wheel)], cwd=directory)
    return programs


def run(command: list[str], cwd: Path) -> None:
    """Run `command` in `cwd` without the checkout on the path, at most 10 minutes."""
    print("+", *command, flush=True)
    environment = {k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    subprocess.run(command, cwd=cwd, env={**environment, "NO_COLOR": "1"}, check=True, timeout=600)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
