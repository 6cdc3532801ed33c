"""The security rules S1 to S36 that concern plugins and their files; those of a manifest's bytes are in test_manifest.

S29 to S32 are about the control socket of a worker: see tests/worker/test_channel.py.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from pytest_hotplug import KeptCurrent, PluginLoadError, PluginManager, Reloaded, UnknownPlugin
from pytest_hotplug.reloader import looking, trust
from pytest_hotplug.reloader.digests import hash_of
from pytest_hotplug.reloader.looking import MAX_FILES
from pytest_hotplug.reloader.settings import make_settings
from tests.reloader.workshop import Workshop, running

ONE, TWO = "def run():\n    return 1\n", "def run():\n    return 2\n"
posix = pytest.mark.skipif(sys.platform == "win32", reason="modes and owners are POSIX")
as_root = pytest.mark.skipif(sys.platform == "win32" or os.geteuid() != 0, reason="only root gives files away")


def refused(manager: PluginManager, slug: str, *said: str) -> None:
    """Check that version 1 serves on, and that the refusal says what it should."""
    assert manager.execute("subject") == 1
    info = manager.get_plugin_hot_info("subject")
    assert info["state"] == "degraded", info
    assert f"[{slug}]" in info["error"]
    for word in said:
        assert word in info["error"]


def write_lock(shop: Workshop) -> None:
    """Write plugins.lock as `sha256sum */*` does."""
    files = [path for path in sorted(shop.plugins.glob("*/*")) if path.is_file()]
    sums = {path.relative_to(shop.plugins).as_posix(): hashlib.sha256(path.read_bytes()) for path in files}
    text = "".join(f"{sum_.hexdigest()}  {name}\n" for name, sum_ in sums.items())
    (shop.plugins / "plugins.lock").write_text(text)


@pytest.fixture
def manager(shop: Workshop) -> PluginManager:
    """Serve version 1 of a plugin, owners and modes checked."""
    shop.plugin("subject", ONE)
    (shop.plugins / "subject").chmod(0o755)
    (shop.plugins / "subject" / "main.py").chmod(0o644)
    manager = shop.manager(strict_permissions="on")
    assert manager.execute("subject") == 1
    return manager


@pytest.mark.parametrize("name", ["../x", "a/b", "/etc", "a.b", "", "x" * 65, "naïve", "x\n", "X", "1x", "x\0"])
def test_a_name_is_looked_up_and_never_joined_to_a_path(shop: Workshop, name: str) -> None:
    """S1: whatever is asked for, only listed names are plugins."""
    shop.plugin("subject", ONE)
    with pytest.raises(UnknownPlugin, match="invalid-name"):
        shop.manager().execute(name)


@pytest.mark.parametrize("name", ["con", "nul", "aux", "com1", "class", "lambda"])
def test_a_device_or_keyword_is_no_plugin(shop: Workshop, name: str) -> None:
    """S2: such a directory is left out, and asking for it says why."""
    shop.plugin(name, ONE)
    manager = shop.manager()
    assert manager.discover() == []
    with pytest.raises(UnknownPlugin, match="invalid-name"):
        manager.load(name)


def test_a_plugin_named_like_a_standard_module_hurts_nobody(shop: Workshop) -> None:
    """S2 S16: behind a package prefix a plugin may be called json, and its json.py hides nothing."""
    shop.plugin("json", {"main.py": "import json\ndef run():\n    return json.dumps(1)\n", "json.py": "X = 1\n"})
    assert shop.manager().execute("json") == "1"
    assert json.loads("[1]") == [1]


def test_a_manifest_with_another_name_is_refused(shop: Workshop, manager: PluginManager) -> None:
    """S3: the name in the manifest must be the directory's; the error names both."""
    shop.plugin("subject", TWO, {"name": "other"})
    refused(manager, "name-mismatch", "'other'", "'subject'")


