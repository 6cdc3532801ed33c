"""`hotplug test-plugin` (`run`): execute an entry from the shell."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.cli.terminal import User, wait_for

posix = pytest.mark.skipif(os.name != "posix", reason="elsewhere the plugin runs in the command's own process")

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


@pytest.mark.parametrize(
    "raises",
    [
        "raise GeneratorExit",
        "raise asyncio.CancelledError",
        "raise Own('mine')",
        "raise BaseExceptionGroup('some', [Own('mine')])",
    ],
)
@pytest.mark.parametrize("kind", ["def", "async def"])
def test_whatever_an_entry_raises_is_told_to_its_author(user: User, raises: str, kind: str) -> None:
    """Not only an Exception: no traceback of ours, and one JSON object for programs."""
    user.plugin("bad", f"import asyncio\nclass Own(BaseException): ...\n{kind} run():\n    {raises}\n")
    done = user.types("run", "bad")
    assert (done.code, done.out) == (1, "")
    if (kind, raises) != ("async def", "raise asyncio.CancelledError"):  # a cancelled future has lost its traceback
        assert f"{Path('plugins/bad/main.py')}:4" in done.err
    assert "[execution-error]" in done.err
    assert "pytest_hotplug/" not in done.err
    told = user.types("run", "bad", "--json").json
    assert (told["exit_code"], "[execution-error]" in told["error"]) == (1, True)


def test_a_keyboard_interrupt_of_the_entry_is_not_mine(user: User) -> None:
    """Nobody pressed a key: it is told as what the entry raised."""
    user.plugin("bad", "def run():\n    raise KeyboardInterrupt\n")
    done = user.types("run", "bad")
    assert (done.code, "[execution-error]" in done.err) == (1, True), done


@pytest.mark.parametrize(
    ("made", "shown"),
    [
        ("Odd()", "<Odd: its repr raised ZeroDivisionError>"),
        ("[{Odd(): 1}]", [{"<Odd: its repr raised ZeroDivisionError>": 1}]),
        ("10 ** 5000", hex(10**5000)),
        ("{1: 'a', '1': 'b'}", {"1": "b", "1 (int)": "a"}),
        ("{True: 'a', 'True': 'b', 'True (bool)': 'c'}", {"True": "b", "True (bool)": "c", "True (bool) (bool)": "a"}),
        ("'\\ud800'", "\ud800"),
        ("Endless({'a': 1})", "<Endless: its repr raised ZeroDivisionError>"),
    ],
)  # fmt: skip
def test_a_result_that_resists_does_not_undo_a_good_execution(user: User, made: str, shown: Any) -> None:
    """An object that can't be shown, a number that is too long, keys that collide, half a character."""
    odd = "class Odd:\n    def __repr__(self): 1 / 0\n"
    endless = "class Endless(dict):\n    def __repr__(self): 1 / 0\n    def items(self): 1 / 0\n"
    user.plugin("odd", f"{odd}{endless}def run():\n    return {made}\n")
    plain, wrapped = user.types("run", "odd"), user.types("run", "odd", "--json")
    assert (plain.code, wrapped.code) == (0, 0), (plain, wrapped)
    assert json.loads(plain.out) == wrapped.json["result"] == shown


def test_a_result_that_is_nested_too_deep_is_cut(user: User) -> None:
    """A list in a list, 100,000 times: the output still parses."""
    user.plugin("deep", "def run():\n    a = []\n    for _ in range(100_000):\n        a = [a]\n    return a\n")
    done = user.types("run", "deep")
    assert done.code == 0, done
    found = json.loads(done.out)
    while isinstance(found, list):
        (found,) = found
    assert found == "..."


def test_brackets_without_end_are_text(echo: User) -> None:
    """What JSON can't read, for whatever reason, is a word like any other."""
    brackets = "[" * 50_000
    done = echo.types("run", "echo", "--v", brackets)
    assert done.code == 0, done.err[-500:]
    assert json.loads(done.out)["v"] == brackets


