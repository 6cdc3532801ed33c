"""`hotplug check`: would this version load? In a child process, changing nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.terminal import GREET, HOTPLUG, User, wait_for
from tests.reloader.workshop import eventually
from tests.testing.watched import is_alive

posix = pytest.mark.skipif(os.name != "posix", reason="signals and shells of POSIX")


def test_every_enabled_plugin_is_checked(user: User) -> None:
    """One line each; a disabled plugin is not loaded unless it is named."""
    user.plugin("one")
    user.plugin("two")
    user.plugin("off", manifest={"enabled": False})
    done = user.types("check")
    assert done.code == 0
    assert [line.split(":")[0] for line in done.out.splitlines()] == ["off", "one", "two"]
    assert "version 1.0 loads" in done.out
    named = user.types("check", "off")
    assert (named.code, "[disabled]" in named.err) == (1, True)


def test_a_fault_is_shown_and_the_others_are_still_checked(user: User) -> None:
    """Exit code 1; the sound plugin is reported too."""
    user.plugin("bad", "def run(:\n")
    user.plugin("good")
    bad, good = (done := user.types("check", "--json")).lines
    assert done.code == 1
    assert (bad["plugin"], bad["ok"], bad["slug"]) == ("bad", False, "syntax-error")
    assert f"{Path('plugins/bad/main.py')}:1" in bad["text"]
    assert (good["plugin"], good["ok"], good["version"], good["slug"]) == ("good", True, "1.0", "")


def test_a_plugin_that_ends_or_hangs_its_process_hurts_only_the_child(user: User) -> None:
    """An os._exit is reported with its code, an endless import after load_timeout."""
    user.plugin("dies", "import os\nos._exit(7)\n")
    user.plugin("hangs", "import threading\nthreading.Event().wait()\n")
    dies, hangs = (done := user.types("check", "--json", HOTPLUG_LOAD_TIMEOUT="0.3")).lines
    assert done.code == 1
    assert dies["slug"] == "process-ended"
    assert "exit code 7" in dies["text"]
    assert hangs["slug"] == "load-timeout"


def test_a_version_elsewhere_is_checked_before_it_is_put_in_place(user: User) -> None:
    """--from DIR loads what lies there under the plugin's name; the version in place is untouched."""
    before = (user.plugin("greeter") / "main.py").read_bytes()
    user.write("new/main.py", GREET)
    user.write("new/plugin.json", {"name": "greeter", "version": "2.0"})
    done = user.types("check", "greeter", "--from", "new")
    assert (done.code, "version 2.0 loads" in done.out) == (0, True)
    user.write("new/main.py", "import no_such_package_anywhere\n")
    done = user.types("check", "greeter", "--from", "new")
    assert (done.code, "[missing-module]" in done.err) == (1, True)
    assert (user.here / "plugins/greeter/main.py").read_bytes() == before
    assert user.types("check", "--from", "new").code == 4


def test_what_a_plugin_prints_does_not_break_the_report(user: User) -> None:
    """A plugin that prints JSON at import is still reported by us alone."""
    user.plugin("loud", "print('{\"ok\": false}', flush=True)\n" + GREET)
    (told,) = user.types("check", "--json").lines
    assert told["ok"] is True


def test_nothing_is_started(user: User, tmp_path: Path) -> None:
    """on_load is not called: a check must not start anybody's bot."""
    mark = tmp_path / "started"
    user.plugin("bot", f"import pathlib\ndef on_load():\n    pathlib.Path({str(mark)!r}).touch()\n" + GREET)
    assert user.types("check").code == 0
    assert not mark.exists()


def test_no_plugins_is_5(user: User) -> None:
    """A selection that can never match is told apart from a good result."""
    assert user.types("check").code == 5
    assert user.types("check", "--json").json["exit_code"] == 5


def test_a_key_that_nobody_heeds_is_pointed_out(user: User) -> None:
    """A misspelt key, and a bound that bounds nothing: the plugin loads, and the author is told."""
    user.plugin("typo", manifest={"verison": "1.0", "entry": "main.run"})
    user.plugin("bounds", manifest={"parameters": {"name": {"maximum": 3}}})
    done = user.types("check")
    assert done.code == 0
    assert "unknown key 'verison'; did you mean 'version'?" in done.err
    assert "unknown key 'entry'; did you mean 'entry_point'?" in done.err
    assert "parameter 'name': 'maximum' is not heeded" in done.err
    (typo,) = user.types("check", "typo", "--json").lines
    assert len(typo["warnings"]) == 2


def test_a_declaration_that_no_call_can_satisfy_is_refused(user: User) -> None:
    """A default of another type, a default that is no option, an empty list of options: told with the line."""
    for name, facts, said in (
        ("kind", {"type": "integer", "default": "x"}, "/parameters/name/default"),
        ("other", {"options": ["a"], "default": "b"}, "/parameters/name/default"),
        ("none", {"options": []}, "/parameters/name/options"),
    ):
        user.plugin(name, manifest={"parameters": {"name": facts}})
        done = user.types("check", name)
        assert (done.code, said in done.err, "[bad-manifest]" in done.err) == (1, True, True), done


def test_a_directory_whose_name_forbids_it_to_be_a_plugin_is_named(user: User) -> None:
    """It is left out with a line that says why, instead of vanishing."""
    user.plugin("good")
    user.plugin("bad-name")
    for command in ("check", "list"):
        done = user.types(command)
        assert done.code == 0
        assert "bad-name is left out" in done.err
        assert "[invalid-name]" in done.err


