"""A parked process as the watcher sees it: asked for forks, heard when it says something of its own.

Answers are waited for; everything else goes to the watcher's queue.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pytest_hotplug.testing.watch.channel import Channel

__all__ = ["Forked", "Peer"]

PATIENCE = 2.0  # seconds until an answer that doesn't come counts as none: a fork takes 2 ms


@dataclass(frozen=True, slots=True)
class Forked:
    """A process that was forked for us. Its exit code comes when it has ended, None when nobody can tell."""

    process: int
    pidfd: int
    code: queue.SimpleQueue[int | None]


class Peer:
    """One parked process. `facts` is what it said when it was ready, None before."""

    def __init__(self, channel: Channel, inbox: queue.SimpleQueue[tuple[str, Any]]) -> None:
        self.facts: dict[str, Any] | None = None
        self._channel = channel
        self._inbox = inbox
        self._answers: queue.SimpleQueue[tuple[dict[str, Any], list[int]]] = queue.SimpleQueue()
        self._codes: dict[int, queue.SimpleQueue[int | None]] = {}
        self._number = 0
        self._disowned = False
        threading.Thread(target=self._read, name="hotplug-peer", daemon=True).start()

    def fork(self, kind: str, facts: dict[str, Any], descriptors: Sequence[int]) -> Forked | str:
        """Let it fork a process for this work; return that, or why it didn't."""
        self._number += 1
        code = self._codes[self._number] = queue.SimpleQueue()
        try:
            self._channel.send({"kind": kind, "number": self._number, **facts}, descriptors)
            answer, received = self._answers.get(timeout=PATIENCE)
        except OSError:
            return "the warm process is gone"
        except queue.Empty:
            self.close()  # an answer that comes late would be taken for the next one's
            return "the warm process doesn't answer"
        if answer["kind"] == "started":
            return Forked(answer["process"], received[0], code)
        return str(answer["reason"])

    def preload(self, modules: Sequence[str]) -> None:
        """Let it import these modules."""
        self._channel.send({"kind": "preload", "modules": list(modules)})

    def close(self) -> None:
        """Let it leave, once what it has forked has ended."""
        self._channel.finish()

    def disown(self) -> None:
        """Take no exit code for one any more: what ends from now on was ended by us."""
        self._disowned = True

    def _read(self) -> None:
        while (told := self._channel.receive()) is not None:
            for facts, descriptors in told:
                if facts["kind"] in ("started", "refused"):
                    self._answers.put((facts, descriptors))
                elif facts["kind"] == "exited":
                    self._codes.pop(facts["number"]).put(None if self._disowned else facts["code"])
                else:
                    self._inbox.put(("peer", (self, facts)))
        self._answers.put(({"kind": "refused", "reason": "the warm process ended"}, []))
        for code in list(self._codes.values()):
            code.put(None)
        self._channel.leave()
        self._inbox.put(("peer", (self, {"kind": "gone"})))
