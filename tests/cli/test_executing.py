"""`hotplug test-plugin` (`run`): execute an entry from the shell."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from tests.cli.terminal import User, wait_for

ECHO = "def run(**given):\n    return given\n"
TYPED = {
    "version": "1.0",
    "parameters": {
        "text": {"type": "string", "description": "kept as text"},
        "count": {"type": "integer", "default": 3, "description": "how often"},
        "mode": {"type": "string", "options": ["fast", "slow"], "default": "fast"},
    },
}


@pytest.fixture
def echo(user: User) -> User:
    """Give the user a plugin that answers with its arguments."""
    user.plugin("echo", ECHO, TYPED)
    return user


def test_values_are_read_as_json_where_they_parse(echo: User) -> None:
    """Numbers, lists, true and null arrive typed; anything else is text."""
    given = ("--count", "-7", "--items", '["a", 1]', "--ratio=0.5", "--flag", "--none", "null", "--word", "plain")
    done = echo.types("test-plugin", "echo", *given)
    assert done.code == 0, done.err
    assert json.loads(done.out) == {
        "count": -7, "items": ["a", 1], "ratio": 0.5, "flag": True, "none": None, "word": "plain", "mode": "fast",
    }  # fmt: skip


def test_a_string_parameter_stays_text(user: User) -> None:
    """What the manifest calls a string is never turned into a number."""
    given = {"one": "42", "two": "true", "three": "null", "four": "[1]", "five": "", "six": "a=b"}
    user.plugin("echo", ECHO, {"parameters": {name: {"type": "string"} for name in given}})
    written = [f"--{name}={value}" for name, value in given.items()]
    assert json.loads(user.types("run", "echo", *written).out) == given


def test_a_hyphen_in_a_key_is_an_underscore(echo: User) -> None:
    """--max-items reaches the parameter max_items."""
    assert json.loads(echo.types("run", "echo", "--max-items", "2").out)["max_items"] == 2


def test_json_wraps_the_result(echo: User) -> None:
    """--json gives one object on one line, with the result inside."""
    told = echo.types("run", "echo", "--text", "x", "--json").json
    assert (told["schema_version"], told["source"], told["plugin"]) == (1, "disk", "echo")
    assert told["result"] == {"text": "x", "count": 3, "mode": "fast"}


def test_help_of_a_plugin_lists_its_parameters(echo: User) -> None:
    """test-plugin NAME --help prints type, default, options and description, and executes nothing."""
    shown = echo.types("test-plugin", "echo", "--help").out
    assert "Parameters of echo 1.0:" in shown
    assert "--text" in shown
    assert "how often (integer; default 3)" in shown
    assert 'one of "fast", "slow"' in shown
    assert "Examples:" in echo.types("run", "--help").out


def test_wrong_arguments_are_usage_errors(echo: User) -> None:
    """An unfitting value, a missing name and a stray word exit with 4 and say what was expected."""
    echo.plugin("strict", "def run(name):\n    return name\n", {"parameters": {"name": {"required": True}}})
    for arguments, said in (
        (("echo", "--count", "many"), "parameter 'count' must be an integer, got str 'many'. [bad-parameter]"),
        (("echo", "--mode", "fats"), "must be one of 'fast', 'slow'"),
        (("echo", "stray"), "expected --key, got 'stray' [bad-argument]"),
        (("strict",), "parameter 'name' is required. [missing-parameter]"),
        (("strict", "--nme", "x"), "no parameter is named 'nme'; did you mean 'name'? [unknown-parameter]"),
        ((), "Missing argument 'NAME'."),
        (("ehco",), "did you mean 'echo'? [unknown-plugin]"),
        (("../echo",), "[invalid-name]"),
    ):
        done = echo.types("run", *arguments)
        assert (done.code, said in done.err, done.out) == (4, True, ""), (arguments, done)


def test_an_entry_that_raises_shows_the_plugins_own_line(user: User) -> None:
    """File, line and the line itself; no traceback of ours."""
    user.plugin("bad", "from helper import part\n\ndef run():\n    return part(0)\n")
    user.write("plugins/bad/helper.py", "def part(n):\n    return 1 / n\n")
    done = user.types("run", "bad")
    assert done.code == 1
    assert done.err.splitlines()[:3] == [
        "hotplug: bad: the entry raised.",
        f"  {Path('plugins/bad/helper.py')}:2  ZeroDivisionError: division by zero",
        "      return 1 / n",
    ]
    assert "[execution-error]" in done.err
    assert "Traceback" not in done.err
    assert "[execution-error]" in user.types("run", "bad", "--json").json["error"]


def test_an_entry_that_exits_does_not_choose_our_exit_code(user: User) -> None:
    """sys.exit(0) in a plugin is a failed execution, and said so."""
    user.plugin("bad", "import sys\ndef run():\n    sys.exit(0)\n")
    done = user.types("run", "bad")
    assert done.code == 1
    assert "SystemExit: 0" in done.err


def test_a_plugin_that_cannot_load_exits_with_1(user: User) -> None:
    """A syntax error is shown with file, line and remedy."""
    user.plugin("bad", "def run(:\n    pass\n")
    done = user.types("run", "bad")
    assert done.code == 1
    assert f"{Path('plugins/bad/main.py')}:1  SyntaxError" in done.err
    assert "[syntax-error]" in done.err


def test_a_disabled_plugin_is_refused(user: User) -> None:
    """It exits with 1 and says how to enable it."""
    user.plugin("off", manifest={"enabled": False})
    done = user.types("run", "off")
    assert done.code == 1
    assert '"enabled": true' in done.err


def test_what_a_plugin_prints_never_mixes_with_the_result(user: User) -> None:
    """stdout is the result alone, so that it can be piped."""
    user.plugin("loud", "print('importing')\ndef run():\n    print('working')\n    return {'tags': {1}}\n")
    done = user.types("run", "loud")
    assert json.loads(done.out) == {"tags": "{1}"}
    assert "working" in done.err


def test_an_async_entry_is_run_to_its_end(user: User) -> None:
    """No flag is needed for an `async def`."""
    user.plugin("later", "import asyncio\nasync def run(n=1):\n    await asyncio.sleep(0)\n    return n\n")
    assert user.types("run", "later", "--n", "5").out == "5\n"


def test_the_project_is_importable_for_its_plugins(user: User) -> None:
    """`pythonpath` (default: the project) is there for a plugin's imports, wherever I stand with -C."""
    user.write("shared.py", "WORD = 'shared'\n")
    user.plugin("user", "from shared import WORD\ndef run():\n    return WORD\n")
    assert user.types("-C", str(user.here), "run", "user").out == '"shared"\n'


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT to a process")
def test_ctrl_c_interrupts_with_2(user: User, tmp_path: Path) -> None:
    """Ctrl-C during an execution ends it: one line, no traceback, exit code 2."""
    started = tmp_path / "started"
    waits = f"    pathlib.Path({str(started)!r}).touch()\n    threading.Event().wait(60)\n"
    user.plugin("slow", f"import pathlib, threading\ndef run():\n{waits}")
    with user.starts("run", "slow") as running:
        wait_for(started)
        assert running.end(signal.SIGINT) == 2
        assert running.process.stderr is not None
        assert running.process.stderr.read().split() == ["hotplug:", "interrupted"]


def test_a_result_that_json_can_not_hold_is_still_json(user: User) -> None:
    """NaN, infinity, a list that holds itself, odd keys, objects: each is shown in a word, and the output parses."""
    user.plugin(
        "odd", "def run():\n    a = [float('nan'), float('inf'), {(1, 2): object}]\n    a.append(a)\n    return a\n"
    )
    for arguments in ((), ("--json",)):
        done = user.types("run", "odd", *arguments)
        assert done.code == 0, done
        told = json.loads(done.out, parse_constant=lambda word: 1 / 0)
        result = told["result"] if arguments else told
        assert result == ["nan", "inf", {"(1, 2)": "<class 'object'>"}, "..."]


def test_an_entry_that_exits_is_told_to_return(user: User) -> None:
    """It isn't called an exit at import."""
    user.plugin("leaves", "import sys\ndef run():\n    sys.exit(7)\n")
    done = user.types("run", "leaves")
    assert (done.code, "[execution-error]" in done.err, "Return instead" in done.err) == (1, True, True), done