@posix
def test_a_directory_that_links_away_is_refused(shop: Workshop, tmp_path_factory: Any) -> None:
    """S4: releases beside the plugin dir are fine, somewhere else must be allowed by a setting."""
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "release"
    elsewhere.mkdir()
    (elsewhere / "main.py").write_text(ONE)
    (shop.plugins / "subject").symlink_to(elsewhere)
    with pytest.raises(PluginLoadError, match=r"(?s)link to .*elsewhere.*\[escaping-link\]"):
        shop.manager().load("subject")
    assert shop.manager(allow_symlink_roots=[str(elsewhere.parent)]).execute("subject") == 1
    beside = shop.root / "releases" / "v1"
    beside.mkdir(parents=True)
    (beside / "main.py").write_text(TWO)
    (shop.plugins / "subject").unlink()
    (shop.plugins / "subject").symlink_to(beside)
    assert shop.manager().execute("subject") == 2


@posix
@pytest.mark.parametrize("kind", ["file", "directory", "data"])
def test_a_link_out_of_the_plugin_is_refused(shop: Workshop, manager: PluginManager, kind: str) -> None:
    """S5: code or data from outside is no part of a version; the link is named."""
    (shop.root / "secret").mkdir()
    (shop.root / "secret" / "key.py").write_text("KEY = 1\n")
    target = shop.root / "secret" if kind == "directory" else shop.root / "secret" / "key.py"
    (shop.plugins / "subject" / ("data.bin" if kind == "data" else "out.py")).symlink_to(target)
    shop.write("subject", "main.py", TWO)
    refused(manager, "escaping-link", "out.py" if kind != "data" else "data.bin")


@posix
def test_the_links_of_a_config_map_are_followed(shop: Workshop) -> None:
    """S5: files that link through `..data` to a release inside the directory are the plugin's."""
    subject = shop.plugins / "subject"
    for number, code in enumerate((ONE, TWO), 1):
        (subject / f"..v{number}").mkdir(parents=True)
        (subject / f"..v{number}" / "main.py").write_text(code)
    (subject / "..data").symlink_to("..v1")
    (subject / "main.py").symlink_to("..data/main.py")
    manager = shop.manager()
    assert manager.execute("subject") == 1
    (subject / "..next").symlink_to("..v2")
    os.replace(subject / "..next", subject / "..data")
    assert manager.execute("subject") == 2


def test_a_tree_without_end_is_bounded(shop: Workshop, manager: PluginManager) -> None:
    """S6: too many files are refused with the numbers, and links in circles are not followed."""
    for number in range(MAX_FILES + 1):
        (shop.plugins / "subject" / f"m{number}.py").touch()
    (shop.plugins / "subject" / "deep").mkdir()
    (shop.plugins / "subject" / "deep" / "up").symlink_to("..")
    refused(manager, "plugin-too-large", f"at most {MAX_FILES:,} files")


@posix
@pytest.mark.parametrize("kind", ["fifo", "socket"])
def test_a_source_that_is_no_file_hangs_nothing(shop: Workshop, manager: PluginManager, kind: str) -> None:
    """S7: a FIFO, a socket or a device instead of a file is refused at once."""
    import socket

    path = shop.plugins / "subject" / "main.py"
    path.unlink()
    if kind == "fifo":
        os.mkfifo(path)
    else:
        here = Path.cwd()
        os.chdir(path.parent)  # the path of a socket is short
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind("main.py")
        os.chdir(here)
    refused(manager, "not-a-file" if kind == "fifo" else "unreadable", "main.py")


@posix
@pytest.mark.parametrize(("mode", "who"), [(0o664, "group"), (0o646, "everybody"), (0o666, "everybody")])
def test_a_file_that_others_may_write_is_refused(shop: Workshop, manager: PluginManager, mode: int, who: str) -> None:
    """S8 R34: named with its mode and the command that mends it; once mended, it is served."""
    shop.write("subject", "main.py", TWO).chmod(mode)
    refused(manager, "untrusted", "main.py is writable by", who, f"0{mode:o}")
    assert "chmod" in manager._hot_loader.registry.slots["subject"].refusal.fault.remedy  # type: ignore[union-attr]
    (shop.plugins / "subject" / "main.py").chmod(0o644)
    assert manager.execute("subject") == 2


