"""Commit mode: a version is whole when every file has the MD5 that its manifest lists, and not before.

So that a deployment that copies file by file never serves a mix, however slow it is: the manifest
goes last, or first, and nothing loads until all fit. Reads a snapshot, nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_hotplug.reloader.digests import hash_of
from pytest_hotplug.reloader.discovery import Found
from pytest_hotplug.reloader.errors import Fault, PluginFault
from pytest_hotplug.reloader.fingerprint import Snapshot
from pytest_hotplug.reloader.manifest import Manifest

__all__ = ["check_committed"]

KEY = "files"


def check_committed(found: Found, snapshot: Snapshot, manifest: Manifest) -> None:
    """Raise PluginFault `[uncommitted]` unless the manifest's `files` are exactly the files that are there."""
    listed = manifest.extra.get(KEY)
    where = found.path / (manifest.file or found.layout.manifest[0])
    if not isinstance(listed, Mapping):
        message = f"setting 'commit' is on, and the manifest has no table {KEY!r} of file: MD5"
        raise PluginFault(Fault(found.name, "uncommitted", message, where, remedy=_REMEDY))
    wrong = list(_differences(snapshot, listed, manifest.file))
    if wrong:
        shown = ", ".join(wrong[:5]) + (f" and {len(wrong) - 5} more" if len(wrong) > 5 else "")
        message = f"the version is not whole yet: {shown}"
        raise PluginFault(Fault(found.name, "uncommitted", message, where, remedy=_REMEDY))


_REMEDY = "Finish the deployment; it is tried again on the next change. List files as `md5sum` prints them."


def _differences(snapshot: Snapshot, listed: Mapping[str, Any], manifest_file: str) -> list[str]:
    counted = {name for name in snapshot.md5 if name != manifest_file}
    missing = [f"{name} is missing" for name in sorted(listed.keys() - snapshot.files.keys())]
    extra = [f"{name} is not listed" for name in sorted(counted - listed.keys())]
    other = [
        f"{name} differs"
        for name in sorted(listed.keys() & snapshot.files.keys())
        if hash_of(snapshot.files[name]) != listed[name]
    ]
    return [*missing, *extra, *other]
