"""`hotplug completion`: scripts for three shells, and the words that they ask for."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from tests.cli.terminal import User


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_for_each_shell(user: User, shell: str) -> None:
    """It names our command and variable, and the shell itself (where it is installed) finds no fault in it."""
    done = user.types("completion", shell)
    assert done.code == 0
    assert "_HOTPLUG_COMPLETE" in done.out
    if shutil.which(shell):
        assert subprocess.run([shell, "-n"], input=done.out, text=True, check=False).returncode == 0


def complete(user: User, words: str, word: int) -> list[str]:
    """Return what bash would be offered for the word at this position."""
    done = user.types(_HOTPLUG_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=str(word))
    return [line.partition(",")[2] for line in done.out.split()]


def test_commands_and_plugins_are_completed(user: User) -> None:
    """`hotplug st<TAB>` offers commands, `hotplug status gr<TAB>` plugins; broken settings offer nothing."""
    user.plugin("greeter")
    user.plugin("ticker")
    assert complete(user, "hotplug st", 1) == ["start", "status", "stop"]
    for command in ("status", "deploy", "digest", "enable", "history", "remove", "rollback", "verify", "wait", "why"):
        assert complete(user, f"hotplug {command} gr", 2) == ["greeter"]
    user.write("hotplug.toml", "broken")
    assert complete(user, "hotplug status gr", 2) == []


def test_an_unknown_shell_is_a_usage_error(user: User) -> None:
    """It lists the shells that we know."""
    done = user.types("completion", "tcsh")
    assert done.code == 4
    assert all(shell in done.err for shell in ("bash", "zsh", "fish"))


def test_short_names_are_completed_as_well(user: User) -> None:
    """`hotplug ru<TAB>` and `li<TAB>` offer what everybody types."""
    assert complete(user, "hotplug ru", 1) == ["run"]
    assert complete(user, "hotplug li", 1) == ["list", "list-plugins-hot"]
    assert complete(user, "hotplug dis", 1) == ["disable", "disable-hot-reload"]


def test_the_plugin_to_run_is_completed(user: User) -> None:
    """`run we<TAB>` offers plugins, behind --json too, and behind the name nothing that is no parameter."""
    user.plugin("weather")
    user.plugin("greeter")
    for line in ("run we", "test-plugin we", "run --json we"):
        assert complete(user, f"hotplug {line}", len(line.split())) == ["weather"], line
    assert complete(user, "hotplug run weather we", 3) == []
