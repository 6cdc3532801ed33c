"""What all commands share: help with examples, -C, errors for programs, exit codes."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from pytest_hotplug import __version__
from pytest_hotplug.cli import listing, main
from pytest_hotplug.reloader.errors import HotplugError
from tests.cli.terminal import User

COMMANDS = (
    "affected", "check", "completion", "config", "demo", "deploy", "digest", "disable", "doctor", "enable", "events",
    "health", "history", "init", "list", "list-plugins-hot", "metrics", "reload", "remove", "rollback", "run",
    "schema", "start", "status", "stop", "verify", "wait", "watch", "why", "workers",
)  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """--help shows how it is typed."""
    assert main([command, "--help"]) == 0
    shown = capsys.readouterr().out
    assert "Usage: hotplug" in shown
    assert "Examples:" in shown
    assert "  hotplug " in shown or "hotplug completion" in shown


def test_without_a_command_the_help_is_shown(user: User) -> None:
    """`hotplug` alone is a question, not a fault."""
    done = user.types()
    assert (done.code, done.err) == (0, "")
    assert all(command in done.out for command in ("demo", "init", "list-plugins-hot", "test-plugin", "watch"))


def test_the_version_is_shown_without_an_installed_distribution(user: User) -> None:
    """--version works from a bare checkout too."""
    assert user.types("--version").out == f"hotplug, version {__version__}\n"


def test_an_unknown_command_brings_the_nearest(user: User) -> None:
    """A typo is a usage error that offers what I meant."""
    done = user.types("lst")
    assert done.code == 4
    assert done.err == "hotplug: no command is named 'lst'; did you mean 'list'? [unknown-command]\n"


@pytest.mark.parametrize(
    ("word", "meant"),
    [("resume", "enable"), ("pause", "disable"), ("ls", "list"), ("ps", "list"), ("rm", "remove"),
     ("delete", "remove"), ("logs", "events"), ("exec", "run"), ("Resume", "enable"), ("help", "--help")],
)  # fmt: skip
def test_a_word_of_other_tools_brings_the_command_that_does_it(
    word: str, meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A hint by meaning, no alias: nothing is done, and what is offered is there."""
    assert main([word]) == 4
    hint = f"hotplug: no command is named '{word}'; did you mean '{meant}'? [unknown-command]\n"
    assert capsys.readouterr() == ("", hint)
    assert main([meant] if meant.startswith("-") else [meant, "--help"]) == 0


@pytest.mark.parametrize(
    ("word", "offered"), [("remov", True), ("rmove", True), ("remvoe", True), ("reuse", False), ("restore", False)]
)
def test_what_takes_files_away_is_offered_for_hardly_another_word(
    word: str, offered: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who follows a wrong guess must lose nothing by it: `remove` is offered for a slip of the fingers alone."""
    assert main([word]) == 4
    assert ("did you mean 'remove'?" in capsys.readouterr().err) is offered


def test_another_directory_may_be_named_before_or_after_the_command(user: User) -> None:
    """-C DIR works in both places; a directory that isn't there is a usage error."""
    user.plugin("greeter")
    elsewhere = User(user.here.parent)
    for arguments in (("-C", "project", "list"), ("list", "-C", "project"), ("run", "greeter", "-C", "project")):
        assert elsewhere.types(*arguments).code == 0, arguments
    assert elsewhere.types("-C", "nowhere", "list").code == 4


def test_errors_are_json_for_programs(user: User) -> None:
    """With --json an error is an object on stdout, with the exit code inside; stderr stays empty."""
    for arguments in (("status", "nobody", "--json"), ("list", "--json", "--no-such-option"), ("lst", "--json")):
        done = user.types(*arguments)
        assert (done.code, done.err) == (4, "")
        assert (done.json["schema_version"], done.json["exit_code"]) == (1, 4)
        assert done.json["error"]


def test_our_own_fault_is_3(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Only then a traceback is shown, with the request to report it."""

    def breaks() -> None:
        raise RuntimeError("a bug of ours")

    monkeypatch.setattr(listing, "plugins_on_disk", breaks)
    assert main(["list"]) == 3
    shown = capsys.readouterr().err
    assert "Traceback" in shown
    assert "please report it with the lines above [internal]" in shown


def test_a_refusal_is_1_and_no_usage_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """What went wrong at the plugin is told apart from what I typed wrong."""

    def refuses() -> None:
        raise HotplugError("refused [watch-ended]")

    monkeypatch.setattr(listing, "plugins_on_disk", refuses)
    assert main(["list"]) == 1


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT to a process")
def test_ctrl_c_right_after_the_start_shows_no_traceback(user: User) -> None:
    """Whenever it comes once Python runs our code: exit code 2 and one line."""
    for moment in ("click", "msgspec", "pytest_hotplug.cli.run", "pytest_hotplug.cli.listing"):
        user.write(
            "interrupting.py",
            "import os, signal, sys\n"
            "class Interrupts:\n"
            "    def find_spec(self, name, path=None, target=None):\n"
            f"        if name == {moment!r}:\n"
            "            os.kill(os.getpid(), signal.SIGINT)\n"
            "sys.meta_path.insert(0, Interrupts())\n"
            "from pytest_hotplug.cli import main\n"
            "sys.argv[1:] = ['list']\n"
            "raise SystemExit(main())\n",
        )
        done = subprocess.run(
            [sys.executable, "interrupting.py"],
            cwd=user.here, env=user.environment(), capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert (done.returncode, done.stderr.strip()) == (2, "hotplug: interrupted"), moment
