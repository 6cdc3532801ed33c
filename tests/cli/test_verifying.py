"""`hotplug verify`: whether plugins are safe to hot-reload, asked without pytest."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.cli.terminal import User, in_a_terminal, wait_for
from tests.cli.test_digesting import git, git_only
from tests.reloader.workshop import eventually
from tests.testing.watched import is_alive

LEAVES = "import os\n\n\ndef run():\n    os.environ['LEFT'] = '1'\n"
PROBED: dict[str, Any] = {"hotplug": {"verify": {"probe": {}}}}
posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals and terminals")


@pytest.fixture
def user(user: User, monkeypatch: pytest.MonkeyPatch) -> User:
    """Whoever runs these tests may be a job of GitHub's; the user is none."""
    for name in [name for name in os.environ if name.startswith("GITHUB_")]:
        monkeypatch.delenv(name)
    return user


def test_what_is_found_is_told_and_reported(user: User, tmp_path: Path) -> None:
    """--json is a report; with --strict a plugin that nobody uses fails too; a job of GitHub's is told; exit code 1."""
    user.plugin("leaves", LEAVES, PROBED)
    user.plugin("unused")
    summary = tmp_path / "summary"
    done = user.types(
        "verify", "--level", "fast", "--strict", "--report", "out/r.json", "--report", "out/r.sarif", "--json",
        GITHUB_ACTIONS="true", GITHUB_STEP_SUMMARY=str(summary),
    )  # fmt: skip
    assert done.code == 1
    assert done.json["source"] == "disk"
    leaves, unused = done.json["plugins"]
    (failed,) = [check for check in leaves["checks"] if check["outcome"] == "failed"]
    assert failed["id"] == "environ_unchanged"
    assert (failed["findings"][0]["path"], failed["findings"][0]["line"]) == ("plugins/leaves/main.py", 5)
    assert "passed" not in {check["outcome"] for check in unused["checks"]}
    (reason,) = {check["reason"] for check in unused["checks"] if check["outcome"] == "failed"}
    assert "name arguments and an answer in hotplug.verify.probe of its manifest" in reason
    report = json.loads((user.here / "out/r.json").read_text())
    assert report["plugins"] == done.json["plugins"]
    assert (user.here / "out/r.sarif").exists()
    assert "::error file=plugins/leaves/main.py,line=5" in done.err
    assert "environ_unchanged" in summary.read_text()


@git_only
def test_an_upgrade_from_what_is_deployed_is_proved_or_refuted(user: User) -> None:
    """--ref adds its checks, --ref-digest makes sure of it, --since leaves out what nothing concerns."""
    user.plugin("old", "def run(name):\n    return 1\n", PROBED)
    git(user, "init", "-q")
    git(user, "add", ".")
    git(user, "commit", "-qm", "deployed")
    done = user.types("verify", "--since", "HEAD", "--ref", "HEAD")
    assert (done.code, done.out) == (0, "not verified, unchanged since HEAD: old\nno plugin was verified\n"), done
    user.write("plugins/old/main.py", "def run():\n    return 1\n")
    done = user.types("verify", "--level", "fast", "--ref", "HEAD", "--json")
    outcomes = {check["id"]: check["outcome"] for check in done.json["plugins"][0]["checks"]}
    assert done.code == 1
    assert [outcomes[check] for check in ("version_bumped", "interface_compatible")] == ["failed", "failed"]
    for arguments in (("--ref", ""), ("--ref", "nowhere"), ("--ref-digest", "old=1234567")):
        done = user.types("verify", *arguments)
        assert (done.code, "[unknown-ref]" in done.err) == (4, True), done
    done = user.types("verify", "--ref", "HEAD", "--ref-digest", "old=1234567")
    assert (done.code, "[not-deployed]" in done.err) == (4, True), done


@posix
def test_a_person_sees_the_steps_and_then_what_was_found(user: User) -> None:
    """On a terminal a bar shows where it is; in the end it is gone, and a clean plugin is one line."""
    user.plugin("greeter", manifest={"hotplug": {"verify": {"probe": {"expect": {"text": "hello world"}}}}})
    shown = in_a_terminal(user, "verify", "--level", "fast", columns=120)
    assert "1 of 1: greeter, cycle: reload" in shown
    assert re.fullmatch(r"1 plugin: \d+ passed,.* 0 exceptions in force", shown.rstrip().splitlines()[-1])


def test_only_the_named_are_verified(user: User) -> None:
    """Text for people: what can't be loaded is told once, with every promise that is not kept."""
    user.plugin("broken", "def run(:\n")
    user.plugin("greeter")
    broken = user.types("verify", "broken", "--level", "fast")
    assert broken.code == 1
    assert broken.out.count("SyntaxError") == 1
    assert "[no_leaked_threads]" in broken.out
    assert "1 plugin: " in broken.out


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("nobody",), 4, "[unknown-plugin]"),
        (("greeter", "--report", "r.xml"), 4, "[unknown-report]"),
        (("--level", "slow"), 4, "[usage]"),
    ],
)
def test_a_mistake_is_told_before_anything_is_played(
    user: User, arguments: tuple[str, ...], code: int, said: str
) -> None:
    """Exit code 4, with the slug."""
    user.plugin("greeter", "raise SystemExit('nobody must import this')\n")
    done = user.types("verify", *arguments)
    assert (done.code, said in done.err) == (code, True), done


def test_a_project_without_plugins_is_never_green(user: User) -> None:
    """Nothing to verify is exit code 5; a report that can't be written is 1."""
    assert user.types("verify").code == 5
    user.plugin("off", manifest={"enabled": False})
    user.write("out", "a file")
    done = user.types("verify", "--report", "out/r.json")
    assert (done.code, "[cannot-write]" in done.err) == (1, True), done
    done = user.types("verify")
    assert (done.code, done.out) == (0, f"1 plugin: {checks()} skipped, 0 exceptions in force\n")


def checks() -> int:
    from pytest_hotplug.reloader.settings import Settings
    from pytest_hotplug.safety.runner import Subjects, chosen

    return len(chosen(Subjects(Settings(), Path(), ()), "full"))


@posix
def test_ctrl_c_ends_it_and_leaves_no_child(user: User, tmp_path: Path) -> None:
    """Exit code 2; the process that played, and its copies, are gone."""
    started = tmp_path / "started"
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    user.plugin(
        "hangs",
        f"import os, pathlib, time\npathlib.Path({str(started)!r}).write_text(f'{{os.getpid()}}\\n')\ntime.sleep(60)\n",
    )
    with user.starts("verify", TMPDIR=str(temporary)) as verifying:
        wait_for(started)
        eventually(lambda: started.read_text().endswith("\n"), "the number of the child")
        assert verifying.end(signal.SIGINT) == 2
    eventually(lambda: not is_alive(int(started.read_text())), "the end of the child")
    assert list(temporary.iterdir()) == []
