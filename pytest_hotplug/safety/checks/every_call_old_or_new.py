"""Calls that go on while versions change are answered by one version each, and by none that is over."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Self

from pytest_hotplug.safety.check import Check
from pytest_hotplug.safety.evidence import Span
from pytest_hotplug.safety.finding import Finding
from pytest_hotplug.safety.findings import attempted
from pytest_hotplug.safety.history import History, Odd, Witness
from pytest_hotplug.safety.stage import NotTried, Stage
from pytest_hotplug.safety.versions import Versions

__all__ = ["CHECK"]

_THREADS = 3
_VERSIONS = 20
_PAUSE = 0.01  # seconds between versions, in which calls are made
_SWITCH = 0.00005  # seconds after which Python lets another thread go on: 100 times sooner than it does
_PATIENCE = 10.0  # seconds within which the last calls must come to their end
_KINDS = ("an even version", "an odd version")
_TOLD = 3  # calls of each kind that are told


def _attempt(stage: Stage) -> Iterator[Finding | None]:
    versions = Versions(stage)
    with _Callers(versions) as alone:
        alone.wait(_PAUSE * _VERSIONS)
    if failed := [odd for odd in alone.odd() if not odd.legal]:  # it raised
        raise NotTried(f"its calls fail beside each other, also while no version changes: {failed[0].answer}")
    with _Callers(versions) as callers:
        for _ in range(_VERSIONS):
            callers.wait(_PAUSE)
            versions.publish()
            yield None
        callers.wait(_PAUSE)
    if callers.hang:
        yield Finding(message="a call does not come back while versions change")
    stage.tell(f"{callers.calls} calls while {_VERSIONS} versions came")
    stage.timeline += [*_publications(versions.history), *callers.spans()]
    yield from _told(callers.odd())


class _Callers:
    """Threads that use the plugin over and over, for as long as the block lasts."""

    def __init__(self, versions: Versions) -> None:
        self._over = threading.Event()
        self._witnesses = [Witness(versions.history) for _ in range(_THREADS)]
        self._served = [_Served() for _ in self._witnesses]
        self._threads = [
            threading.Thread(target=_call, args=(versions, *of, self._over), name="hotplug-verify-call", daemon=True)
            for of in zip(self._witnesses, self._served, strict=True)
        ]
        self.hang = False

    def wait(self, seconds: float) -> None:
        """Let them call for a while."""
        self._over.wait(seconds)

    @property
    def calls(self) -> int:
        """How many calls were made."""
        return sum(witness.calls for witness in self._witnesses)

    def odd(self) -> list[Odd]:
        """Return the calls that no legal run could have answered so."""
        return [odd for witness in self._witnesses for odd in witness.odd]

    def spans(self) -> Iterator[Span]:
        """Yield when each of them was served by which version, and the calls that were answered wrongly."""
        for number, (witness, served) in enumerate(zip(self._witnesses, self._served, strict=True), 1):
            lane = f"caller {number}"
            for token, start, end in served.by:
                yield Span(lane=lane, start=start, end=end, kind=_KINDS[token % 2], text=f"version {token}")
            for odd in witness.odd:
                yield Span(lane=lane, start=odd.call[0], end=odd.call[1], kind=odd.kind, text=str(odd.answer))

    def __enter__(self) -> Self:
        self._interval = sys.getswitchinterval()
        sys.setswitchinterval(_SWITCH)
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        sys.setswitchinterval(self._interval)
        for thread in self._threads:
            thread.join(_PATIENCE)
            self.hang = self.hang or thread.is_alive()


@dataclass(slots=True)
class _Served:
    """By which version calls were answered, from the first call to the last: (token, start, end)."""

    by: list[tuple[int, float, float]] = field(default_factory=list)

    def saw(self, start: float, end: float, token: int) -> None:
        if self.by and self.by[-1][0] == token:
            start = self.by.pop()[1]
        self.by.append((token, start, end))


def _publications(history: History) -> Iterator[Span]:
    for token, start, end in zip(
        history.tokens, history.begun, history.done, strict=False
    ):  # the last may be under way
        yield Span(lane="versions", start=start, end=end, kind="a deployment", text=f"version {token}")


def _call(versions: Versions, witness: Witness, served: _Served, over: threading.Event) -> None:
    while not over.is_set():
        start = time.perf_counter()
        try:
            tokens = versions.call()
        except Exception as error:  # noqa: BLE001 - whatever it is: alone, this call does not fail
            witness.failed(start, time.perf_counter(), error)
        else:
            if not tokens:  # answered without any function, from a cache say: of whichever version, nobody can tell
                continue
            end = time.perf_counter()
            witness.saw(start, end, tokens)
            served.saw(start, end, tokens[0])
    witness.judge()


def _told(calls: list[Odd]) -> Iterator[Finding]:
    kinds: dict[str, list[str]] = {}
    for odd in calls:
        said = f"by version {odd.answer} of {odd.legal}" if odd.legal else str(odd.answer)
        kinds.setdefault(odd.kind, []).append(said)
    for kind, answers in kinds.items():
        yield Finding(message=f"calls were answered {kind} while versions changed: {'; '.join(answers[:_TOLD])}")


CHECK = Check(
    id="every_call_old_or_new",
    title="Every call is answered by one version, the old or the new",
    how=(
        "Three threads use the plugin while twenty versions are deployed, each by an exchange of its "
        "directory; a token in every function tells which version it is of. A call must have gone through one "
        "version alone: the newest that was there before it began, or one that came before it ended. Calls "
        "that fail beside each other without any new version are not tried."
    ),
    remedy="Let calls reach the plugin's own objects only by its own names, not by what another module keeps for it.",
    scenario="calls",
    level="full",
    attempt=_attempt,
    judge=attempted,
)
