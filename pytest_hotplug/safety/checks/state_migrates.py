"""What one version saves the other can take up, in both directions."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_hotplug.reloader.generation import Hooks
from pytest_hotplug.safety.check import Check, Finding
from pytest_hotplug.safety.findings import attempted
from pytest_hotplug.safety.stage import NotTried, Stage
from pytest_hotplug.safety.upgrade import Upgrade, upgrade_on

__all__ = ["CHECK"]

_REFUSED = "state-refused"


def _attempt(stage: Stage) -> Iterator[Finding | None]:
    upgrade = upgrade_on(stage)
    upgrade.begin()
    before = stage.serving.hooks
    refusal = upgrade.switch("tree")
    if refusal is not None:
        if refusal.slug != _REFUSED:
            raise NotTried(f"the new version is refused before it is asked to: {refusal.reason}")
        message = f"the state of the version at {upgrade.ref} can't be handed over to the new one: {refusal.reason}"
        yield upgrade.finding(message, refusal.fault)
        return
    after = stage.serving.hooks
    if not _has_any(before) and not _has_any(after):
        raise NotTried("neither version has save_state or load_state")
    yield _taken_up(upgrade, before, after)
    yield _and_back(upgrade)


def _has_any(hooks: Hooks) -> bool:
    return hooks.save_state is not None or hooks.load_state is not None


def _taken_up(upgrade: Upgrade, before: Hooks, after: Hooks) -> Finding | None:
    if before.save_state is not None and after.load_state is None:
        return upgrade.finding(f"the version at {upgrade.ref} saves its state, and the new one has no load_state")
    if (wrong := upgrade.use()) is not None:
        message = f"its probe fails once it has taken up the state of the version at {upgrade.ref}: {wrong.message}"
        return upgrade.finding(message, wrong)
    return None


def _and_back(upgrade: Upgrade) -> Finding | None:
    refusal = upgrade.switch("deployed")
    if refusal is not None and refusal.slug == _REFUSED:
        message = f"the new version's state can't be handed back to the one at {upgrade.ref}: {refusal.reason}"
        return upgrade.finding(message, refusal.fault)
    wrong = upgrade.use() if refusal is None else None
    if wrong is not None:
        message = (
            f"the version at {upgrade.ref} fails its probe once it has taken up the new one's state: {wrong.message}"
        )
        return upgrade.finding(message, wrong)
    return None


CHECK = Check(
    id="state_migrates",
    title="What one version saves the other can take up, in both directions",
    how=(
        "What `save_state` of the deployed version returns is given to `load_state` of the new one, and the "
        "other way round, in a switch each; the probe passes after both. Skipped where neither version has "
        "state."
    ),
    remedy="Let load_state accept what the deployed version saves, and save what its load_state accepts.",
    scenario="upgrade",
    attempt=_attempt,
    judge=attempted,
)
