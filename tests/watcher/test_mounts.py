"""The mount table tells where events do not work."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_hotplug.watcher.mounts import Mount, first_without_events, mount_of, parse_mounts

TABLE = r"""
22 1 259:2 / / rw,relatime shared:1 - ext4 /dev/nvme0n1p2 rw
30 22 0:26 / /proc rw,nosuid shared:12 master:3 - proc proc rw
71 22 0:51 / /mnt/c rw,noatime - 9p drvfs rw,dirsync,aname=drvfs
72 22 0:52 / /mnt/my\040share rw - cifs //server/share rw
73 71 0:53 / /mnt/c/fast rw - tmpfs tmpfs rw
74 22 0:54 / /data rw - ext4 /dev/sdb1 rw
75 22 0:55 / /data rw - nfs4 server:/export rw
77 22 0:57 / /mnt rw - tmpfs tmpfs rw
not a mount line
76 22 0:56 / /broken rw
"""


def test_the_table_is_parsed_with_optional_fields_and_escapes() -> None:
    """Any number of optional fields, spaces in names, and lines of no known form."""
    mounts = parse_mounts(TABLE)
    assert mounts[:2] == [Mount("/", "ext4"), Mount("/proc", "proc")]
    assert Mount("/mnt/my share", "cifs") in mounts
    assert len(mounts) == 8


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/srv/plugins", "ext4"),
        ("/mnt/c/Users/me/plugins", "9p"),
        ("/mnt/c", "9p"),
        ("/mnt/cc/plugins", "tmpfs"),
        ("/mnt/c/fast/plugins", "tmpfs"),
        ("/mnt/my share/plugins", "cifs"),
        ("/data/plugins", "nfs4"),
    ],
)
def test_the_longest_and_latest_mount_serves_a_path(path: str, kind: str) -> None:
    """A fast disk mounted below a slow one is fast, a share mounted over a disk hides it."""
    mount = mount_of(path, parse_mounts(TABLE))
    assert mount is not None
    assert mount.kind == kind


@pytest.mark.parametrize(
    "kind",
    ["9p", "drvfs", "nfs", "nfs4", "cifs", "smb3", "smbfs", "fuse.sshfs", "vboxsf", "prl_fs", "virtiofs"],
)
def test_remote_and_shared_file_systems_send_no_events(kind: str) -> None:
    """W1 W2: Edits made by the host or by another machine never arrive as events."""
    assert not Mount("/x", kind).sends_events


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "tmpfs", "overlay", "zfs", "fuseblk", "f2fs"])
def test_local_file_systems_send_events(kind: str) -> None:
    """My own disks are not polled without need."""
    assert Mount("/x", kind).sends_events


def test_the_first_path_without_events_is_found(tmp_path: Path) -> None:
    """One directory out of many on a share is enough."""
    table = tmp_path / "mountinfo"
    table.write_text(TABLE, encoding="utf-8")
    assert first_without_events(["/srv", "/mnt/c/fast/x"], table) is None
    assert first_without_events(["/srv", "/mnt/c/x"], table) == Mount("/mnt/c", "9p")


def test_a_system_without_a_table_has_no_such_mounts(tmp_path: Path) -> None:
    """Elsewhere than on Linux native events are trusted."""
    assert first_without_events(["/srv"], tmp_path / "absent") is None
