"""`hotplug doctor`: whether changes are noticed, versions trusted and kept, told before it matters."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from pytest_hotplug import __version__
from pytest_hotplug.cli.diagnosis import Finding
from pytest_hotplug.cli.examining_process import worker_version
from pytest_hotplug.cli.examining_watch import event_probe, file_systems, inotify_limits
from pytest_hotplug.watcher import Batch, Watching, watch
from tests.cli.terminal import User
from tests.worker.serving import serving


def checks(user: User, *, code: int = 0, **variables: str) -> list[dict[str, Any]]:
    done = user.types("doctor", "--json", **variables)
    assert (done.code, done.err if not variables else "") == (code, ""), done
    assert (done.json["schema_version"], done.json["source"], done.json["ok"]) == (1, "disk", code == 0)
    found: list[dict[str, Any]] = done.json["checks"]
    return found


def said(found: Iterable[dict[str, Any]], check: str) -> list[tuple[str, str, str]]:
    return [(one["level"], one["text"], one["slug"]) for one in found if one["check"] == check]


def only(findings: Iterable[Finding]) -> Finding:
    (finding,) = findings
    return finding


def everything_below(place: Path) -> set[str]:
    return {str(path.relative_to(place)) for path in place.rglob("*")}


def test_a_healthy_project_has_no_problem_and_nothing_is_left_behind(user: User) -> None:
    """Exit code 0, each line begins with its verdict, and not a file is there that wasn't before."""
    user.plugin("greeter")
    before = everything_below(user.here)
    done = user.types("doctor")
    assert (done.code, done.err) == (0, ""), done
    *lines, last = done.out.splitlines()
    assert all(line.startswith(("ok      ", "note    ", "        ")) for line in lines)
    assert last.startswith("0 problems, ")
    assert last.endswith(" (read from disk)")
    assert everything_below(user.here) == before


@pytest.mark.skipif(sys.platform != "linux", reason="native events as Linux has them")
def test_an_event_of_our_own_is_noticed(user: User) -> None:
    """The backend that would be chosen, and a proof that it hears something in my plugin dir."""
    user.plugin("greeter")
    found = checks(user)
    assert said(found, "watch backend") == [("ok", "events: native events", "")]
    assert said(found, "event probe") == [("ok", "plugins: a change was told of by an event", "")]


def test_events_that_never_arrive_are_a_problem_with_a_remedy(tmp_path: Path) -> None:
    """W3: two hours of debugging become one line; nothing is left behind then either."""

    def deaf(places: Sequence[Path], on_batch: Callable[[Batch], None]) -> Watching:
        return watch([tmp_path / "elsewhere"], on_batch)

    finding = only(event_probe(tmp_path, tmp_path / "state", deaf, within=0.01))
    assert (finding.level, finding.slug) == ("problem", "no-events")
    assert "force_polling" in finding.remedy
    assert everything_below(tmp_path) == set()


def test_polling_that_was_asked_for_is_noted_with_who_asked(user: User) -> None:
    """A variable forgotten in a profile explains why reloads come late."""
    user.plugin("greeter")
    found = checks(user, WATCHFILES_FORCE_POLLING="1")
    ((level, text, _),) = said(found, "watch backend")
    assert (level, "WATCHFILES_FORCE_POLLING" in text) == ("note", True)
    ((level, _, _),) = said(checks(user, HOTPLUG_FORCE_POLLING="1"), "watch backend")
    assert level == "note"


def test_limits_that_do_not_suffice_name_the_command(tmp_path: Path) -> None:
    """W8: too few watches, or no instance left, each with its sysctl."""
    (tmp_path / "plugins/a/core").mkdir(parents=True)

    def examined(watches: int, instances: int, in_use: int) -> Finding:
        (tmp_path / "max_user_watches").write_text(f"{watches}\n")
        (tmp_path / "max_user_instances").write_text(f"{instances}\n")
        return only(inotify_limits([tmp_path / "plugins"], tmp_path, in_use))

    assert examined(6, 2, 0).level == "ok"
    few = examined(5, 2, 0)
    assert (few.slug, "max_user_watches=" in few.remedy) == ("inotify-limit", True)
    full = examined(6, 128, 127)
    assert (full.slug, "max_user_instances=" in full.remedy) == ("inotify-limit", True)


def test_file_systems_without_events_or_without_a_future_are_noted(tmp_path: Path) -> None:
    """W1: a remote plugin dir is polled; a state directory in memory keeps nothing for long."""
    here = os.path.realpath(tmp_path)
    table = tmp_path / "mountinfo"

    def mounted(plugins: str, state: str) -> list[tuple[str, str]]:
        lines = [f"1 0 0:1 / {here}/{at} rw - {kind} none rw" for at, kind in (("plugins", plugins), ("state", state))]
        table.write_text("\n".join(lines))
        found = file_systems([tmp_path / "plugins"], tmp_path / "state", table)
        return [(finding.check, finding.level) for finding in found]

    assert mounted("ext4", "ext4") == [("file system", "ok")]
    assert mounted("nfs4", "ext4") == [("file system", "note")]
    assert mounted("ext4", "tmpfs") == [("file system", "ok"), ("state directory", "note")]
    assert mounted("ext4", "overlay") == [("file system", "ok"), ("state directory", "note")]


