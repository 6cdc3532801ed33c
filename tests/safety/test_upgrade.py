"""Upgrades from what is deployed: every bad one is caught by its check, and no good one by any."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest

from pytest_hotplug.reloader.discovery import find_plugins
from pytest_hotplug.reloader.errors import UnknownPlugin, UsageError
from pytest_hotplug.reloader.settings import Layout
from pytest_hotplug.safety.checks import ALL
from pytest_hotplug.safety.checks.half_deployed_states import in_time, states_of
from pytest_hotplug.safety.deployed import check_digests, deployed_at
from pytest_hotplug.safety.evidence import Attempts
from pytest_hotplug.safety.judging import Judged, judge
from pytest_hotplug.safety.runner import Subjects, play
from pytest_hotplug.safety.version_on_disk import version_of
from tests.safety.corpus_upgrade import BAD, GOOD, OLD, Release, Upgrade, from_ref, released, simple, subjects_of, write
from tests.safety.page import PAGE, failure_of, looks

_CASES = [(check, name) for check, upgrades in BAD.items() for name in upgrades]
_UPGRADES = [check for check in ALL if check.scenario == "upgrade"]


def git(root: Path, *words: str) -> str:
    identity = ("-c", "user.name=x", "-c", "user.email=x@y.invalid", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", "-C", root, *identity, *words], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def judged(subjects: Subjects, plugin: str = "subject") -> dict[str, Judged]:
    evidence = play(subjects, plugin, "upgrade")
    return {check.id: judge(check, evidence) for check in _UPGRADES}


@pytest.mark.parametrize(("check", "name"), _CASES, ids=[f"{check}-{name}" for check, name in _CASES])
def test_a_bad_upgrade_is_caught(check: str, name: str, tmp_path: Path) -> None:
    """Its own check fails, and says what to do."""
    found = judged(released(tmp_path, BAD[check][name]))[check]
    assert found.outcome == "failed", found
    assert found.findings[0].remedy
    if name == next(iter(BAD[check])):
        assert looks(failure_of(found)) in looks(PAGE.read_text(encoding="utf-8")), "python -m tests.safety.page"


@pytest.mark.parametrize("name", GOOD)
def test_a_good_upgrade_passes(name: str, tmp_path: Path) -> None:
    """What does not concern it is skipped; half of its files serving is a note where nobody deploys like that."""
    found = judged(released(tmp_path, GOOD[name]))
    wrong = {check: one for check, one in found.items() if one.outcome not in ("passed", "skipped", "note")}
    assert wrong == {}
    assert found["upgrade_from_ref"].outcome == "passed"
    assert [check for check, one in found.items() if one.outcome == "note"] in ([], ["half_deployed_states"])


def committed(root: Path, releases: dict[str, Release]) -> Subjects:
    """Commit plugins in a repository of their own."""
    for name, release in releases.items():
        write(root / "plugins" / name, release)
    git(root, "init", "-q", "-b", "main")
    git(root, "add", ".")
    git(root, "commit", "-qm", "deployed")
    return subjects_of(root)


def named(name: str, source: str, version: str = "1.0", **manifest: object) -> Release:
    return simple(source, version, **{"name": name, **manifest})


USES = "from plugins.helper.main import {function}\n\n\ndef run():\n    return {function}()\n"
OFFERS = "def {function}():\n    return 1\n\n\ndef run():\n    return 1\n"


def test_what_a_plugin_depends_on_is_deployed_and_upgraded_with_it(tmp_path: Path) -> None:
    """Both change together, as they are deployed; the work tree stays as it is."""
    subject, helper = tmp_path / "plugins/subject", tmp_path / "plugins/helper"
    before = {
        "subject": named("subject", USES.format(function="greet"), depends_on=["helper"]),
        "helper": named("helper", OFFERS.format(function="greet")),
    }
    subjects = committed(tmp_path, before)
    write(subject, named("subject", USES.format(function="hello"), "1.1", depends_on=["helper"]))
    write(helper, named("helper", OFFERS.format(function="hello"), "2.0"))
    status = git(tmp_path, "status", "--porcelain")
    found = judged(from_ref(subjects, "HEAD"))
    assert found["upgrade_from_ref"].outcome == "passed", found
    assert git(tmp_path, "status", "--porcelain") == status


def test_what_a_plugin_depends_on_may_not_break_it(tmp_path: Path) -> None:
    """The plugin itself is the same; what it uses is not."""
    before = {
        "subject": named("subject", USES.format(function="greet"), depends_on=["helper"]),
        "helper": named("helper", OFFERS.format(function="greet")),
    }
    subjects = committed(tmp_path, before)
    write(tmp_path / "plugins/helper", named("helper", OFFERS.format(function="hello"), "2.0"))
    found = judged(from_ref(subjects, "HEAD"))
    assert found["upgrade_from_ref"].outcome == "failed"
    assert "goes on serving: ImportError: cannot import name 'greet'" in found["upgrade_from_ref"].findings[0].message
    assert found["half_deployed_states"].reason == "nothing of it that counts changed since HEAD"
    assert found["version_bumped"].outcome == "passed"


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (None, OLD, "it is new: HEAD does not have it"),
        (simple("def run(:\n"), OLD, "the version at HEAD can't be served, so that nothing can be upgraded: "),
        (simple("def run():\n    return 2\n"), OLD, "the version at HEAD fails its own probe: AssertionError"),
        (simple("def run():\n    return 1\n", enabled=False), OLD, "the version at HEAD is disabled"),
        (OLD, simple("def run():\n    return 1\n", enabled=False), "the new version is disabled"),
    ],
    ids=["new", "broken", "failing", "disabled", "disabled now"],
)
def test_where_nothing_can_be_upgraded_it_says_why(
    old: Release | None, new: Release, reason: str, tmp_path: Path
) -> None:
    """A mended plugin is not held up by what was wrong with the deployed one."""
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "README").touch()
    subjects = committed(tmp_path, {"subject": old} if old else {})
    write(tmp_path / "plugins" / "subject", new)
    found = judged(from_ref(subjects, "HEAD"))["upgrade_from_ref"]
    assert found.outcome == "skipped", found
    assert found.reason.startswith(reason)


def test_plugin_dirs_may_lie_in_several_repositories(tmp_path: Path) -> None:
    """Each is asked for the revision; a link leads to where the plugin really lies, if git has that."""
    for place in ("one", "two"):
        write(tmp_path / place / "plugins" / place, named(place, "def run():\n    return 1\n"))
        git(tmp_path / place, "init", "-q")
        git(tmp_path / place, "add", ".")
        git(tmp_path / place, "commit", "-qm", "deployed")
        write(tmp_path / place / "plugins" / place, named(place, "def run():\n    return 2\n", "1.1"))
    (tmp_path / "one" / "plugins" / "linked").symlink_to(tmp_path / "two" / "plugins" / "two")
    layouts = tuple(Layout(tmp_path / place / "plugins", "plugins") for place in ("one", "two"))
    laid = deployed_at("HEAD", tmp_path, layouts, (), tmp_path).lay_down(layouts, tmp_path / "laid")
    found = {plugin.name: (plugin.path / "main.py").read_text() for plugin in find_plugins(laid).values()}
    assert found == dict.fromkeys(("one", "two"), "def run():\n    return 1\n")


def test_a_release_may_be_a_project_a_plugin_dir_or_one_plugin(tmp_path: Path) -> None:
    """Wherever it was unpacked, and whatever its directory is called there."""
    subjects = subjects_of(tmp_path)
    write(tmp_path / "plugins" / "subject", OLD)
    for place in ("project/plugins/subject", "dir/subject", "subject-1.0"):
        write(tmp_path / place, OLD)
        deployed = deployed_at(place.split("/")[0], tmp_path, subjects.layouts, (), tmp_path)
        (layout,) = deployed.lay_down(subjects.layouts, tmp_path / f"laid-{place[:3]}")
        assert (layout.path / "subject" / "main.py").read_text() == OLD.files["main.py"]


def test_what_is_not_deployed_is_a_usage_error(tmp_path: Path) -> None:
    """A directory without plugins, a ref that nobody has, another digest than others say."""
    subjects = committed(tmp_path, {"subject": OLD})
    (tmp_path / "empty").mkdir()
    for ref, said in (("empty", "holds none of the plugins: subject"), ("v9", "origin v9"), ("-x", "is an option")):
        with pytest.raises(UsageError, match=f"{said}.*unknown-ref"):
            from_ref(subjects, ref)
    deployed = from_ref(subjects, "HEAD").deployed
    assert deployed is not None
    (layout,) = deployed.lay_down(subjects.layouts, tmp_path / "laid")
    digest = hashlib.md5(b"").hexdigest()
    check_digests(deployed, [f"subject={_digest(layout)}"], subjects.layouts, (), "md5")
    for text, kind, said in (
        (f"subject={digest}", UsageError, "not-deployed"),
        ("subject", UsageError, "expected NAME=DIGEST"),
        (f"subjct={digest}", UnknownPlugin, "did you mean 'subject'"),
    ):
        with pytest.raises(kind, match=said):
            check_digests(deployed, [text], subjects.layouts, (), "md5")


def _digest(layout: Layout) -> str:
    return version_of(find_plugins([layout])["subject"]).digest


def test_without_griffe_interfaces_are_not_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is skipped, and says what to install."""
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "sitecustomize.py").write_text("import sys\nsys.modules['griffe'] = None\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "hidden"))
    found = judged(released(tmp_path, Upgrade(OLD, simple("def run():\n    return 1\n# more\n", "1.1"))))
    assert found["interface_compatible"].outcome == "skipped"
    assert found["interface_compatible"].lacks_tool
    assert "pip install 'pytest-hotplug[api]'" in found["interface_compatible"].reason


def test_all_states_of_a_few_files_are_tried_and_some_of_many() -> None:
    """The same in each run, none twice, none that is one of the versions."""
    assert len(states_of(["a", "b", "c", "d"])) == 14
    assert states_of(["a"]) == []
    for count in (5, 60, 1000):
        names = [f"{number:04}" for number in range(count)]
        states = states_of(names)
        assert frozenset(names[:1]) in states
        assert frozenset(names[-1:]) in states
        assert len(set(states)) == len(states) <= 150
        assert all(0 < len(state) < count for state in states)
        assert states == states_of(names)


def test_a_slow_plugin_has_fewer_states_tried() -> None:
    """All of a few files, whatever it takes; of many as long as there is time."""
    few, many = states_of(["a", "b", "c", "d"]), states_of([f"{number:04}" for number in range(60)])
    assert list(in_time(few, iter(range(0, 10_000, 60)).__next__)) == few
    assert 16 <= len(list(in_time(many, iter(range(0, 10_000, 60)).__next__))) < len(many)
    assert list(in_time(many, lambda: 0.0)) == many


def test_nothing_is_proved_where_nothing_was_tried() -> None:
    """An upgrade that was never played is an error, not a success."""
    assert judge(_UPGRADES[0], Attempts()).outcome == "error"
