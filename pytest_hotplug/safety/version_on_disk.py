"""One version of a plugin, as its files say: digest, manifest, the files that count. Executes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pytest_hotplug.reloader.digests import Algorithm
from pytest_hotplug.reloader.discovery import Found
from pytest_hotplug.reloader.errors import PluginFault
from pytest_hotplug.reloader.fingerprint import Unsettled, snapshot
from pytest_hotplug.reloader.loader import manifest_of
from pytest_hotplug.reloader.manifest import Manifest

__all__ = ["Version", "version_of"]


@dataclass(frozen=True, slots=True)
class Version:
    """What can be said of a version that nobody loads; `problem` says what is wrong with it, "" for nothing.

    `files` are those that count to its digest, by relative name.
    """

    found: Found
    digest: str = ""
    files: Mapping[str, bytes] | None = None
    manifest: Manifest | None = None
    problem: str = ""

    @property
    def verify(self) -> Mapping[str, Any]:
        """Return the manifest's table `hotplug.verify`, empty where there is none."""
        table = self.manifest.hotplug.get("verify") if self.manifest else None
        return table if isinstance(table, dict) else {}


def version_of(found: Found, algorithm: Algorithm = "md5") -> Version:
    """Read a version; its files stand still."""
    seen = None
    try:
        seen = snapshot(found.path, plugin=found.name, digest=algorithm)
        manifest = manifest_of(found, seen)
        if manifest.ignored:
            seen = snapshot(found.path, plugin=found.name, ignore=manifest.ignored, digest=algorithm)
    except (PluginFault, Unsettled) as fault:
        digest, files = (seen.digest, _counted(seen.files, seen.md5)) if seen is not None else ("", None)
        return Version(found, digest, files, problem=str(fault))
    return Version(found, seen.digest, _counted(seen.files, seen.md5), manifest)


def _counted(files: Mapping[str, bytes], hashes: Mapping[str, str]) -> dict[str, bytes]:
    return {name: files[name] for name in hashes}
