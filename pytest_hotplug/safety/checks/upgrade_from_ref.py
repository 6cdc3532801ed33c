"""What is deployed is replaced by the work tree's version while it works, and can come back."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_hotplug.safety.check import Check, Finding
from pytest_hotplug.safety.findings import attempted
from pytest_hotplug.safety.parked import Call, Parked
from pytest_hotplug.safety.stage import Stage
from pytest_hotplug.safety.upgrade import Refusal, Upgrade, upgrade_on

__all__ = ["CHECK"]

_PATIENCE = 10.0  # seconds that the call gets to come to its end, once it may


def _attempt(stage: Stage) -> Iterator[Finding | None]:
    upgrade = upgrade_on(stage)
    upgrade.begin()
    call, again = upgrade.first_call(), upgrade.first_call()
    parked = Parked(stage.manager, stage.name, call) if call is not None else None
    refusal = upgrade.switch("tree")
    if refusal is not None and refusal.slug == "calls-in-flight" and parked is not None:
        parked.let_go(_PATIENCE)  # handover is stop-first: no call of the old version runs while the new one begins
        parked, refusal = None, upgrade.take_up(upgrade.tree)
    if parked is not None and call is not None:
        yield _in_flight(upgrade, parked, call if again is not None and call.is_like(again) else None)
    if refusal is not None:
        yield from _refused(upgrade, refusal)
        return
    if (wrong := upgrade.use()) is not None:
        yield upgrade.finding(f"after the upgrade from {upgrade.ref} its probe fails: {wrong.message}", wrong)
    else:
        yield None
    yield _downgraded(upgrade)


def _in_flight(upgrade: Upgrade, parked: Parked, steady: Call | None) -> Finding | None:
    """Judge the call that ran during the switch; `steady` is what it was answered before, each time."""
    during = f"a call that ran during the upgrade from {upgrade.ref}"
    if not parked.let_go(_PATIENCE):
        return upgrade.finding(f"{during} does not end within {_PATIENCE:g} s")
    if parked.error is not None:
        fault = upgrade.fault_of(parked.error, upgrade.deployed.files or {})
        return upgrade.finding(f"{during} fails: {fault.message}", fault)
    if steady is not None and not steady.is_like(Call(steady.function, steady.args, steady.kwargs, parked.answer)):
        return upgrade.finding(f"{during} answers {parked.answer!r} instead of {steady.answer!r}")
    return None


def _refused(upgrade: Upgrade, refusal: Refusal) -> Iterator[Finding]:
    message = f"the new version is refused, and the one at {upgrade.ref} goes on serving: {refusal.reason}"
    yield upgrade.finding(message, refusal.fault)
    if (wrong := upgrade.use_deployed()) is not None:
        message = f"while the new version is refused the one at {upgrade.ref} fails its probe: {wrong.message}"
        yield upgrade.finding(message, wrong)


def _downgraded(upgrade: Upgrade) -> Finding | None:
    refusal = upgrade.switch("deployed")
    if refusal is not None:
        message = f"there is no way back: the version at {upgrade.ref} is refused after the new one: {refusal.reason}"
        return upgrade.finding(message, refusal.fault)
    if (wrong := upgrade.use()) is not None:
        message = (
            f"there is no way back: the version at {upgrade.ref} fails its probe after the new one: {wrong.message}"
        )
        return upgrade.finding(message, wrong)
    return None


CHECK = Check(
    id="upgrade_from_ref",
    title="The new version takes the deployed one's place while it works, and gives it back",
    how=(
        "The deployed version is loaded and used as its manifest says. The first call of its probe is made once "
        "more, in a thread, and parked before the plugin's first line; the new version's files are laid down and "
        "serve, and only then the call goes on: it must end, and answer as before, where that was the same twice. The "
        "new version must do what its probe says, and so must the deployed one after the way back. Where versions are "
        "handed over stop-first, no call is parked."
    ),
    remedy="Keep what the deployed version, its calls and its state rely on until nothing of it runs any more.",
    scenario="upgrade",
    attempt=_attempt,
    judge=attempted,
)