@posix
@pytest.mark.parametrize("place", ["text.py", "."])
def test_a_mode_that_changes_later_is_seen_with_the_next_version(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """S8: what was all right once and lies there as it did is not asked again, and what isn't is."""
    monkeypatch.setattr(looking, "RACY_NS", 0)  # as if each edit were seconds after the one before
    directory = shop.plugin("subject", {"main.py": ONE, "text.py": ""})
    manager = shop.manager(strict_permissions="on")
    assert manager.execute("subject") == 1
    looked_at: list[str] = []
    monkeypatch.setattr(trust, "_has_acl", lambda path: looked_at.append(Path(path).name))
    (directory / "main.py").write_text(f"# the same\n{ONE}")
    assert isinstance(manager.reload("subject"), Reloaded)
    assert looked_at == ["main.py"]
    (directory / place).chmod(0o777)
    (directory / "main.py").write_text(TWO)
    refused(manager, "untrusted", "writable by everybody (mode 0777)")
    (directory / place).chmod(0o755)


@posix
def test_a_directory_that_counts_only_now_is_looked_at_now(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """S8: one that held nothing of the plugin was not asked before, though it lies there unchanged."""
    monkeypatch.setattr(looking, "RACY_NS", 0)
    directory = shop.plugin("subject", ONE)
    (directory / "lib" / "inner").mkdir(parents=True)
    (directory / "lib").chmod(0o777)
    manager = shop.manager(strict_permissions="on")
    assert manager.execute("subject") == 1
    (directory / "lib" / "inner" / "text.py").write_text("VALUE = 2\n")
    (directory / "main.py").write_text("def run():\n    from .lib.inner.text import VALUE\n    return VALUE\n")
    refused(manager, "untrusted", "lib is writable by everybody (mode 0777)")


@as_root
def test_who_was_trusted_by_another_user_is_looked_at_again(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """S10: a process that changes its user asks again."""
    monkeypatch.setattr(looking, "RACY_NS", 0)
    directory = shop.plugin("subject", {"main.py": ONE, "other.py": ""})
    os.chown(directory / "other.py", 12345, 0)
    manager = shop.manager(strict_permissions="on")
    with monkeypatch.context() as as_another:
        as_another.setattr(os, "geteuid", lambda: 12345)
        assert manager.execute("subject") == 1
    (directory / "main.py").write_text(TWO)
    refused(manager, "untrusted", "other.py belongs to 12345")


@posix
def test_a_directory_that_others_may_write_is_refused(shop: Workshop, manager: PluginManager) -> None:
    """S8: who may write the directory may replace the file."""
    shop.write("subject", "main.py", TWO)
    (shop.plugins / "subject").chmod(0o777)
    refused(manager, "untrusted", "writable by everybody (mode 0777)")
    (shop.plugins / "subject").chmod(0o755)


@posix
def test_a_trusted_group_may_write(shop: Workshop) -> None:
    """S8: a deployment group is named in the settings."""
    import grp

    shop.plugin("subject", ONE)
    (shop.plugins / "subject" / "main.py").chmod(0o664)
    (shop.plugins / "subject").chmod(0o775)
    with pytest.raises(PluginLoadError, match="trust_group"):
        shop.manager(strict_permissions="on").load("subject")
    group = grp.getgrgid((shop.plugins / "subject").stat().st_gid).gr_name
    assert shop.manager(strict_permissions="on", trust_group=group).execute("subject") == 1


@posix
def test_a_parent_that_everybody_may_write_is_refused(shop: Workshop, manager: PluginManager) -> None:
    """S9: whoever may write a parent may replace all below it, unless the sticky bit forbids."""
    shop.plugins.chmod(0o777)
    shop.write("subject", "main.py", TWO)
    refused(manager, "untrusted", "parent", str(shop.plugins))
    shop.plugins.chmod(0o1777)
    shop.write("subject", "main.py", "def run():\n    return 3\n")
    assert manager.execute("subject") == 3


@as_root
def test_a_file_of_somebody_else_is_refused(shop: Workshop, manager: PluginManager) -> None:
    """S10: files belong to root, to the worker's user or to a trusted owner."""
    os.chown(shop.write("subject", "main.py", TWO), 12345, 0)
    refused(manager, "untrusted", "belongs to 12345")
    assert shop.manager(strict_permissions="on", trusted_owners=["12345"]).execute("subject") == 2


@posix
def test_who_looks_at_modes_is_decided_by_who_runs(shop: Workshop) -> None:
    """S8: `auto` is strict for root and for other users' files, and lenient for a developer's own."""
    shop.plugin("subject", ONE)
    (shop.plugins / "subject" / "main.py").chmod(0o666)
    if os.geteuid() == 0:
        with pytest.raises(PluginLoadError, match="untrusted"):
            shop.manager().load("subject")
    else:
        assert shop.manager().execute("subject") == 1
    assert shop.manager(strict_permissions="off").execute("subject") == 1


@posix
def test_a_rule_that_is_loosened_lets_in_what_it_refused(shop: Workshop) -> None:
    """S8: other settings count at the next look, for what was refused; for what was let in they count anew."""
    shop.plugin("subject", ONE)
    manager = shop.manager(strict_permissions="on")
    manager.load("subject")
    shop.write("subject", "main.py", TWO)
    (shop.plugins / "subject" / "main.py").chmod(0o666)
    assert isinstance(manager.reload("subject"), KeptCurrent)
    manager.take_over(make_settings({"strict_permissions": "off"}))
    assert manager.execute("subject") == 2
    manager.take_over(make_settings({"strict_permissions": "on"}))
    shop.write("subject", "main.py", ONE)
    (shop.plugins / "subject" / "main.py").chmod(0o666)
    assert isinstance(manager.reload("subject"), KeptCurrent)
    assert manager.execute("subject") == 2


@pytest.mark.skipif(sys.platform != "linux", reason="access control lists are looked at on Linux")
def test_an_access_list_is_warned_about(shop: Workshop, caplog: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """S11: modes alone don't tell of an access control list; best effort: a warning names the file."""
    shop.plugin("subject", ONE)
    monkeypatch.setattr(os, "listxattr", lambda path: ["system.posix_acl_access"])
    with caplog.at_level(logging.WARNING):
        assert shop.manager(strict_permissions="on").execute("subject") == 1
    assert any(r.msg == "hotplug.access_list" and "main.py" in r.text for r in caplog.records)


@posix
def test_health_tells_that_root_runs_plugins(manager: PluginManager) -> None:
    """S12: `privileged` is true when whoever writes a plugin becomes root."""
    assert manager.health()["privileged"] == (os.geteuid() == 0)


def test_what_is_hashed_is_what_runs(shop: Workshop) -> None:
    """S13: while a file is replaced all the time, the digest that is told is that of the code that runs."""
    code = "def run():\n    return {!r}\n"
    shop.plugin("subject", code.format("0"))
    manager = shop.manager(settle_max=5)
    digests: dict[str, str] = {}
    over = False

    def replace() -> None:
        number = 0
        while not over:
            number += 1
            shop.write("subject", "main.py", code.format(str(number)))

    with running(replace) as errors:
        for _ in range(40):
            manager.reload("subject")
            generation = manager.load("subject")
            source = generation.namespace.files["main.py"]
            digests[generation.digest] = hash_of(source)
            assert repr(generation.entry.function()).encode() in source  # type: ignore[union-attr, operator]
            assert generation.snapshot.md5["main.py"] == hash_of(source)
        over = True
    assert errors == []


def test_a_compiled_file_alone_is_no_plugin(shop: Workshop) -> None:
    """S14: a main.pyc without its source is nothing to run."""
    (shop.plugins / "subject").mkdir()
    (shop.plugins / "subject" / "main.pyc").write_bytes(b"\0" * 16)
    assert shop.manager().discover() == []


def test_a_path_file_is_not_processed(shop: Workshop, manager: PluginManager) -> None:
    """S15: a .pth or a zip inside a plugin is data, and never extends what can be imported."""
    shop.write("subject", "evil.pth", "import os; os.environ['EVIL'] = '1'\n")
    shop.write("subject", "main.py", TWO)
    assert manager.execute("subject") == 2
    assert "EVIL" not in os.environ


def test_a_text_of_a_plugin_forges_no_log_line(shop: Workshop, manager: PluginManager) -> None:
    """S25: newlines and escape sequences of an exception's text are visible in what is logged."""
    shop.write("subject", "main.py", "raise RuntimeError('x\\n2026 INFO all is well\\x1b[31m')\n")
    refused(manager, "import-error", "\\n2026", "\\x1b[31m")
    error = manager.get_plugin_hot_info("subject")["error"]
    assert "\n" not in error
    assert "\x1b" not in error


def test_a_source_with_a_dangerous_encoding_is_refused(shop: Workshop, manager: PluginManager) -> None:
    """S27: any codec that Python's tokenizer accepts, except utf-7; null bytes are a syntax error."""
    for code in (b"# coding: utf-7\ndef run(): return 2\n", b"def run(): return 2\n\0\n", b"# coding: none\n"):
        shop.write("subject", "main.py", code)
        refused(manager, "syntax-error")


@pytest.fixture
def without_md5(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let MD5 be refused, as a very strict FIPS mode does."""

    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise ValueError("[digital envelope routines] unsupported")

    monkeypatch.setattr(hashlib, "md5", refuse)


def test_where_md5_is_refused_another_digest_takes_its_place(shop: Workshop, without_md5: None) -> None:
    """S33: nothing crashes; changes are found as ever, versions are kept, and `health` says so."""
    shop.plugin("subject", ONE)
    manager = shop.manager(state_dir=shop.root / "state")
    assert manager.execute("subject") == 1
    shop.write("subject", "main.py", TWO)
    assert manager.execute("subject") == 2
    assert manager.health()["digest"].startswith("blake2b")
    manager.rollback("subject")
    assert manager.execute("subject") == 1


def test_another_digest_can_be_chosen(shop: Workshop) -> None:
    """S34: `digest = "blake2b"` for those who don't want MD5 anywhere; health says that neither is a signature."""
    shop.plugin("subject", ONE)
    manager = shop.manager(digest="blake2b", state_dir=shop.root / "state")
    assert len(manager.load("subject").digest) == 40
    shop.write("subject", "main.py", TWO)
    assert manager.execute("subject") == 2
    assert manager.rollback("subject").serving == 3
    assert manager.health()["digest"] == "blake2b (detects change; it is no signature)"


def test_a_lock_file_decides_what_may_run(shop: Workshop) -> None:
    """S35: with plugins.lock beside the plugins only what stands in it is loaded; it is what sha256sum writes."""
    shop.plugin("subject", ONE)
    manager = shop.manager()
    write_lock(shop)
    assert manager.execute("subject") == 1
    shop.write("subject", "main.py", TWO)
    refused(manager, "not-locked", "main.py differs from plugins.lock")
    shop.plugin("new", ONE)
    with pytest.raises(PluginLoadError, match=r"main\.py is not in plugins\.lock"):
        manager.load("new")
    write_lock(shop)
    shop.write("subject", "main.py", TWO + "\n")
    write_lock(shop)
    assert manager.execute("subject") == 2


@posix
@pytest.mark.parametrize("kind", ["dangling link", "fifo", "directory"])
def test_a_lock_file_that_cannot_be_read_lets_nothing_run(shop: Workshop, kind: str) -> None:
    """S35: only where there is no plugins.lock nothing is locked; anything else of that name refuses at once."""
    shop.plugin("subject", ONE)
    lock = shop.plugins / "plugins.lock"
    {
        "dangling link": lambda: lock.symlink_to(shop.root / "not" / "mounted"),
        "fifo": lambda: os.mkfifo(lock),
        "directory": lock.mkdir,
    }[kind]()
    manager = shop.manager()
    with running(lambda: manager.load("subject")) as errors:
        pass
    assert "[not-locked]" in str(errors[0])
    descriptors = len(os.listdir("/dev/fd"))
    told = {str(manager.reload("subject").error) for _ in range(5)}
    assert (len(told), len(os.listdir("/dev/fd"))) == (1, descriptors)
    (lock.rmdir if kind == "directory" else lock.unlink)()
    assert manager.execute("subject") == 1


def test_a_kept_version_that_is_not_locked_is_not_served(shop: Workshop) -> None:
    """S35: neither a rollback nor a restart over a broken version brings back what plugins.lock no longer lists."""
    settings = {"state_dir": shop.root / "state"}
    shop.plugin("subject", ONE)
    manager = shop.manager(**settings)
    manager.load("subject")
    shop.write("subject", "main.py", TWO)
    assert manager.execute("subject") == 2
    write_lock(shop)
    outcome = manager.rollback("subject")
    assert outcome.error is not None
    assert outcome.error.slug == "not-locked"
    assert manager.execute("subject") == 2
    manager.close()
    shop.write("subject", "main.py", "def run(:\n")
    write_lock(shop)
    with pytest.raises(PluginLoadError, match="syntax-error"):
        shop.manager(**settings).load("subject")


def test_a_rollback_to_a_version_that_is_no_longer_locked_ends_at_a_restart(shop: Workshop) -> None:
    """S35: what was rolled back to and then taken out of plugins.lock does not come back; what is on disk serves."""
    settings = {"state_dir": shop.root / "state"}
    shop.plugin("subject", ONE)
    manager = shop.manager(**settings)
    manager.load("subject")
    shop.write("subject", "main.py", TWO)
    assert manager.execute("subject") == 2
    manager.rollback("subject")
    assert manager.execute("subject") == 1
    manager.close()
    write_lock(shop)
    assert shop.manager(**settings).execute("subject") == 2


def test_a_corrected_lock_file_is_heeded_at_once(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """S35: what plugins.lock refused is served by the next call after it was written anew, however long it waited."""
    monkeypatch.setattr("pytest_hotplug.reloader.refusals.FIRST_DELAY", 3600.0)
    shop.plugin("subject", ONE)
    write_lock(shop)
    manager = shop.manager()
    manager.load("subject")
    shop.write("subject", "main.py", TWO)
    refused(manager, "not-locked")
    (shop.plugins / "plugins.lock").unlink()
    write_lock(shop)
    assert manager.execute("subject") == 2


@posix
def test_a_reload_by_hand_looks_again_at_what_was_refused_for_how_it_lies_there(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An explicit `reload` never repeats a reason that is no longer true: it does not wait for the back-off."""
    monkeypatch.setattr("pytest_hotplug.reloader.refusals.FIRST_DELAY", 3600.0)
    shop.plugin("subject", ONE)
    (shop.plugins / "subject").chmod(0o755)
    parent = shop.plugins
    manager = shop.manager(strict_permissions="on")
    manager.load("subject")
    parent.chmod(0o777)
    shop.write("subject", "main.py", TWO)
    (shop.plugins / "subject" / "main.py").chmod(0o644)
    refused(manager, "untrusted", "its parent")
    parent.chmod(0o755)
    refused(manager, "untrusted")
    assert isinstance(manager.reload("subject"), Reloaded)
    assert manager.execute("subject") == 2


def test_a_user_that_may_not_run_does_not_hold_up_its_base(shop: Workshop) -> None:
    """S35: the user's new bytes don't stand in plugins.lock: it serves on as it is, on the base's new version."""
    shop.plugin("base", ONE)
    user = "from ..base.main import run as base\nM = {n}\ndef run(): return M, base()\n"
    shop.plugin("user", user.format(n=1), {"depends_on": ["base"]})
    manager = shop.manager()
    assert manager.execute("user") == (1, 1)
    shop.write("base", "main.py", TWO)
    write_lock(shop)
    shop.write("user", "main.py", user.format(n=2))
    assert isinstance(manager.reload("base"), Reloaded)
    assert manager.execute("user") == (1, 2)
    assert "main.py differs from plugins.lock" in manager.get_plugin_hot_info("user")["error"]


def test_commit_mode_waits_until_the_version_is_whole(shop: Workshop) -> None:
    """D08: with `commit = true` nothing loads until every file has the MD5 that the manifest lists."""

    def manifest(**files: str) -> str:
        return json.dumps({"files": {f"{n}.py": hashlib.md5(t.encode()).hexdigest() for n, t in files.items()}})

    first, second = "from . import other\ndef run():\n    return other.N\n", "N = 1\n"
    shop.plugin("subject", {"main.py": first, "other.py": second, "plugin.json": manifest(main=first, other=second)})
    manager = shop.manager(commit=True)
    assert manager.execute("subject") == 1
    changed = first.replace("other.N", "other.N, other.M")
    shop.write("subject", "main.py", changed)
    refused(manager, "uncommitted", "main.py differs")
    shop.write("subject", "plugin.json", manifest(main=changed, other="N = M = 2\n"))
    refused(manager, "uncommitted", "other.py differs")
    shop.write("subject", "extra.py", "")
    refused(manager, "uncommitted", "extra.py is not listed")
    (shop.plugins / "subject" / "extra.py").unlink()
    shop.write("subject", "other.py", "N = M = 2\n")
    assert manager.execute("subject") == (2, 2)
    shop.plugin("bare", ONE)
    with pytest.raises(PluginLoadError, match="no table 'files'"):
        manager.load("bare")
