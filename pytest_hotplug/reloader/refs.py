"""A plugin's files as they were at a git ref, read with `git archive`: the user's tree is never touched.

Facts of files alone: knows nothing of manifests and versions.
"""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

from pytest_hotplug.reloader.errors import UsageError

__all__ = ["files_in_git"]


def files_in_git(ref: str, plugin: Path) -> dict[str, bytes]:
    """Return the files of the plugin in directory `plugin` as they were at `ref`, by relative name.

    Raises UsageError `[unknown-ref]`.
    """
    if ref.startswith("-"):
        raise UsageError(f"{ref!r} is an option, no git ref", "unknown-ref")
    top = Path(_git(plugin, ref, "rev-parse", "--show-toplevel").decode().strip())
    inside = plugin.resolve().relative_to(top.resolve()).as_posix()
    _git(plugin, ref, "rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}")
    try:
        archive = _git(top, ref, "archive", "--format=tar", ref, "--", inside)
    except UsageError:
        raise UsageError(f"{ref!r} holds no {inside}", "unknown-ref") from None
    files = {}
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for member in tar.getmembers():
            content = tar.extractfile(member) if member.isfile() else None
            if content is not None:
                files[Path(member.name).relative_to(inside).as_posix()] = content.read()
    return files


def _git(where: Path, ref: str, *arguments: str) -> bytes:
    try:
        done = subprocess.run(["git", "-C", str(where), *arguments], capture_output=True, check=False)
    except FileNotFoundError:
        raise UsageError(f"git is not installed, so {ref!r} can't be read; name a directory", "unknown-ref") from None
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip() or "no such ref"
        raise UsageError(f"git can't resolve {ref!r} ({said}); try: git fetch --depth=1 origin {ref}", "unknown-ref")
    return done.stdout
