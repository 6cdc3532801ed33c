"""Put promises to the test one after the other, each from the plugin as it lies in its directory."""

from __future__ import annotations

import msgspec

from pytest_hotplug.safety.check import Check
from pytest_hotplug.safety.checks import asked
from pytest_hotplug.safety.errors import fault_of
from pytest_hotplug.safety.evidence import Attempts
from pytest_hotplug.safety.stage import CannotPlay, NoTool, NotTried, Stage
from pytest_hotplug.safety.versions import mark

__all__ = ["play", "try_out"]


def play(stage: Stage) -> Attempts:
    """Play every check that is asked and return what came of it."""
    attempts = Attempts()
    try:
        stage.listen()
        if stage.order.scenario == "calls":
            mark(stage)
        stage.load()
    except CannotPlay as error:
        attempts.failed = stage.by_name(str(error))
        return attempts
    checks = asked(stage.order.checks)
    for number, check in enumerate(checks):
        try_out(check, stage, attempts)
        try:
            stage.restore()
        except CannotPlay as error:
            attempts.broken |= {later.id: stage.by_name(f"after {check.id}: {error}") for later in checks[number + 1 :]}
            break
    attempts.timeline = stage.timeline
    return attempts


def try_out(check: Check, stage: Stage, attempts: Attempts) -> None:
    """Put one promise to the test, and note what came of it."""
    assert check.attempt is not None, "a check of such a scenario is tried"
    attempts.counts[check.id] = 0
    found = attempts.found[check.id] = []
    try:
        for finding in check.attempt(stage):
            attempts.counts[check.id] += 1
            stage.tell(f"{check.id}, attempt {attempts.counts[check.id]}")
            if finding is not None:
                found.append(msgspec.structs.replace(finding, message=stage.by_name(finding.message)))
    except NotTried as reason:
        attempts.skipped[check.id] = str(reason)
        attempts.without_tool += [check.id] * isinstance(reason, NoTool)
    except CannotPlay as error:
        attempts.broken[check.id] = stage.by_name(str(error))
    except Exception as error:  # noqa: BLE001 - a check of the project's own may fail, and then proves nothing
        attempts.broken[check.id] = fault_of(error)
