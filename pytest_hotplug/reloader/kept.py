"""What is kept of a plugin's past: good versions, what served last, a rollback's pin, a pause.

Facts and what follows from them; where they lie is for `store` to know.
"""

from __future__ import annotations

import time
from typing import Literal, Protocol

import msgspec

from pytest_hotplug.reloader.errors import UsageError
from pytest_hotplug.reloader.fingerprint import Snapshot

__all__ = ["SHORTEST_PREFIX", "Kept", "KeptOut", "Notes", "Pin", "Record", "Store", "Switch", "What", "is_over"]

What = Literal["loaded", "rolled-back", "refused", "unloaded"]
SHORTEST_PREFIX = 7  # digits of a digest that name a version


class Kept(msgspec.Struct, frozen=True):
    """One good version of which a copy is kept.

    `kept_at` is when it was last loaded from disk (`time.time()`), `files` the MD5 of every file by
    relative name, `counted` those that decide the digest, `directory` the copy's name in the store.
    `withdrawn`: it was rolled back from, and nobody goes back to it without naming it.
    """

    digest: str
    version: str
    kept_at: float
    files: dict[str, str] = {}
    counted: list[str] = []
    directory: str = ""
    withdrawn: bool = False


class Pin(msgspec.Struct, frozen=True):
    """A rollback: `digest` serves for as long as the plugin's own files stay at `disk` ("": unreadable)."""

    digest: str
    disk: str


class KeptOut(msgspec.Struct, frozen=True):
    """A version, by its digest, that was refused because a plugin that used what served could not use it.

    `user_disk` and `user_served` are that user's digests at the time, the rest is the fault's.
    """

    digest: str
    user: str
    user_disk: str
    user_served: str
    slug: str
    message: str
    path: str | None = None
    line: int | None = None


class Notes(msgspec.Struct, frozen=True):
    """What is known of one plugin from before: the newest good version first."""

    served: str = ""  # the digest that served last
    pin: Pin | None = None
    paused: str | None = None  # the reason
    paused_until: float | None = None  # `time.time()`; None: until it is said otherwise
    versions: list[Kept] = []
    kept_out: KeptOut | None = None

    def by_now(self) -> Notes:
        """Return the notes without a pause that is over."""
        over = is_over(self.paused_until)
        return msgspec.structs.replace(self, paused=None, paused_until=None) if over else self

    def loaded(self, version: Kept, limit: int) -> Notes:
        """Return the notes once a version from disk serves; of the good versions the newest `limit` stay."""
        others = [v for v in self.versions if v.digest != version.digest]
        out = self.kept_out if self.kept_out is not None and self.kept_out.digest != version.digest else None
        versions = [version, *others][:limit]
        return msgspec.structs.replace(self, served=version.digest, pin=None, versions=versions, kept_out=out)

    def copied(self, digest: str, pin: Pin | None) -> Notes:
        """Return the notes once a kept copy serves; it keeps its place.

        By a rollback (`pin`) everything newer is withdrawn: going back once more goes further back,
        and going back from a later version does not come to what was rolled back from.
        """
        place = next((i for i, v in enumerate(self.versions) if v.digest == digest), 0) if pin is not None else 0
        versions = [msgspec.structs.replace(v, withdrawn=v.withdrawn or i < place) for i, v in enumerate(self.versions)]
        return msgspec.structs.replace(self, served=digest, pin=pin, versions=versions)

    def find(self, prefix: str) -> Kept:
        """Return the version whose digest begins so; raises UsageError `[unknown-version]`."""
        found = [v for v in self.versions if v.digest.startswith(prefix)] if len(prefix) >= SHORTEST_PREFIX else []
        if len(found) == 1:
            return found[0]
        listed = ", ".join(f"{v.digest[:12]} ({v.version})" for v in self.versions) or "none"
        why = "is no digest (at least 7 digits)" if len(prefix) < SHORTEST_PREFIX else "names no single kept version"
        raise UsageError(f"{prefix!r} {why}; kept: {listed}", "unknown-version")

    def before(self, digest: str | None) -> Kept | None:
        """Return the newest version older than the one with this digest; the newest of all for an unknown one.

        Versions that were withdrawn are passed over.
        """
        digests = [v.digest for v in self.versions]
        start = digests.index(digest) + 1 if digest in digests else 0
        return next((v for v in self.versions[start:] if not v.withdrawn), None)

    def last_good(self) -> Kept | None:
        """Return the version that served last, else the newest."""
        return next((v for v in self.versions if v.digest == self.served), None) or self.before(None)


class Switch(msgspec.Struct, frozen=True):
    """Whether plugins are checked at all, for all of them together; `until` ends their not being checked."""

    enabled: bool = True
    until: float | None = None  # `time.time()`; None: until it is said otherwise

    def by_now(self) -> Switch:
        """Return the switch as it stands now."""
        return Switch() if is_over(self.until) else self


def is_over(until: float | None) -> bool:
    """Tell whether a pause with this end (`time.time()`; None: without one) is over."""
    return until is not None and time.time() >= until


class Record(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of a plugin's history; `at` is `time.time()`, `asked_by` who asked for it, `worker` who did it."""

    kind: What
    at: float = msgspec.field(default_factory=time.time)
    version: str = ""
    digest: str = ""
    generation: int | None = None
    slug: str = ""
    message: str = ""
    asked_by: str = ""
    worker: str = ""


class Store(Protocol):
    """Where notes, copies and history of one manager's plugins are kept.

    Every method may raise OSError (TimeoutError when another process holds the store).
    """

    limit: int  # versions of each plugin that are kept

    def known(self) -> set[str]:
        """Return the plugins of which anything is kept."""
        ...

    def notes(self, plugin: str) -> Notes:
        """Return what is known of a plugin."""
        ...

    def serves(self, plugin: str, snapshot: Snapshot, version: str, pin: Pin | None) -> None:
        """Keep a version that serves now."""
        ...

    def forget_pin(self, plugin: str) -> None:
        """Remember that a rollback is over."""
        ...

    def set_paused(self, plugin: str, reason: str | None, until: float | None = None) -> None:
        """Remember that a plugin is paused, and until when (`time.time()`; None: without an end), or no more."""
        ...

    def set_kept_out(self, plugin: str, kept_out: KeptOut) -> None:
        """Remember a version that must not serve without the plugin that could not use it."""
        ...

    def read(self, plugin: str, kept: Kept) -> Snapshot:
        """Return a kept version's files; raises PluginFault when the copy is gone or damaged."""
        ...

    def record(self, plugin: str, record: Record) -> None:
        """Add a line to a plugin's history."""
        ...

    def history(self, plugin: str) -> list[Record]:
        """Return a plugin's history, oldest first."""
        ...

    @property
    def switch(self) -> Switch:
        """Return whether hot reload is enabled, as it was last said."""
        ...

    def set_enabled(self, enabled: bool, until: float | None = None) -> None:
        """Remember whether hot reload is enabled, and until when it isn't (`time.time()`; None: without an end)."""
        ...

    def close(self) -> None:
        """Remove what must not outlive the process."""
        ...
