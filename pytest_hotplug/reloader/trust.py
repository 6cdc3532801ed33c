"""May this version be trusted to run here? Who can write its files, where it lies, what a lock file says.

Whoever can write a plugin directory runs code as the worker, so a version is looked at before it is
loaded: in strict mode owners and modes (as sshd and sudo do), always that the directory lies where
plugins belong. Reads metadata, changes nothing, executes nothing.
"""

from __future__ import annotations

import logging
import os
import stat
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pytest_hotplug.reloader.discovery import Found
from pytest_hotplug.reloader.errors import Fault, PluginFault, near
from pytest_hotplug.reloader.fingerprint import Snapshot
from pytest_hotplug.reloader.lock_file import not_locked
from pytest_hotplug.reloader.looking import Signature
from pytest_hotplug.reloader.settings import Settings

__all__ = ["Trusted", "check_trust", "is_strict"]

LOG = logging.getLogger("hotplug")
_LOOSE = stat.S_IWGRP | stat.S_IWOTH
_ACL = "system.posix_acl_access"


@dataclass(frozen=True, slots=True)
class Trusted:
    """Places whose owners and modes were all right for a user of the system, by their signatures then.

    Whoever changes a mode, an owner or an access list changes the ctime, and so the signature.
    """

    user: int
    places: Mapping[str, Signature]


def check_trust(found: Found, snapshot: Snapshot, settings: Settings, trusted: Trusted | None = None) -> Trusted | None:
    """Raise PluginFault for a version that must not run: misplaced, not locked, or writable by others.

    Return what was looked at, None when owners and modes don't count: given as `trusted` the next time, it spares
    looking at what is still the same.
    """
    faults: list[Fault] = []
    looked_at = None
    try:
        strict = os.name == "posix" and is_strict(found, settings)
        faults += _misplaced(found, snapshot.look.root, settings)
        faults += not_locked(found, snapshot)
        if strict:
            looked_at = _look_at_modes(found, snapshot, settings, trusted, faults)
    except OSError as error:
        message = f"who may write it can't be told: {error.strerror} ({error.filename})"
        raise PluginFault(Fault(found.name, "unreadable", message, found.path, own_bytes=False)) from None
    if faults:
        raise PluginFault(*faults)
    return looked_at


def is_strict(found: Found, settings: Settings) -> bool:
    """Tell whether owners and modes count: as set, else for root, and where the files are another user's."""
    if settings.strict_permissions != "auto":
        return settings.strict_permissions == "on"
    return os.name == "posix" and (os.geteuid() == 0 or os.stat(found.path).st_uid != os.geteuid())


def _misplaced(found: Found, root: str, settings: Settings) -> Iterator[Fault]:
    """Blame a plugin directory that is a link to somewhere else than beside the plugin dir."""
    if root == f"{found.layout.path}{os.sep}{found.name}":
        return  # no link at all on the way there
    beside = os.path.dirname(os.path.realpath(found.layout.path))
    allowed = (beside, *(os.path.realpath(os.path.expanduser(place)) for place in settings.allow_symlink_roots))
    if not any(f"{root}{os.sep}".startswith(f"{place.rstrip(os.sep)}{os.sep}") for place in allowed):
        message = f"the directory is a link to {root}, which lies outside of {beside}"
        remedy = "Move the release beside the plugin dir, or name its place in allow_symlink_roots."
        yield Fault(found.name, "escaping-link", message, found.path, remedy=remedy, own_bytes=False)


def _look_at_modes(
    found: Found, snapshot: Snapshot, settings: Settings, trusted: Trusted | None, faults: list[Fault]
) -> Trusted:
    """Blame files and directories that somebody else than the worker's user and root may write."""
    root, user = snapshot.look.root, os.geteuid()
    known = trusted.places if trusted is not None and trusted.user == user else {}
    now, settled = dict(snapshot.look.places), snapshot.look.settled_places()
    looked_at: dict[str, Signature] = {}
    for name in sorted(_with_directories(snapshot.files)):
        place = f"{root}/{name}" if name else root
        if place not in known or known[place] != now.get(place):
            try:
                status = os.stat(place)
            except FileNotFoundError:
                continue  # it is gone since; the next look tells
            faults += _loose(found, place, status, settings)
        if place in settled:
            looked_at[place] = settled[place]
    faults += _loose_parents(found, root)
    return Trusted(user, looked_at)


def _with_directories(files: Iterable[str]) -> set[str]:
    """Return relative names of files, and of the directories that they lie in; "" is the plugin's own."""
    names = {"", *files}
    for name in files:
        while (name := name.rpartition("/")[0]) and name not in names:
            names.add(name)
    return names


def _loose_parents(found: Found, root: str) -> Iterator[Fault]:
    parent = root
    while parent != (parent := os.path.dirname(parent)):
        mode = os.stat(parent).st_mode
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            remedy = f"Run: chmod o-w {near(Path(parent))}"
            message = f"its parent {parent} is writable by everybody (mode {stat.S_IMODE(mode):04o})"
            yield Fault(found.name, "untrusted", message, Path(parent), remedy=remedy, own_bytes=False)


def _loose(found: Found, place: str, status: os.stat_result, settings: Settings) -> Iterator[Fault]:
    mode = stat.S_IMODE(status.st_mode)
    trusted_group = bool(settings.trust_group) and _group_of(status.st_gid) == settings.trust_group
    loose = mode & (stat.S_IWOTH if trusted_group else _LOOSE)
    foreign = status.st_uid not in (0, os.geteuid()) and _user_of(status.st_uid) not in settings.trusted_owners
    has_list = _has_acl(place)
    if not (loose or foreign or has_list):
        return
    path = Path(place)
    if loose:
        who = "everybody" if loose & stat.S_IWOTH else "group"
        how = f"chmod {'go' if who == 'everybody' else 'g'}-w {near(path)}"
        remedy = f"Run {how}" + ("" if who == "everybody" else f", or set trust_group = {_group_of(status.st_gid)!r}.")
        message = f"{path.name} is writable by {who} (mode {mode:04o})"
        yield Fault(found.name, "untrusted", message, path, remedy=remedy, own_bytes=False)
    if foreign:
        owner = _user_of(status.st_uid)
        remedy = f"Run chown, or set trusted_owners = [{owner!r}]."
        message = f"{path.name} belongs to {owner}, who is neither root nor this process's user"
        yield Fault(found.name, "untrusted", message, path, remedy=remedy, own_bytes=False)
    if has_list:
        text = f"{near(path)} has an access control list, which may let others write; it is not looked at"
        LOG.warning("hotplug.access_list", extra={"plugin": found.name, "text": text})


def _has_acl(path: str) -> bool:
    """Tell whether a file has a POSIX access control list: best effort, for modes alone don't tell of it."""
    if sys.platform != "linux":
        return False
    try:
        return _ACL in os.listxattr(path)
    except OSError:
        return False  # this file system has none


def _user_of(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _group_of(gid: int) -> str:
    import grp

    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