def test_no_manifest_forges_a_line_of_the_report(user: User) -> None:
    """Line breaks and escapes in free text are shown, not obeyed."""
    user.plugin("forger", manifest={"version": "1\nhello: version 9 loads\x1b[31m"})
    for command in ("check", "list"):
        done = user.types(command)
        assert not [line for line in done.out.splitlines() if line.startswith("hello")], done.out
        assert "\x1b" not in done.out


def test_bytes_on_stderr_that_are_no_text_stop_nothing(user: User) -> None:
    """A plugin that writes binary to stderr and dies is told of, and so are the plugins after it."""
    user.plugin("binary", "import os\nos.write(2, b'\\xff\\xfe dying \\x1b[31m')\nos._exit(3)\n")
    user.plugin("good")
    done = user.types("check")
    assert done.code == 1
    assert "exit code 3" in done.err
    assert "[process-ended]" in done.err
    assert "\x1b" not in done.err
    assert "good: version 1.0 loads" in done.out


@posix
def test_a_plugin_that_starts_a_process_at_import_is_not_called_a_timeout(user: User, tmp_path: Path) -> None:
    """The answer counts, not the end of whoever inherited the pipes; and nothing is left running."""
    number = tmp_path / "number"
    starts = f"import pathlib, subprocess\np = subprocess.Popen(['sleep', '60'])\npathlib.Path({str(number)!r})"
    user.plugin("starter", f"{starts}.write_text(str(p.pid))\n{GREET}")
    done = user.types("check")
    assert (done.code, "version 1.0 loads" in done.out) == (0, True), done
    eventually(lambda: not is_alive(int(number.read_text())), "the end of the plugin's process")


@posix
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_check_that_is_ended_takes_its_child_along(user: User, tmp_path: Path, number: int) -> None:
    """A closed terminal, a kill, Ctrl-C, even SIGKILL: no child stays behind."""
    hangs = tmp_path / "hangs"
    user.plugin(
        "hangs",
        f"import os, pathlib, time\npathlib.Path({str(hangs)!r}).write_text(str(os.getpid()))\ntime.sleep(60)\n",
    )
    with user.starts("check") as checking:
        wait_for(hangs)
        eventually(lambda: hangs.read_text() != "", "the number of the child")
        assert checking.end(number) == (-signal.SIGKILL if number == signal.SIGKILL else 2)
        eventually(lambda: not is_alive(int(hangs.read_text())), "the end of the child")


@posix
def test_a_reader_that_goes_away_does_not_make_a_broken_plugin_good(user: User) -> None:
    """`hotplug check | head -0` under pipefail still exits with 1."""
    user.plugin("bad", "def run(:\n")
    user.plugin("good")
    for options in ("", "--json"):
        line = f'set -o pipefail; "{HOTPLUG[0]}" -m pytest_hotplug check {options} 2>&1 | head -0'
        done = subprocess.run(
            ["bash", "-c", line], cwd=user.here, env=user.environment(), capture_output=True, text=True, timeout=60
        )
        assert (done.returncode, done.stdout, done.stderr) == (1, "", "")


def test_a_disabled_plugin_is_said_to_be_left_out(user: User) -> None:
    """Not checked is not the same as good; a project with nothing but disabled plugins is not without plugins."""
    user.plugin("off", manifest={"version": "3", "enabled": False})
    done = user.types("check")
    assert (done.code, done.out, done.err) == (0, "off: disabled, not checked\n", "")
    user.plugin("on")
    off, on = user.types("check", "--json").lines
    assert (off["plugin"], off["ok"], off["skipped"]) == ("off", None, "disabled")
    assert (on["plugin"], on["ok"], on["skipped"]) == ("on", True, None)


def test_a_warning_says_whose_it_is(user: User) -> None:
    """With many plugins, the line alone tells whom it concerns."""
    user.plugin("typo", manifest={"verison": "1.0"})
    done = user.types("check")
    assert done.err.startswith("typo: warning: ")


def test_a_version_may_lie_anywhere(user: User, tmp_path: Path) -> None:
    """--from takes a directory outside of the project, and a path with letters of any alphabet."""
    user.plugin("greeter")
    new = tmp_path / "weit weg" / "größer"
    new.mkdir(parents=True)
    (new / "main.py").write_text(GREET)
    done = user.types("check", "greeter", "--from", str(new))
    assert (done.code, "greeter: version 0 loads" in done.out) == (0, True), done


def test_a_module_beside_the_project_is_not_taken_for_a_standard_one(user: User) -> None:
    """A json.py or select.py in the working directory does not break the child that tries plugins."""
    user.write("select.py", "raise SystemExit('not this one')\n")
    user.write("json.py", "raise SystemExit('nor this one')\n")
    user.plugin("greeter")
    user.write("hotplug.toml", "pythonpath = []\n")
    code = "import sys; sys.path[:] = [p for p in sys.path if p]; from pytest_hotplug.cli import main; "
    line = [sys.executable, "-P", "-c", f"{code}raise SystemExit(main(['check']))"]
    done = subprocess.run(line, cwd=user.here, env=user.environment(), capture_output=True, text=True, timeout=60)
    assert (done.returncode, "greeter: version 1.0 loads" in done.stdout) == (0, True), done
