"""What lies on disk now: the fingerprint of everything that a test can depend on.

One look at one moment: what was read once is not read again; make a new one for the next look. Reads
files, changes nothing.
"""

from __future__ import annotations

import json
import os
import platform
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from pytest_hotplug.reloader.names import is_noise, is_test
from pytest_hotplug.testing.affected.blocks import BODY, WHOLE, Blocks, digest_of, read_blocks
from pytest_hotplug.testing.affected.circumstances import Circumstances
from pytest_hotplug.testing.affected.first_party import FirstParty

__all__ = ["TREE", "UNASKED", "UNKNOWN", "Contents", "Dependency", "bytes_of", "counts_for_processes",
           "digest_of_tree"]  # fmt: skip

UNKNOWN = "?"  # nobody knows which bytes the test saw; equal to nothing
UNASKED = "-"  # nobody can look at it here; equal to anything
_CLOCK_TICK = 20_000_000  # ns by which a file system's clock may lag behind
_FOR_PROCESSES = (".py", ".json", ".toml", ".ini", ".cfg", ".yaml", ".yml")
_OPTIONS = "pytest's options"


class Dependency(NamedTuple):
    """One thing that tests depend on: of which kind, where, which part of it."""

    kind: str  # block, code, file, listing, link, plugin, everything, world, tree
    path: str
    name: str = ""


TREE = Dependency("tree", "")  # which files there were: a test may look for one without a trace


