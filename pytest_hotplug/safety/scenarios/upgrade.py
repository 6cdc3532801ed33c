"""From the version that is deployed to the work tree's, and back, check by check."""

from __future__ import annotations

from pytest_hotplug.safety.checks import asked
from pytest_hotplug.safety.evidence import Attempts
from pytest_hotplug.safety.scenarios.attempts import try_out
from pytest_hotplug.safety.stage import CannotPlay, Stage
from pytest_hotplug.safety.upgrade import Upgrade

__all__ = ["play"]


def play(stage: Stage) -> Attempts:
    """Play every check that is asked and return what came of it; each begins with nothing loaded."""
    attempts = Attempts()
    try:
        stage.upgrade = Upgrade(stage)
        for check in asked(stage.order.checks):
            stage.tell(check.id)
            try_out(check, stage, attempts)
            stage.upgrade.end()
    except CannotPlay as error:
        attempts.failed = stage.by_name(str(error))
    return attempts
