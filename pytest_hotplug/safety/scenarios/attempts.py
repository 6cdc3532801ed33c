"""Put promises to the test one after the other, each from the plugin as it lies in its directory."""

from __future__ import annotations

from pytest_hotplug.safety.check import Check
from pytest_hotplug.safety.checks import ALL
from pytest_hotplug.safety.evidence import Attempts
from pytest_hotplug.safety.stage import CannotPlay, NotTried, Stage

__all__ = ["play"]


def play(stage: Stage) -> Attempts:
    """Play every check of the order's scenario and return what came of it."""
    attempts = Attempts()
    try:
        stage.load()
        for check in ALL:
            if check.scenario == stage.order.scenario:
                _try(check, stage, attempts)
                stage.restore()
    except CannotPlay as error:
        attempts.failed = str(error)
    return attempts


def _try(check: Check, stage: Stage, attempts: Attempts) -> None:
    assert check.attempt is not None, "a check of such a scenario is tried"
    attempts.counts[check.id] = 0
    found = attempts.found[check.id] = []
    try:
        for finding in check.attempt(stage):
            attempts.counts[check.id] += 1
            stage.tell(f"{check.id}, attempt {attempts.counts[check.id]}")
            if finding is not None:
                found.append(finding)
    except NotTried as reason:
        attempts.skipped[check.id] = str(reason)
    except CannotPlay as error:
        attempts.broken[check.id] = str(error)
