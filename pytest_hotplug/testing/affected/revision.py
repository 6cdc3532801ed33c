"""What differs from a git revision. Only asks git, which neither touches the work tree nor its index."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

from pytest_hotplug.reloader.errors import UsageError
from pytest_hotplug.testing.affected.contents import Contents, Dependency
from pytest_hotplug.testing.affected.first_party import FirstParty, directories_above

__all__ = ["ContentsAt", "Revision"]


class Revision:
    """One revision of the repository that a directory lies in; raises UsageError `[unknown-ref]`."""

    def __init__(self, ref: str, directory: Path, first_party: FirstParty) -> None:
        if ref.startswith("-"):
            raise UsageError(f"{ref!r} is an option, no revision", "unknown-ref")
        self._directory = directory
        self._first_party = first_party
        self._top = Path(os.fsdecode(self._git("rev-parse", "--show-toplevel").rstrip(b"\n")))
        self._commit = self._git("rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}").decode().strip()
        self.came_or_went: set[str] = set()
        self.changed = self._changed()

    def _changed(self) -> dict[str, str]:
        """Return the first-party files that differ, by their names in the map, with their paths in the repository."""
        words = self._git("diff", "--name-status", "--no-renames", "-z", self._commit, "--").split(b"\0")
        found = dict(zip(words[1::2], words[0::2], strict=False))
        new = self._git("ls-files", "-z", "--others", "--exclude-standard", "--full-name", ":/").split(b"\0")
        found.update(dict.fromkeys(filter(None, new), b"A"))
        names = {}
        for raw, status in found.items():
            path = os.fsdecode(raw)
            place = str(self._top / path)
            itself = self._first_party.links(place)[:1]  # a link differs by itself, not what it leads to
            for name in filter(None, itself or (self._first_party.name(place),)):
                names[name] = path
                if status in (b"A", b"D"):
                    self.came_or_went.add(name)
        return names

    def read(self, name: str) -> bytes | None:
        """Return a file's bytes at the revision, None when it wasn't there."""
        try:
            return self._git("cat-file", "blob", f"{self._commit}:{self.changed[name]}")
        except UsageError:
            return None

    def _git(self, *words: str) -> bytes:
        environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
        command = ["git", "-C", str(self._directory), "-c", "core.quotePath=false", *words]
        try:
            done = subprocess.run(command, capture_output=True, env=environment, stdin=subprocess.DEVNULL, check=False)
        except OSError as error:
            raise UsageError(f"git can't be run: {error.strerror}", "unknown-ref") from None
        if done.returncode:
            said = os.fsdecode(done.stderr).strip() or f"{words[-1]!r} is no revision of {self._directory}"
            raise UsageError(said, "unknown-ref")
        return done.stdout


class ContentsAt(Contents):
    """What lay on disk at a revision, as far as it differs; everything else is as it is now."""

    def __init__(self, revision: Revision, *args: Any) -> None:
        super().__init__(*args)
        self._revision = revision

    def differs(self, what: Dependency, now: Contents) -> bool:
        """Tell whether something is no longer what it was at the revision."""
        if what.kind == "listing":
            return any(what.path in directories_above(name) for name in self._revision.came_or_went)
        return self.digest(what) != now.digest(what)

    def _link(self, path: str, name: str) -> str:
        """Fingerprint where a link led: git keeps that as its bytes."""
        return self._file(path, name) if path in self._revision.changed else super()._link(path, name)

    def _read(self, path: str) -> bytes | None:
        return self._revision.read(path) if path in self._revision.changed else super()._read(path)