def test_json_may_stand_before_the_name(echo: User) -> None:
    """As with every other command, options may come first."""
    told = echo.types("run", "--json", "echo", "--text", "x").json
    assert told["result"]["text"] == "x"
    echo.plugin("own", ECHO, {"parameters": {"json": {"type": "boolean"}}})
    assert echo.types("run", "--json", "own", "--json").json["result"] == {"json": True}


def test_nothing_below_python_writes_into_the_result(user: User) -> None:
    """Neither what a plugin's subprocesses print nor sys.__stdout__ lands before the JSON."""
    user.plugin(
        "loud",
        "import os, subprocess, sys\ndef run():\n    subprocess.run([sys.executable, '-c', 'print(1)'])\n"
        "    print('two', file=sys.__stdout__)\n    os.write(1, b'three')\n    return 4\n",
    )
    done = user.types("run", "loud")
    assert (done.code, done.out) == (0, "4\n")
    assert all(word in done.err for word in ("1", "two", "three"))


@posix
@pytest.mark.parametrize("how", ["os._exit(0)", "os.kill(os.getpid(), 9)", "__import__('ctypes').CDLL(None)._exit(0)"])
@pytest.mark.parametrize("where", ["import", "entry"])
def test_a_plugin_that_ends_the_process_is_no_success(user: User, how: str, where: str) -> None:
    """os._exit(0), at import or in the entry, is told as what it is, for people and for programs."""
    user.plugin("ends", f"import os\n{how if where == 'import' else ''}\ndef run():\n    {how}\n")
    done = user.types("run", "ends")
    assert (done.code, done.out) == (1, "")
    assert "hotplug: ends: the plugin ended its process (" in done.err
    assert "[process-ended]" in done.err
    told = user.types("run", "ends", "--json").json
    assert (told["exit_code"], "[process-ended]" in told["error"]) == (1, True)


@posix
def test_work_that_outlives_the_entry_is_waited_for_after_the_result(user: User, tmp_path: Path) -> None:
    """A thread that is no daemon ends in peace, and handlers of atexit run; the result is there before."""
    goes, done = tmp_path / "goes", tmp_path / "done"
    user.plugin(
        "works",
        "import pathlib, threading, time\ndef late():\n"
        f"    while not pathlib.Path({str(goes)!r}).exists():\n        time.sleep(0.01)\n"
        f"    pathlib.Path({str(done)!r}).touch()\n"
        "def run():\n    threading.Thread(target=late).start()\n    return 'begun'\n",
        {"retire_timeout": 0.1},
    )
    with user.starts("run", "works", HOTPLUG_RETIRE_TIMEOUT="0.1") as running:
        assert running.line() == '"begun"'
        goes.touch()
        assert running.process.wait(60) == 0
    assert done.exists()


def test_no_manifest_writes_to_the_terminal(user: User) -> None:
    """Escapes in names and descriptions of parameters are shown, not obeyed; in JSON they are escaped."""
    user.plugin("forger", ECHO, {"parameters": {"a\x1b[2J": {"description": "b\x1b[31m\nc", "default": "\x9b1m"}}})
    for arguments in (
        ("run", "forger", "--help"),
        ("status", "forger"),
        ("run", "forger"),
        ("status", "forger", "--json"),
    ):
        done = user.types(*arguments)
        assert done.code == 0, done
        assert "a\\x1b[2J" in done.out or "a\\u001b[2J" in done.out
        assert not {"\x1b", "\x9b"} & set(done.out), done.out


def test_a_text_of_20_000_characters_is_cut(user: User) -> None:
    """The beginning and a note; programs get everything."""
    user.plugin("long", "def run():\n    raise ValueError('x' * 20_000)\n")
    done = user.types("run", "long")
    assert len(done.err) < 3000
    assert "more characters" in done.err
    assert "[execution-error]" in done.err
    assert "x" * 20_000 in user.types("run", "long", "--json").json["error"]
