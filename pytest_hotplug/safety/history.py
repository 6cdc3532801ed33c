"""What calls may answer while versions are published one after the other: linearizability, with bisects.

Publications are serial, so their times decide. A call that began at `s` and ended at `e` may have been
served by the newest publication that was done before `s`, by any that began before `e`, and by
nothing else. Knows times and tokens, and nothing of plugins.
"""

from __future__ import annotations

import time
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

__all__ = ["History", "Odd", "Witness"]

MOST_ODD = 20  # that one witness keeps; the first tell enough


@dataclass(frozen=True, slots=True)
class Odd:
    """A call that no legal run could have answered so."""

    kind: str  # torn, stale, "from the future", "never published", or the name of an exception
    call: tuple[float, float]
    answer: object
    legal: tuple[int, ...] = ()


@dataclass(slots=True)
class History:
    """Publications in order. `begun` may be one longer than `done`: that one is under way."""

    begun: list[float] = field(default_factory=list)
    done: list[float] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)  # what each serves; a rollback serves an older one again

    @contextmanager
    def publishing(self, token: int) -> Iterator[None]:
        """Take the times of one publication."""
        self.tokens.append(token)  # first: whoever sees that it began must find what it serves
        self.begun.append(time.perf_counter())
        yield
        self.done.append(time.perf_counter())

    def judge(self, start: float, end: float, answer: Sequence[int]) -> Odd | None:
        """Return what is wrong with a call that answered these tokens, one for each place it looked at."""
        oldest = max(bisect_left(self.done, start) - 1, 0)
        legal = self.tokens[oldest : bisect_right(self.begun, end)]
        if len(set(answer)) != 1:
            return Odd("torn", (start, end), answer, tuple(legal))
        if (token := answer[0]) in legal:
            return None
        if token not in self.tokens:
            kind = "never published"
        elif token in self.tokens[:oldest]:
            kind = "stale"
        else:
            kind = "from the future"
        return Odd(kind, (start, end), answer, tuple(legal))


class Witness:
    """The calls of one thread, judged in batches so that a long run needs no more memory than a short one."""

    BATCH = 250

    def __init__(self, history: History) -> None:
        self._history = history
        self._calls: list[tuple[float, float, Sequence[int]]] = []
        self.odd: list[Odd] = []
        self.calls = 0
        self.seen: set[int] = set()

    def saw(self, start: float, end: float, answer: Sequence[int]) -> None:
        self._calls.append((start, end, answer))
        if len(self._calls) >= self.BATCH:
            self.judge()

    def failed(self, start: float, end: float, error: BaseException) -> None:
        """Record a call that raised, which no call may."""
        self.calls += 1
        self._add(Odd(type(error).__name__, (start, end), repr(error)))

    def judge(self) -> None:
        """Judge what was recorded since the last time, and forget it."""
        calls, self._calls = self._calls, []
        self.calls += len(calls)
        for start, end, answer in calls:
            self.seen.update(answer)
            if (finding := self._history.judge(start, end, answer)) is not None:
                self._add(finding)

    def _add(self, finding: Odd) -> None:
        if len(self.odd) < MOST_ODD:
            self.odd.append(finding)
