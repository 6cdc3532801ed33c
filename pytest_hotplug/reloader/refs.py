"""A plugin's files as they were at a git ref, read with `git archive`: the user's tree is never touched.

Facts of files alone: knows nothing of manifests and versions.
"""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from pathlib import Path

from pytest_hotplug.reloader.errors import UsageError

__all__ = ["NotAtRef", "changed_since", "commit_of", "files_in_git", "was_before"]


class NotAtRef(UsageError):
    """A ref holds nothing of the kind, although git knows it."""


def commit_of(ref: str, where: Path) -> str:
    """Return the commit that `ref` means in the repository around `where`. Raises UsageError `[unknown-ref]`."""
    if ref.startswith("-"):
        raise UsageError(f"{ref!r} is an option, no git ref", "unknown-ref")
    return _git(where, ref, "rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}").decode().strip()


def changed_since(ref: str, where: Path) -> frozenset[Path]:
    """Return the files of the repository around `where` that differ from `ref`, come or gone, by their real paths.

    The work tree counts, with files that git doesn't know yet and doesn't ignore. Raises UsageError `[unknown-ref]`.
    """
    commit, top = commit_of(ref, where), _top(where, ref)
    differ = _git(top, ref, "diff", "--name-only", "--no-renames", "-z", commit, "--").split(b"\0")
    new = _git(top, ref, "ls-files", "-z", "--others", "--exclude-standard").split(b"\0")
    return frozenset(top / os.fsdecode(name) for name in (*differ, *new) if name)


def was_before(ref: str, plugin: Path) -> bool:
    """Tell whether a commit up to `ref` touched the plugin in directory `plugin`, as far as git has them here."""
    return bool(_git(plugin, ref, "log", "-1", "--format=%H", commit_of(ref, plugin), "--", ".").strip())


def files_in_git(ref: str, plugin: Path) -> dict[str, bytes]:
    """Return the files of the plugin in directory `plugin` as they were at `ref`, by relative name.

    Raises UsageError `[unknown-ref]`, NotAtRef where only the plugin is missing.
    """
    commit_of(ref, plugin)
    top = _top(plugin, ref)
    inside = plugin.resolve().relative_to(top).as_posix()
    try:
        archive = _git(top, ref, "archive", "--format=tar", ref, "--", inside)
    except UsageError:
        raise NotAtRef(f"{ref!r} holds no {inside}", "unknown-ref") from None
    files = {}
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for member in tar.getmembers():
            content = tar.extractfile(member) if member.isfile() else None
            if content is not None:
                files[Path(member.name).relative_to(inside).as_posix()] = content.read()
    return files


def _top(where: Path, ref: str) -> Path:
    return Path(os.fsdecode(_git(where, ref, "rev-parse", "--show-toplevel").rstrip(b"\n"))).resolve()


def _git(where: Path, ref: str, *arguments: str) -> bytes:
    try:
        done = subprocess.run(
            ["git", "-C", str(where), *arguments],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
            check=False,
        )
    except FileNotFoundError:
        raise UsageError(f"git is not installed, so {ref!r} can't be read; name a directory", "unknown-ref") from None
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip() or "no such ref"
        fetched = ref.removeprefix("origin/")
        raise UsageError(
            f"git can't resolve {ref!r} ({said}); try: git fetch --depth=1 origin {fetched}", "unknown-ref"
        )
    return done.stdout
