"""`pytest --hotplug-verify` with `--hotplug-ref`: upgrades from what is deployed, as items."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


def git(root: Path, *words: str) -> str:
    identity = ("-c", "user.name=x", "-c", "user.email=x@y.invalid", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", "-C", root, *identity, *words], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def write_plugin(root: Path, name: str, answer: int, version: str = "1.0", **manifest: object) -> None:
    place = root / "plugins" / name
    place.mkdir(parents=True, exist_ok=True)
    (place / "main.py").write_text(f"def run():\n    return {answer}\n")
    verify = {"verify": {"probe": {"expect": answer}}}
    (place / "plugin.json").write_text(json.dumps({"name": name, "version": version, "hotplug": verify, **manifest}))


def run_pytest(root: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--hotplug-verify", *arguments]
    env = {**os.environ, "COLUMNS": "200", **variables}
    return subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120, check=False, env=env)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A repository whose last commit has the plugin `greeter` in version 1.0."""
    write_plugin(tmp_path, "greeter", 1)
    git(tmp_path, "init", "-q", "-b", "main")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "1.0")
    return tmp_path


def test_upgrades_are_items_when_it_is_known_what_is_deployed(project: Path) -> None:
    """They fail, are skipped with a reason, and are told by name like all others; the work tree stays as it is."""
    write_plugin(project, "greeter", 2)
    write_plugin(project, "newcomer", 1)
    before = git(project, "status", "--porcelain")
    chosen = "upgrade or half_deployed or interface or version or migrates"
    done = run_pytest(project, "--hotplug-ref=HEAD", "-rs", "-k", chosen)
    assert done.returncode == 1
    assert "its version is '1.0' as at HEAD, and other content: main.py" in done.stdout
    assert "greeter: Other content has another version [version_bumped]" in done.stdout
    assert "it is new: HEAD does not have it" in done.stdout
    assert "1 failed, 3 passed, 6 skipped" in done.stdout
    assert git(project, "status", "--porcelain") == before


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--hotplug-ref=origin/main"], "try: git fetch --depth=1 origin main [unknown-ref]"),
        (["--hotplug-ref="], "the ref is empty"),
        (["--hotplug-ref=HEAD", "--hotplug-ref-digest=greeter=0123456"], "and 0123456 is deployed"),
        (["--hotplug-ref-digest=greeter=0123456"], "so it must be given [unknown-ref]"),
        (["--hotplug-since=v9"], "git fetch --depth=1 origin v9 [unknown-ref]"),
    ],
    ids=["unknown", "empty", "digest", "alone", "since"],
)
def test_what_is_not_there_ends_the_run_before_any_test(project: Path, options: list[str], said: str) -> None:
    """With exit code 4 and what to do: a gate is never green because nobody found what it compares with."""
    done = run_pytest(project, *options)
    assert done.returncode == 4
    assert said in done.stderr


def test_only_what_changed_is_verified_and_the_rest_is_listed(project: Path) -> None:
    """Together with the selection of tests, whose map is none of its business; nothing changed is no failure."""
    write_plugin(project, "other", 1)
    (project / "plugins" / "other" / "test_other.py").write_text("def test_it():\n    pass\n")
    git(project, "add", ".")
    git(project, "commit", "-qm", "other")
    one = ("--hotplug-since=HEAD", "-k", "no_leaked_threads or test_it")
    done = run_pytest(project, *one)
    assert done.returncode == 0
    assert "hotplug: no plugin to verify, nothing concerns one since HEAD: greeter, other" in done.stdout
    assert "1 passed" in done.stdout  # the test, which no map knows yet
    write_plugin(project, "greeter", 2)
    for _ in range(2):  # what was verified once is verified again: it is no test that a map knows
        done = run_pytest(project, *one)
        assert done.returncode == 0
        assert "hotplug: not verified, unchanged since HEAD: other" in done.stdout
        assert "1 passed" in done.stdout


def test_nothing_to_verify_is_no_failure_where_there_are_no_tests(project: Path) -> None:
    """Exit code 0 with a line, not 5."""
    done = run_pytest(project, "--hotplug-since=HEAD", "-m", "hotplug_verify")
    assert done.returncode == 0
    assert "nothing concerns one since HEAD: greeter" in done.stdout


def test_without_git_it_says_so(project: Path) -> None:
    """Exit code 4."""
    done = run_pytest(project, "--hotplug-ref=HEAD", PATH=str(project))
    assert done.returncode == 4
    assert "git is not installed" in done.stderr


def test_strictly_what_is_missing_there_must_be_new(project: Path) -> None:
    """A revision without a plugin that was there before is not what is deployed: nothing is proved by it."""
    git(project, "rm", "-qr", "plugins/greeter")
    git(project, "commit", "-qm", "gone")
    write_plugin(project, "greeter", 1)
    write_plugin(project, "newcomer", 1)
    missing = run_pytest(project, "--hotplug-ref=HEAD", "--hotplug-strict", "-rs", "-k", "version_bumped")
    assert missing.returncode == 1
    assert "HEAD does not have it, and it was there before: name what is deployed" in missing.stdout
    assert "1 failed, 1 skipped" in missing.stdout
