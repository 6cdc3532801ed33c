"""A call that is under way when the next version comes ends in the version in which it began; then that one dies."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from pytest_hotplug.safety.check import Check
from pytest_hotplug.safety.finding import Finding
from pytest_hotplug.safety.findings import attempted
from pytest_hotplug.safety.stage import NotTried, Stage
from pytest_hotplug.safety.tokens import Parking, calling
from pytest_hotplug.safety.versions import Versions

__all__ = ["CHECK"]

_PATIENCE = 10.0  # seconds within which a call that goes on must come to its end


def _attempt(stage: Stage) -> Iterator[Finding | None]:
    if stage.serving.manifest.handover == "stop-first":
        raise NotTried("it is handed over stop-first: no call is under way when the next version begins")
    versions = Versions(stage)
    for number in sorted({1, (versions.functions + 1) // 2, versions.functions}):
        parked = _Parked(stage, number)
        if not parked.waits():
            yield Finding(message=f"a call does not get to its function {number} of {versions.functions}")
            continue
        known = stage.living()
        old = versions.token
        versions.publish()
        wrong = _of_another(versions.call(), versions.token, "a new call while an old one is under way")
        wrong = wrong or parked.ends_in(old)
        if wrong:
            yield Finding(message=f"{wrong} (parked at its function {number} of {versions.functions})")
            continue
        del parked
        yield _living(stage, known)


def _living(stage: Stage, known: frozenset[int]) -> Finding | None:
    """Tell of an old version that lives on after its last call."""
    stage.let_old_versions_end()
    if not stage.living() & known:
        return None
    held = stage.survivors("in flight")
    chain = (*held[0].chain, held[0].held) if held else ("its end, which takes its time",)
    return Finding(message=f"the old version lives on after its last call: {' -> '.join(chain)}", chain=chain)


class _Parked:
    """A call that waits at one of its functions."""

    def __init__(self, stage: Stage, number: int) -> None:
        self._stage = stage
        self._parking = Parking(number)
        self._tokens: list[int] = []
        self._error = ""
        self._thread = threading.Thread(target=self._call, name="hotplug-verify-call", daemon=True)
        self._thread.start()

    def waits(self) -> bool:
        """Wait until it does; False when it came to its end, or hangs, before."""
        return self._parking.reached.wait(_PATIENCE)

    def ends_in(self, token: int) -> str:
        """Let it go on, and say what is wrong with its end."""
        self._parking.go.set()
        self._thread.join(_PATIENCE)
        if self._thread.is_alive():
            return "a call that was under way does not come to its end"
        return self._error or _of_another(self._tokens, token, "a call that was under way")

    def _call(self) -> None:
        try:
            with calling(self._parking) as call:
                self._tokens = call.tokens
                self._stage.probe()
        except Exception as error:  # noqa: BLE001 - whatever it is: alone, this call does not fail
            self._error = f"a call that was under way failed: {type(error).__name__}: {error}"


def _of_another(tokens: list[int], token: int, call: str) -> str:
    others = sorted(set(tokens) - {token})
    return f"{call} went through version {', '.join(map(str, others))} instead of {token} alone" if others else ""


CHECK = Check(
    id="in_flight_completes",
    title="A call that is under way ends in the version in which it began",
    how=(
        "A call is parked at its first, middle and last function while the next version comes: new calls go "
        "through the new one, the parked one ends in its own, imports included, and then that version dies."
    ),
    remedy="Leave to a version what its running calls need: what they share with the next one must serve both.",
    scenario="calls",
    level="full",
    attempt=_attempt,
    judge=attempted,
)
