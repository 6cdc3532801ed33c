"""A plugin's files as they were at some reference: a git ref, a directory, or the work tree.

Only reads: `git archive` never touches the user's tree.
"""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

from pytest_hotplug.reloader.errors import UsageError
from pytest_hotplug.testing.files import read_tree

__all__ = ["files_at"]


def files_at(ref: str, plugin: Path) -> dict[str, bytes]:
    """Return the files of the plugin in directory `plugin` at `ref` ("." is the work tree).

    A directory holds the plugin itself or a directory of its name. Raises UsageError `[unknown-ref]`.
    """
    if ref == ".":
        return read_tree(plugin)
    directory = Path(ref)
    if directory.is_dir():
        inside = directory / plugin.name
        return read_tree(inside if inside.is_dir() else directory)
    return _from_git(ref, plugin)


def _from_git(ref: str, plugin: Path) -> dict[str, bytes]:
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
