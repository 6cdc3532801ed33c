"""The warm processes as the watcher keeps them: one that has configured pytest, one that has collected.

Started while nothing runs, thrown away when they hold something old, started again when they end by
themselves. Forks runs when asked, or says why not. Chooses no tests and no level.
"""

from __future__ import annotations

import contextlib
import os
import queue
import select
import signal
import sysconfig
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from pytest_hotplug.testing.watch.channel import Channel
from pytest_hotplug.testing.watch.levels import Holds, why_collection_is_old, why_configuration_is_old
from pytest_hotplug.testing.watch.messages import Order, by_file
from pytest_hotplug.testing.watch.peer import Forked, Peer
from pytest_hotplug.testing.watch.processes import Message, Zygote
from pytest_hotplug.testing.watch.stopping import GRACE
from pytest_hotplug.testing.watch.warm import Part, WarmRun

__all__ = ["Chain", "Place"]

RESTARTS = 5


@dataclass(frozen=True, slots=True)
class Place:
    """Where a chain is started, and what it asks about files."""

    arguments: Sequence[str]
    directory: Path
    root: Path
    out: IO[Any]
    debugger: bool  # whether there is a terminal for one
    is_test_file: Callable[[Path], bool]
    existing: Callable[[], frozenset[Path]]


class Chain:
    """At most two parked processes; only the thread of the watch loop touches it."""

    def __init__(self, place: Place, inbox: queue.SimpleQueue[Message], tell: Callable[[str], None]) -> None:
        self._place = place
        self._inbox = inbox
        self._tell = tell  # told why something is slower than it could be
        self._zygote: Zygote | None = None
        self._configured: Peer | None = None
        self._collected: Peer | None = None
        self._collecting: Forked | None = None  # the process behind _collected
        self._configuration = self._collection = Holds(frozenset())
        self._existed: frozenset[Path] = frozenset()
        self._changed: set[Path] = set()  # since the collection began
        self._ends = 0
        self._tests: dict[str, list[str]] = {}  # what is collected, by test file
        self._preloaded = False
        self._failed = ""  # why collecting didn't come to its end; until something changes
        self._old = ""  # why there is no collection
        self._environment = _environment()

    # -- what is there --------------------------------------------------------------------------

    @property
    def facts(self) -> dict[str, Any] | None:
        """What the process that has collected said, None while there is none."""
        return self._collected.facts if self._collected is not None else None

    def why_not_configured(self) -> str:
        """Return why no run can begin before the collection."""
        if self._ends > RESTARTS:
            return f"the warm process ended {self._ends} times; it is not started again"
        if self._configured is None or self._configured.facts is None:
            return "the warm processes are being started"
        return ""

    def why_not_collected(self, files: frozenset[str] | None) -> str:
        """Return why no run of these test files (None: all) can begin after the collection."""
        facts = self.facts
        if facts is None:
            return self._failed or self._old or "the tests are being collected"
        if facts["unfit"]:
            return str(facts["unfit"])
        unknown = next((file for file in files or () if file not in self._tests and not file.endswith(".py")), None)
        if unknown is not None:
            return f"{unknown} is collected anew"
        broken = {nodeid.partition("::")[0] for nodeid in facts["broken"]}
        bad = broken if files is None else broken & files
        return f"{sorted(bad)[0]} could not be collected" if bad else ""

    def collected_in(self, files: frozenset[str] | None) -> list[str]:
        """Return the collected tests of these test files; None: of all."""
        return [nodeid for file in (self._tests if files is None else files) for nodeid in self._tests.get(file, ())]

    # -- changes --------------------------------------------------------------------------------

    def saved(self, paths: Iterable[Path]) -> None:
        """Note what may have been read with another content while tests are being collected."""
        if self._collected is not None and self._collected.facts is None:
            self._changed.update(paths)

    def changed(self, paths: Iterable[Path]) -> None:
        """Throw away what these files, of new content, make old."""
        paths = list(paths)
        self._changed.update(paths)
        self._failed = ""
        if self._configured is not None and self._configured.facts is not None:
            why = why_configuration_is_old(paths, self._place.root, self._configuration)
            if why:
                self._discard(why)
                return
        self._drop_old_collection(paths)

    def look_at_environment(self) -> None:
        """Throw everything away when packages were installed or removed."""
        before, self._environment = self._environment, _environment()
        if before != self._environment and self._zygote is not None:
            self._discard("installed packages changed")

    def _drop_old_collection(self, paths: Iterable[Path]) -> None:
        if self.facts is None:
            return
        why = why_collection_is_old(paths, self._collection, self._place.is_test_file)
        if why:
            self._drop_collection(why)

    def _drop_collection(self, why: str) -> None:
        peer, process = self._collected, self._collecting
        self._collected = self._collecting = None
        self._old = why
        if peer is not None:
            peer.close()
        if process is not None:
            threading.Thread(target=_see_off, args=(process, peer is None or peer.facts is None), daemon=True).start()

    # -- getting ready --------------------------------------------------------------------------

    def arm(self) -> None:
        """Start what is missing, as far as it can be started now."""
        if self._ends > RESTARTS:
            return
        if self._zygote is None:
            self._zygote = Zygote(self._place.arguments, self._place.directory, self._place.out, self._place.debugger)
            self._configured = Peer(self._zygote.channel, self._inbox)
            self._preloaded = False
        elif self._configured is not None and self._configured.facts and self._collected is None and not self._failed:
            self._collect(self._configured)

    def disarm(self) -> None:
        """Stop collecting if it isn't done: a run comes first."""
        if self._collected is not None and self._collected.facts is None:
            self._drop_collection("the tests are being collected")

    def _collect(self, configured: Peer) -> None:
        self._existed = self._place.existing()
        self._changed.clear()
        channel, theirs = Channel.pair()
        forked = configured.fork("collect", {}, [theirs.fileno()])
        theirs.close()
        if isinstance(forked, str):
            channel.leave()
            self._failed = forked
            self._tell(forked)
            return
        self._collecting = forked
        self._collected = Peer(channel, self._inbox)

    def hear(self, peer: Peer, facts: dict[str, Any]) -> bool:
        """Take in what a parked process says; return whether everything has been collected now."""
        if facts["kind"] == "preloaded":
            for reason in facts["failed"]:
                self._tell(f"a module can't be imported ahead: {reason}")
        elif facts["kind"] == "gone":
            self._lose(peer)
        elif peer in (self._configured, self._collected):
            peer.facts = facts
            if peer is self._collected:
                return self._is_armed(facts)
            self._configuration = _holds(facts)
        return False

    def _is_armed(self, facts: dict[str, Any]) -> bool:
        self._old = ""
        self._tests = by_file(facts["tests"])
        self._collection = _holds(facts, self._existed)
        self._drop_old_collection(self._changed)
        if self.facts is None:
            return False
        if not self._preloaded and self._configured is not None:
            self._preloaded = True
            self._configured.preload(facts["modules"])
        if facts["unfit"]:
            self._tell(f"{facts['unfit']}: each run collects for itself")
        return True

    def _lose(self, peer: Peer) -> None:
        if peer is self._collected:
            self._lose_collection(peer)
        elif peer is self._configured:
            self._ends += 1
            self._tell(f"the warm process ended ({_ending(self.stop())}); it is started again")

    def _lose_collection(self, peer: Peer) -> None:
        process, facts = self._collecting, peer.facts
        self._collected = self._collecting = None
        code = process.code.get() if process is not None else None
        if process is not None:
            os.close(process.pidfd)
        if facts is None:
            self._failed = f"collecting all tests failed ({_ending(code)})"
            self._tell(f"{self._failed}: each run collects for itself")
            return
        self._old = "the process that had collected the tests ended"
        self._tell(f"{self._old} ({_ending(code)}); it is started again")
        if facts["basetemp"]:
            Path(facts["basetemp"], ".lock").unlink(missing_ok=True)  # what it would have done itself

    # -- runs -----------------------------------------------------------------------------------

    def run_configured(self, order: Order) -> WarmRun | str:
        """Begin a run that collects what it needs, or return why not."""
        assert self._configured is not None, "asked for after why_not_configured"
        return self._run(self._configured, [order])

    def run_collected(self, orders: Sequence[Order]) -> WarmRun | str:
        """Begin a run of what is collected, in a process for each order, or return why not."""
        assert self._collected is not None, "asked for after why_not_collected"
        facts = self._collected.facts or {}
        run = self._run(self._collected, orders)
        if facts.get("once") and not isinstance(run, str):
            self._tell(f"{facts['once']}: the tests are collected again after each run")
            self._drop_collection("the last run has used up what was collected")
        return run

    def _run(self, peer: Peer, orders: Sequence[Order]) -> WarmRun | str:
        parts: list[Part] = []
        for order in orders:
            part = _begin_part(peer, order)
            if isinstance(part, str):
                WarmRun(parts, queue.SimpleQueue(), self._place.out).cancel()
                return part
            parts.append(part)
        return WarmRun(parts, self._inbox, self._place.out)

    # -- the end --------------------------------------------------------------------------------

    def renew(self) -> None:
        """End all of it; `arm` starts anew, also what ended too often before."""
        self._ends = 0
        self._failed = ""
        self._end()

    def stop(self) -> int | None:
        """End all of it; return the exit code of the first process."""
        zygote = self._let_go()
        return zygote.stop() if zygote is not None else None

    def _discard(self, why: str) -> None:
        """End all of it while the watch goes on; `arm` starts anew."""
        self._tell(f"{why}: the warm processes are started again")
        self._end()

    def _end(self) -> None:
        zygote = self._let_go()
        if zygote is not None:
            threading.Thread(target=zygote.stop, name="hotplug-ending", daemon=True).start()

    def _let_go(self) -> Zygote | None:
        zygote, self._zygote = self._zygote, None
        peers = [peer for peer in (self._collected, self._configured) if peer is not None]
        if self._collecting is not None:
            os.close(self._collecting.pidfd)
        self._collected = self._configured = self._collecting = None
        self._old = "the warm processes are being started"
        for peer in peers:
            peer.disown()
            peer.close()
        return zygote