class Contents:
    """One look; `known_blocks` gives the blocks of bytes that were read in earlier runs."""

    def __init__(
        self,
        first_party: FirstParty,
        manifests: Iterable[str] = ("plugin.json",),
        known_blocks: Callable[[str, str], Blocks | None] = lambda path, digest: None,
        circumstances: Circumstances | None = None,
    ) -> None:
        self._first_party = first_party
        self._manifests = tuple(manifests)
        self._known_blocks = known_blocks
        self._circumstances = circumstances or Circumstances()
        self._digests: dict[Dependency, str] = {}
        self._bytes: dict[str, str] = {}
        self._tree_now: frozenset[str] | None = None
        self.blocks_read: dict[str, tuple[str, Blocks]] = {}  # path -> (digest of its bytes, blocks)

    def digest(self, wanted: Dependency) -> str:
        """Return the fingerprint of one thing, "" when it isn't there."""
        known = self._digests.get(wanted)
        if known is None:
            known = self._digests[wanted] = getattr(self, f"_{wanted.kind}")(wanted.path, wanted.name)
        return known

    def block_at(self, path: str, place: str) -> str:
        """Return the name of the block that a code object belongs to; the whole file if nobody knows."""
        if place in (BODY, WHOLE) or place.startswith(("<docstrings>", f"{BODY}@")):
            return BODY if place.startswith(BODY) else place
        return self.blocks(path).at.get(place, WHOLE)

    def blocks(self, path: str) -> Blocks:
        """Return the blocks of a source; one that is gone has none."""
        if path not in self.blocks_read:
            data = self._read(path)
            digest = digest_of(data) if data is not None else ""
            self._bytes[path] = digest
            known = self._known_blocks(path, digest) if data is not None else Blocks({})
            self.blocks_read[path] = (digest, known or read_blocks(data or b""))
        return self.blocks_read[path][1]

    def changed_since(self, path: str, moment: int, *, link: bool = False) -> bool:
        """Tell whether a file, or a link itself, was written after a moment (ns), as far as its times tell."""
        try:
            found = os.stat(self._first_party.path(path), follow_symlinks=not link)
        except OSError:
            return False
        return max(found.st_mtime_ns, found.st_ctime_ns) >= moment - _CLOCK_TICK

    def manifests(self, plugin: str) -> list[str]:
        """Return the names that the manifest of a plugin's directory may have."""
        return [f"{plugin}/{file}" for file in self._manifests]

    def _all_files(self) -> Iterator[str]:
        for directory, inner, names in os.walk(self._first_party.root):
            inner[:] = sorted(name for name in inner if self._first_party.name(os.path.join(directory, name)))
            for name in sorted(names):
                file = self._first_party.name(os.path.join(directory, name))
                if file:
                    yield file

    def tree(self) -> frozenset[str]:
        """Return the names of all first-party files."""
        if self._tree_now is None:
            self._tree_now = frozenset(self._all_files())
        return self._tree_now

    def world(self) -> list[Dependency]:
        """Return what every test depends on beside the tree, whatever it does."""
        names = ["Python", "the installed distributions", _OPTIONS, "the set of environment variables"]
        names += [f"the variable {variable}" for variable in self._circumstances.names()]
        return [Dependency("world", "", name) for name in names]

    # -- one kind each --------------------------------------------------------------------------

    def _block(self, path: str, name: str) -> str:
        return self.blocks(path).digest(name)

    def _code(self, path: str, name: str) -> str:
        return self.blocks(path).digest(WHOLE) if self._file(path, "") else ""

    def _file(self, path: str, name: str) -> str:
        if path not in self._bytes:
            data = self._read(path)
            self._bytes[path] = "" if data is None else digest_of(data)
        return self._bytes[path]

    def _listing(self, path: str, name: str) -> str:
        try:
            names = os.listdir(self._first_party.path(path))
        except OSError:
            return ""
        return digest_of("\n".join(sorted(name for name in names if not is_noise(name))).encode(errors="replace"))

    def _link(self, path: str, name: str) -> str:
        try:
            return digest_of(os.fsencode(os.readlink(self._first_party.path(path))))
        except OSError:
            return ""

    def _plugin(self, path: str, name: str) -> str:
        """Fingerprint what the manager itself uses of a plugin: its manifest, which modules there are, what compiles.

        Of the modules it is the manifest that names one, the entry: no code of a test does.
        """
        place = Path(self._first_party.path(path))
        if not place.is_dir():
            return ""
        manifests = [_manifest_keys(self._read(file)) for file in self.manifests(path)]
        sources = sorted(self._sources_below(place))
        broken = [file for file in sources if self.blocks(file).broken]
        modules = [file for file in sources if not any(map(is_test, file.removeprefix(path).split("/")))]
        return digest_of(json.dumps([manifests, modules, broken], sort_keys=True).encode())

    def _everything(self, path: str, name: str) -> str:
        files = sorted(filter(counts_for_processes, self.tree()))
        return digest_of("\n".join(f"{file} {self._file(file, '')}" for file in files).encode(errors="replace"))

    def _tree(self, path: str, name: str) -> str:
        return digest_of_tree(self.tree())

    def _world(self, path: str, name: str) -> str:
        if name == "Python":
            return f"{sys.version} {platform.machine()}"
        if name == "the installed distributions":
            return digest_of("\n".join(_distributions()).encode())
        if name == _OPTIONS:
            options = self._circumstances.options
            return UNASKED if options is None else digest_of(options.encode(errors="surrogateescape"))
        if name == "the set of environment variables":
            return digest_of("\n".join(self._circumstances.names()).encode(errors="surrogateescape"))
        value = self._circumstances.variables.get(name.removeprefix("the variable "))
        # Short, so that a secret can't be found out from it.
        return "" if value is None else digest_of(value.encode(errors="surrogateescape"))[:6]

    def _sources_below(self, place: Path) -> Iterator[str]:
        for directory, _, files in os.walk(place):  # unlike a glob, it bears with what vanishes meanwhile
            for file in files:
                name = self._first_party.name(os.path.join(directory, file)) if file.endswith(".py") else ""
                if name:
                    yield name

    def _read(self, path: str) -> bytes | None:
        return bytes_of(self._first_party.path(path))


def bytes_of(path: str) -> bytes | None:
    """Return the bytes of a regular file, None for anything else: a pipe that a test made would never end."""
    try:
        with open(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb") as file:
            return file.read() if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else None
    except OSError:
        return None


def digest_of_tree(tree: Iterable[str]) -> str:
    """Return the fingerprint of a set of files, by their names alone."""
    return digest_of("\n".join(sorted(tree)).encode(errors="replace"))


def counts_for_processes(name: str) -> bool:
    """Tell whether a file may matter to a process that a test starts."""
    return name.endswith(_FOR_PROCESSES)


def _manifest_keys(data: bytes | None) -> Any:
    """Return the keys that the manager uses; the rest counts for tests that open the manifest."""
    from pytest_hotplug.reloader.manifest import Manifest

    if data is None:
        return None
    try:
        table = json.loads(data)
    except ValueError:
        return digest_of(data)
    if not isinstance(table, dict):
        return digest_of(data)
    return {key: value for key, value in table.items() if key in Manifest.__struct_fields__}


def _distributions() -> list[str]:
    """Return name and version of every installed distribution, as the names of their directories tell them."""
    found: set[str] = set()
    for place in sys.path:
        try:
            found.update(name for name in os.listdir(place or ".") if name.endswith((".dist-info", ".egg-info")))
        except OSError:
            continue
    return sorted(found)
