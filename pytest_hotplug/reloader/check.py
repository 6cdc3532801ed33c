"""Does a plugin need loading? What lies on disk against what serves and what was refused.

Cheap when nothing changed: signatures first, bytes only when those differ or are too young. Also
where files are waited for until they rest. Executes nothing and decides nothing about a load.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from pytest_hotplug.reloader import transaction
from pytest_hotplug.reloader.commit import check_committed
from pytest_hotplug.reloader.errors import Fault, PluginFault
from pytest_hotplug.reloader.fingerprint import Snapshot, Unsettled, settle, snapshot
from pytest_hotplug.reloader.git_lock import GitLock
from pytest_hotplug.reloader.leases import Leases
from pytest_hotplug.reloader.loader import manifest_of
from pytest_hotplug.reloader.looking import Look, is_edited, look_at, unchanged
from pytest_hotplug.reloader.refusals import Refusal, Surroundings, refuse
from pytest_hotplug.reloader.registry import Registry, Seen, Slot
from pytest_hotplug.reloader.settings import InUse
from pytest_hotplug.reloader.trust import check_trust

__all__ = ["Checker"]

LOG = logging.getLogger("hotplug")
KeptCopies = Callable[[Slot], "Snapshot | None"]  # the copy of a version; None when it is gone


class Checker:
    """Looks at the plugins of one manager; remembers in their slots what it saw."""

    def __init__(self, in_use: InUse, registry: Registry, leases: Leases, kept: KeptCopies, last: KeptCopies) -> None:
        self._in_use = in_use
        self._registry = registry
        self._leases = leases
        self._kept = kept  # what is pinned
        self._last_good = last
        self._just_read: dict[str, Snapshot] = {}  # by plugin: what `look_again` read and `settled` takes
        self._git: dict[Path, GitLock] = {}  # by plugin dir
        self.tried: dict[str, str] | None = None  # by plugin: the digest that a child imported; None: it need not

    def quiet(self, slot: Slot) -> bool:
        """Tell cheaply whether nothing needs doing: the files are as they were when their bytes were last read.

        Those bytes serve, or were refused and are not due for another try.
        """
        seen = slot.seen
        if seen is None or seen.racy:
            return False
        try:
            return self._same(slot, seen) and self.is_settled_matter(slot, seen.digest)
        except OSError:
            return self._still_refused(slot, "")

    def changed(self, slot: Slot) -> bool:
        """Tell whether a reload has something to do, by content."""
        if self.quiet(slot):
            return False
        seen = self.look_again(slot)
        if seen is None:
            return not (self.is_served(slot, "") or self._still_refused(slot, ""))
        return not self.is_settled_matter(slot, seen.digest)

    def look_again(self, slot: Slot) -> Seen | None:
        """Read the bytes if the signature says so; None when they can't be read or are in motion."""
        self.forget_reading(slot)
        seen = slot.seen
        try:
            if seen is not None and not seen.racy and self._same(slot, seen):
                self.is_served(slot, seen.digest)
                return seen
            found = self._snapshot(slot)
            if self._ignores_otherwise(slot, found):
                found = self._snapshot(slot)
            self._just_read[slot.name] = found
            return self._saw(slot, found)
        except (OSError, PluginFault, Unsettled):
            return None  # a reload will find out the same, and say it

    def forget_reading(self, slot: Slot) -> None:
        """Let `settled` read anew: what an earlier look read is about an earlier moment."""
        self._just_read.pop(slot.name, None)

    def _snapshot(self, slot: Slot) -> Snapshot:
        found = snapshot(
            slot.found.path,
            plugin=slot.name,
            ignore=slot.ignore,
            digest=self._in_use.now.digest,
            known=self._known(slot),
        )
        return self._read(slot, found)

    def _known(self, slot: Slot) -> Snapshot | None:
        """Return what was read before: what nobody touched since need not be read again."""
        serving = self._registry.serving.get(slot.name)
        return None if serving is None else slot.read or serving.snapshot

    def _read(self, slot: Slot, found: Snapshot) -> Snapshot:
        """Keep a reading for the next one; not of a plugin that doesn't serve, whose bytes nobody else holds."""
        slot.read = found if slot.name in self._registry.serving else None
        return found

    def try_again(self, slot: Slot) -> None:
        """Look again, when asked by hand, at what was refused for how its files lie there: executes nothing twice."""
        for name in self._registry.with_dependencies(slot.name):
            own = self._registry.slots.get(name)
            if own is not None and own.refusal is not None:
                own.refusal = own.refusal.due()

    def refused(self, slot: Slot) -> str | None:
        """Return the digest of what lies on disk if just that was refused ("": it can't be read), None otherwise."""
        seen, refusal = self.look_again(slot), slot.refusal
        on_disk = seen.digest if seen is not None else ""
        return on_disk if refusal is not None and refusal.digest == on_disk else None

    def is_settled_matter(self, slot: Slot, digest: str) -> bool:
        """Tell whether bytes of this digest serve, or are refused and not due for another try."""
        return self.is_served(slot, digest) or self._still_refused(slot, digest)

    def is_served(self, slot: Slot, digest: str) -> bool:
        """Tell whether these bytes serve, or are those that were rolled back from; then no refusal lasts."""
        serving = self._registry.serving.get(slot.name)
        if serving is None or (serving.digest != digest and not _pins(slot, digest)):
            return False
        if slot.refusal is not None:
            if slot.refusal.digest == digest and self._registry.stands_in(slot):
                return False  # these bytes were refused for how they lie there
            slot.refusal = None
        return True

    def _still_refused(self, slot: Slot, digest: str) -> bool:
        refusal = slot.refusal
        if refusal is None or refusal.digest != digest:
            return False
        if self._is_kept_out(slot, digest):
            return True
        if not refusal.holds(digest):
            return False
        if not refusal.fault.own_bytes and _touched_since(refusal, slot.seen):
            return False  # a mode or an owner changed, which may be what it complained of
        if not refusal.fault.own_bytes and self.surroundings(name for name, *_ in refusal.among) != refusal.among:
            return False
        if refusal.through_dependency and not self._is_to_blame(refusal.fault.plugin):
            return False
        return self._waits_for_calls(slot, refusal)

    def was_in_vain(self, slot: Slot) -> bool:
        """Tell whether versions from before were tried instead of refused bytes, and nothing of that has changed."""
        refused, tried = slot.in_vain or (None, None)
        if tried is None or refused is not slot.refusal or not tried.holds(tried.digest):
            return False
        same = self.surroundings(name for name, *_ in tried.among) == tried.among
        return same and self._waits_for_calls(slot, tried)

    def _waits_for_calls(self, slot: Slot, refusal: Refusal) -> bool:
        """Tell whether a refusal lasts: one for the sake of calls in flight does until they have ended."""
        if refusal.fault.slug != "calls-in-flight":
            return True
        return any(self._leases.is_running(name) for name in (slot.name, *(name for name, *_ in refusal.among)))

    def surroundings(self, names: Iterable[str]) -> Surroundings:
        """Return what lies on disk, and what serves, of other plugins."""
        return tuple((name, self._on_disk(name), self._served(name)) for name in names)

    def _on_disk(self, name: str) -> str:
        slot = self._registry.slots.get(name)
        seen = self.look_again(slot) if slot is not None else None
        return seen.digest if seen is not None else ""

    def _served(self, name: str) -> str:
        serving = self._registry.serving.get(name)
        return serving.digest if serving is not None else ""

    def _is_to_blame(self, plugin: str) -> bool:
        """Tell whether a plugin that another one needs is still as it was when it was refused."""
        slot = self._registry.slots.get(plugin)
        if slot is None:
            return False
        seen = self.look_again(slot)
        refusal = slot.refusal  # looking again may have cleared it
        return refusal is not None and refusal.digest == (seen.digest if seen is not None else "")

    def _saw(self, slot: Slot, found: Snapshot) -> Seen:
        slot.seen = seen = Seen(found.look, found.digest, found.look.racy)
        self.is_served(slot, found.digest)
        return seen

    @staticmethod
    def _same(slot: Slot, seen: Seen) -> bool:
        """Tell whether the files are as they were seen; raises OSError."""
        if _quick_look(slot, seen.look):
            return True
        if is_edited(seen.look):
            return False
        look = look_at(slot.found.path, slot.ignore)
        same = look.same_as(seen.look)
        if same and look.places:  # only now old enough for the quick look
            slot.seen = replace(seen, look=look)
        return same

    @staticmethod
    def _ignores_otherwise(slot: Slot, found: Snapshot) -> bool:
        """Take over the `watch_ignore` of a snapshot's own manifest; True when it differs from the one in use."""
        try:
            ignore = manifest_of(slot.found, found).ignored
        except PluginFault:
            return False  # the load says what is wrong with it
        before, slot.ignore = slot.ignore, ignore
        return list(before) != ignore

    def read_enabled(self, slot: Slot) -> None:
        """Learn from disk whether a plugin that nobody loaded yet is enabled; a broken one counts as it did."""
        try:
            slot.enabled = manifest_of(slot.found, self._snapshot(slot)).enabled
        except (PluginFault, Unsettled):
            return  # its load will say what is wrong

    def settled(self, slot: Slot, *, anew: bool = False) -> Snapshot:
        """Return a snapshot that stood still for `debounce`; raises PluginFault (remembered) and Unsettled.

        With `anew` every file is read, whatever its times say.
        """
        try:
            found = self._settle(slot, self._in_use.now.debounce, anew)
            if self._ignores_otherwise(slot, found):
                found = self._settle(slot, 0, anew)
        except PluginFault as fault:
            if _pins(slot, "") and (pinned := self._pinned(slot, "")) is not None:
                return pinned
            slot.refusal = refuse(fault.fault, "", None, slot.refusal, executed=False)
            raise
        self._saw(slot, found)
        return self._pinned(slot, found.digest) or self._stand_in(slot, found) or self._admitted(slot, found)

    def _admitted(self, slot: Slot, found: Snapshot) -> Snapshot:
        """Return a settled version if it may run here and is whole; raises PluginFault (remembered)."""
        try:
            slot.trusted = check_trust(slot.found, found, self._in_use.now, slot.trusted)
            if self._in_use.now.commit:
                check_committed(slot.found, found, manifest_of(slot.found, found))
        except PluginFault as fault:
            slot.refusal = refuse(fault.fault, found.digest, found.look, slot.refusal, executed=False)
            raise
        if self.tried is not None and transaction.current() and self.tried.get(slot.name) != found.digest:
            # A load is no time to try it: other loads wait. The next look finds, and tries, it before.
            raise Unsettled(f"{slot.name}: this load needs it, and no child process has tried these bytes yet")
        return found

    def _pinned(self, slot: Slot, disk: str) -> Snapshot | None:
        """Return the version that a rollback pinned, as long as the files are still those it was rolled back from."""
        if slot.pin is None:
            return None
        if slot.pin.disk != disk:
            slot.pin = None
            return None
        serving = self._registry.serving.get(slot.name)
        if serving is not None and serving.digest == slot.pin.digest:
            return serving.snapshot
        return self._kept(slot)

    def _is_kept_out(self, slot: Slot, disk: str) -> bool:
        """Tell whether these bytes were refused before a restart for a user that doesn't serve yet.

        They wait for it: tried without it they would serve, and it could not.
        """
        out = slot.kept_out
        waits = out is not None and out.digest == disk and out.user not in self._registry.serving
        return waits and out is not None and self._on_disk(out.user) == out.user_disk

    def _stand_in(self, slot: Slot, found: Snapshot) -> Snapshot | None:
        """Return what served last where the new bytes are kept out, None where they aren't or nothing is kept."""
        out = slot.kept_out
        if out is None or not self._is_kept_out(slot, found.digest):
            return None
        serving = self._registry.serving.get(slot.name)
        copy = serving.snapshot if serving is not None else self._last_good(slot)
        if copy is None:
            slot.kept_out = None
            return None
        if slot.refusal is None or slot.refusal.digest != found.digest:
            fault = Fault(
                out.user, out.slug, out.message, Path(out.path) if out.path else None, out.line, own_bytes=False
            )
            among = ((out.user, out.user_disk, out.user_served),)
            slot.refusal = refuse(fault, found.digest, found.look, None, among=among)
            text = f"{slot.name}: what lies on disk was refused before the restart, since {out.user} can't use it"
            LOG.warning("hotplug.kept_out", extra={"plugin": slot.name, "text": text})
        return copy

    def _wait_for_git(self, slot: Slot, limit: float) -> bool:
        """Wait while git writes the tree, and tell whether it did; raises Unsettled after `limit` seconds."""
        place = slot.found.layout.beside or slot.found.layout.path
        if place not in self._git:
            self._git[place] = GitLock(place)
        deadline = time.monotonic() + limit
        waited = False
        while self._git[place].is_held():
            slot.held_by_git = waited = True
            if time.monotonic() >= deadline:
                raise Unsettled(f"{slot.name}: git is at work in its tree (index.lock is there)")
            time.sleep(0.01)
        slot.held_by_git = False
        return waited

    def _settle(self, slot: Slot, debounce: float, anew: bool) -> Snapshot:
        limit = self._in_use.now.settle_max
        if self._wait_for_git(slot, limit):
            self.forget_reading(slot)
        first = self._just_read.pop(slot.name, None)
        found = settle(
            slot.found.path,
            plugin=slot.name,
            ignore=slot.ignore,
            debounce=debounce,
            settle_max=limit,
            digest=self._in_use.now.digest,
            first=None if anew else first,  # another thread's look may have read it, and not all of it
            known=None if anew else self._known(slot),
        )
        return self._read(slot, found)


def _quick_look(slot: Slot, look: Look) -> bool:
    """Look at the places of a look again. What that takes is made when wanted: many are never called again."""
    quick = slot.quick
    if quick is None or quick.look is not look:
        try:
            from pytest_hotplug.reloader.quick_look import QuickLook
        except ImportError:  # a Python that was built without ctypes
            return unchanged(look)
        slot.quick = quick = QuickLook(look)
    return quick.unchanged()


def _pins(slot: Slot, disk: str) -> bool:
    return slot.pin is not None and slot.pin.disk == disk


def _touched_since(refusal: Refusal, seen: Seen | None) -> bool:
    return refusal.look is not None and seen is not None and not seen.look.same_as(refusal.look)
