"""The command line of a watch, as its runs get it: without the events, and with the watcher's rootdir."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from pytest_hotplug.testing.arguments import join_values

__all__ = ["arguments_of_runs", "environment_of_runs"]

_EVENTS = "--hotplug-events"


def arguments_of_runs(arguments: Sequence[str], root: Path, xdist: bool) -> list[str]:
    """Return the arguments of each run; `xdist` tells whether that plugin is there."""
    own = [f"--rootdir={root}", "--continue-on-collection-errors"]  # one broken file must not hide the others
    if xdist:
        own.append("-n0")  # what a test uses can only be seen in the process that runs it
    kept = _without_events(arguments)
    options = kept.index("--") if "--" in kept else len(kept)
    return [*kept[:options], *own, *kept[options:]]


def environment_of_runs(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of each run, its arguments treated in the same way."""
    more = environment.get("PYTEST_ADDOPTS")
    if not more:
        return dict(environment)
    return {**environment, "PYTEST_ADDOPTS": shlex.join(_without_events(shlex.split(more)))}


def _without_events(arguments: Sequence[str]) -> list[str]:
    """Drop the events' file: once it exists, pytest would take it for a path of tests."""
    return [text for text in join_values(map(os.fspath, arguments)) if not text.startswith(f"{_EVENTS}=")]