@pytest.mark.skipif(os.name != "posix", reason="owners and modes")
def test_a_plugin_that_others_may_write_is_a_problem_where_that_counts(user: User) -> None:
    """With strict_permissions on it would be refused: exit code 1 and the chmod; with off it is a note."""
    user.plugin("greeter").joinpath("main.py").chmod(0o666)
    ((level, text, slug),) = said(checks(user, code=1, HOTPLUG_STRICT_PERMISSIONS="on"), "permissions of greeter")
    assert (level, slug, "main.py is writable by everybody" in text) == ("problem", "untrusted", True)
    ((level, text, _),) = said(checks(user, HOTPLUG_STRICT_PERMISSIONS="off"), "permissions of greeter")
    assert (level, "strict_permissions = on would refuse it" in text) == ("note", True)
    shown = user.types("doctor", HOTPLUG_STRICT_PERMISSIONS="on")
    assert shown.code == 1
    assert "chmod go-w plugins/greeter/main.py [untrusted]" in shown.out


def test_a_manifest_that_is_refused_is_a_problem_of_its_plugin(user: User) -> None:
    """The fault is told under the plugin's name, with the slug that a load tells."""
    user.plugin("greeter", manifest={"enabled": "yes"})
    ((level, _, slug),) = said(checks(user, code=1), "plugin greeter")
    assert (level, slug) == ("problem", "bad-manifest")


def test_places_that_can_not_be_written_are_problems(user: User) -> None:
    """A file where the state directory or the logs should be: each with its slug."""
    user.plugin("greeter")
    user.write(".hotplug", "in the way")
    user.write("logs", "in the way")
    found = checks(user, code=1)
    assert said(found, "state directory")[0] == ("problem", ".hotplug: .hotplug is no directory", "state-unusable")
    assert said(found, "log directory") == [("problem", "logs: logs is no directory", "log-unwritable")]


def test_settings_variables_and_names_are_told(user: User) -> None:
    """What differs from the defaults and where from, a misspelt variable, a directory whose name is none."""
    user.plugin("greeter")
    user.write("plugins/Not-A-Name/main.py", "def run(): ...\n")
    user.write("hotplug.toml", "debounce = 0.2\n")
    found = checks(user, HOTPLUG_DEBOUCE="1")
    assert said(found, "setting") == [("ok", "debounce = 0.2 (from hotplug.toml)", "")]
    ((level, text, _),) = said(found, "variable")
    assert (level, "did you mean 'HOTPLUG_DEBOUNCE'" in text) == ("note", True)
    ((level, text, _),) = said(found, "plugin names")
    assert (level, "Not-A-Name" in text) == ("note", True)


def test_a_broken_setting_and_two_plugins_of_one_name_are_problems(user: User) -> None:
    """What ends every other command is one line among the others here."""
    user.write("hotplug.toml", 'plugin_dirs = ["plugins", "more"]\n')
    user.plugin("greeter")
    user.write("more/greeter/main.py", "def run(): ...\n")
    ((level, _, slug),) = said(checks(user, code=1), "plugins")
    assert (level, slug) == ("problem", "duplicate-plugin")
    user.write("hotplug.toml", "debouce = 1\n")
    ((level, _, slug),) = said(checks(user, code=1), "settings")
    assert (level, slug) == ("problem", "bad-setting")


def test_stale_bytecode_is_harmless(user: User) -> None:
    """A __pycache__ beside a plugin is noted, not blamed."""
    user.plugin("greeter").joinpath("__pycache__").mkdir()
    assert ("note", "__pycache__ in greeter: harmless, plugins are compiled from their sources", "") in said(
        checks(user), "bytecode"
    )


def test_a_worker_of_another_version_is_a_problem() -> None:
    """After an upgrade, the worker that still runs the old code is named, with how to change that."""
    assert worker_version("blue", "1.0", "1.0").level == "ok"
    finding = worker_version("blue", "1.0", "1.1")
    assert (finding.level, finding.slug) == ("problem", "worker-differs")
    assert "hotplug stop --worker blue" in finding.remedy


@pytest.mark.skipif(os.name != "posix", reason="workers listen at unix sockets")
def test_a_worker_that_runs_is_asked() -> None:
    """The line names it and its version."""
    with tempfile.TemporaryDirectory(prefix="hp-") as here:
        user = User(Path(here))
        assert said(checks(user), "workers") == [("ok", "none runs", "")]
        user.plugin("greeter")
        with serving(user):
            assert said(checks(user), "workers") == [("ok", f"worker runs, version {__version__}", "")]
            assert user.types("stop").code == 0