def _begin_part(peer: Peer, order: Order) -> Part | str:
    (read, write), (asks, answers) = os.pipe(), os.pipe()
    shown = -1 if order.leads else os.memfd_create("hotplug-part")
    descriptors = [write, asks] if order.leads else [write, asks, shown, shown]
    forked = peer.fork("run", {"order": order.facts()}, descriptors)
    for fd in (write, asks):
        os.close(fd)
    if isinstance(forked, str):
        for fd in (read, answers, shown):
            if fd >= 0:
                os.close(fd)
        return forked
    return Part(forked, read, answers, shown)


def _see_off(process: Forked, busy: bool) -> None:
    """Wait for a process that was told to leave; interrupt one that is still collecting, then kill it."""
    if busy:
        _signal(process, signal.SIGINT)
    if not select.select([process.pidfd], [], [], GRACE if busy else None)[0]:
        _signal(process, signal.SIGKILL)
    os.close(process.pidfd)


def _signal(process: Forked, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(process.pidfd, number)


def _holds(facts: dict[str, Any], existed: frozenset[Path] = frozenset()) -> Holds:
    listed = frozenset(map(Path, facts.get("listed", ())))
    return Holds(frozenset(map(Path, facts["files"])), listed, existed)


def _ending(code: int | None) -> str:
    return "nobody knows how" if code is None else f"signal {-code}" if code < 0 else f"exit code {code}"


def _environment() -> tuple[int, ...]:
    """Return something that differs once a package is installed or removed."""
    places = {sysconfig.get_path(kind) for kind in ("purelib", "platlib")}
    return tuple(os.stat(place).st_mtime_ns for place in sorted(places) if os.path.isdir(place))
