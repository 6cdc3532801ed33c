"""One table of all commands: the text, the JSON and the exit code of a success, a refusal and a wrong usage.

With a worker that serves `greeter`, knows an older version of `older`, and was refused `broken`; and
without one. What a command does besides has tests of its own.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pytest_hotplug.cli import main
from tests.cli.terminal import GREET, User
from tests.cli.test_every_command import COMMANDS
from tests.testing.watched import delete
from tests.worker.serving import posted, serving

pytestmark = pytest.mark.skipif(os.name != "posix", reason="workers are commanded over unix sockets")
NO_WORKER = r"^hotplug: no worker answers at \.hotplug/run/worker\.sock; .* \[no-worker\]$"


@dataclass(frozen=True)
class Row:
    """What is typed, the exit code, what then stands in the text (stdout, then stderr), and what is typed before it."""

    typed: str
    code: int
    shown: str
    before: str = ""

    def __str__(self) -> str:
        return self.typed


WITH_A_WORKER = (
    Row("list", 0, r"^greeter +1\.0 +\d+ +\w{8} .* serving"),
    Row("list-plugins-hot", 0, r"^broken .* failed +plugins/broken/main\.py:1 +SyntaxError"),
    Row("list nobody", 4, r"argument \(nobody\) \[usage\]$"),
    Row("status greeter", 0, r"^state: +serving$"),
    Row("status broken", 0, r"^state: +failed$"),
    Row("status greter", 4, r"did you mean 'greeter'\? \[unknown-plugin\]$"),
    Row("workers", 0, r"^worker +\d+ .* serving +4"),
    Row("workers --worker nobody", 1, r"^hotplug: no worker named 'nobody' answers; running: worker \[no-worker\]$"),
    Row("run greeter --name Ada", 0, r'"text": "hello Ada"'),
    Row("test-plugin greeter --message Ada", 4, r"'message'; known: name \[unknown-parameter\]$"),
    Row("run broken", 1, r"plugins/broken/main\.py:1  SyntaxError[^[]*\[syntax-error\]"),
    Row("run greeter --no-such-option 1", 4, r"'no_such_option'; known: name \[unknown-parameter\]$"),
    Row("run greter", 4, r"did you mean 'greeter'\? \[unknown-plugin\]$"),
    Row("reload greeter", 0, r"^greeter: generation \d+ serves$"),
    Row("reload broken", 1, r"^hotplug: broken: not reloaded, nothing serves\.[^[]*\[syntax-error\]$"),
    Row("reload", 4, r"\[usage\]$"),
    Row("check greeter", 0, r"^greeter: version 1\.0 loads \(\w{12}\)$"),
    Row("check broken", 1, r"SyntaxError[^[]*\[syntax-error\]$"),
    Row("check greter", 4, r"did you mean 'greeter'\? \[unknown-plugin\]$"),
    Row("rollback older", 0, r"^older: version 1\.0 \(\w{12}\) serves", "rollback older --end"),
    Row("rollback older --end", 0, r"^older: version 2\.0 \(\w{12}\), which lies on disk, serves$", "rollback older"),
    Row("rollback greeter", 1, r"^hotplug: greeter: no older version is kept; what serves goes on \[nothing-kept\]$"),
    Row("rollback older --to 0123456", 4, r"'0123456' names no single kept version; kept: .* \[unknown-version\]$"),
    Row("rollback older --end --to 0123456", 4, r"exclude each other \[usage\]$"),
    Row("history older", 0, r"^20\d\d-.* loaded +2\.0 "),
    Row("history greter", 4, r"did you mean 'greeter'\? \[unknown-plugin\]$"),
    Row("digest greeter", 0, r"^[0-9a-f]{32}( +greeter)?$"),
    Row("digest greter", 4, r"did you mean 'greeter'\? \[unknown-plugin\]$"),
    Row("deploy moving --from good", 0, r"^moving: version 2\.0 (deployed|lies there already|is what)"),
    Row("deploy moving --from good --dry-run", 0, r"^moving: "),
    Row("deploy moving --from bad", 1, r"^hotplug: moving: not deployed, nothing changed\.[^[]*\[syntax-error\]$"),
    Row("deploy moving --from nowhere", 4, r"Directory 'nowhere' does not exist\. \[usage\]$"),
    Row("wait greeter", 0, r"^greeter: generation \d+ serves, version 1\.0 \(\w{12}\)$"),
    Row(
        "wait greeter --digest 0123456 --timeout 0.1",
        1,
        r"version 1\.0 \(\w{12}\) still serves, and not 0123456 \[wait-timeout\]$",
    ),
    Row("wait greeter --digest pear", 4, r"'pear' is no digest; .* \[usage\]$"),
    Row("health --live", 0, r"^live \(serving\)$"),
    Row("health --ready greeter", 0, r"^ready"),
    Row("health --ready greter", 4, r"did you mean 'greeter'\? \[unknown-plugin\]$"),
    Row("health --live greeter", 4, r"\[usage\]$"),
    Row("health --ready", 1, r"^not ready: nothing serves of broken$"),
    Row("health greeter", 0, r"^ok$"),
    Row("health", 1, r"^failed\n  broken: nothing serves$"),
    Row("health --live --ready", 4, r"\[usage\]$"),
    Row("why greeter", 0, r"^current\n"),
    Row("why broken", 0, r"^refused\n"),
    Row("why greter", 4, r"did you mean 'greeter'\? \[unknown-plugin\]$"),
    Row("events greeter --tail 1", 0, r"\[worker\] greeter loaded 1\.0 \w{12} \(asked by: "),
    Row("events --since soon", 4, r"'soon' is no duration; .* \[bad-duration\]$"),
    Row("metrics", 0, r'^hotplug_plugin_info\{digest="\w{32}",plugin="greeter",state="serving",version="1\.0"\} 1\.0$'),
    Row("metrics greeter", 4, r"\[usage\]$"),
    Row("disable moving --reason holiday --for 2h", 0, r"^moving: paused .*holiday"),
    Row("enable moving", 0, r"^hot reload is enabled$"),
    Row("disable --for soon", 4, r"\[bad-duration\]$"),
    Row("enable greter", 4, r"did you mean 'greeter'\? \[unknown-plugin\]$"),
    Row("config", 0, r"^plugin_dirs +plugins +default$"),
    Row("schema", 0, r'"\$schema"'),
    Row("completion bash", 0, r"^_hotplug_completion\(\)"),
    Row("completion csh", 4, r"\[usage\]$"),
    Row("init greeter", 4, r"\[already-exists\]$"),
    Row("init 9lives", 4, r"\[invalid-name\]$"),
    Row("verify greter", 4, r"did you mean 'greeter'\? \[unknown-plugin\]$"),
    Row("remove greeter", 4, r"--yes removes without asking \[usage\]$"),
    Row("stop --timeout soon", 4, r"\[usage\]$"),
    Row("start", 1, r"^hotplug: .*worker.* \[already-running\]$"),
    Row("demo nowhere", 4, r"\[usage\]$"),
)

WITHOUT_ONE = (
    Row("list", 0, r"^greeter +1\.0 "),
    Row("status greeter", 0, r"^version: +1\.0$"),
    Row("workers", 1, NO_WORKER),
    Row("run greeter --name Ada", 0, r'"text": "hello Ada"'),
    Row("run broken", 1, r"SyntaxError[^[]*\[syntax-error\]"),
    Row("reload greeter", 1, NO_WORKER),
    Row("reload moving --local", 0, r"^moving: "),
    Row("check broken", 1, r"SyntaxError[^[]*\[syntax-error\]$"),
    Row("rollback greeter", 1, NO_WORKER),
    Row("history greeter", 0, r"^greeter: nothing is recorded in \.hotplug$"),
    Row("deploy greeter --from good", 1, NO_WORKER),
    Row("remove greeter --yes", 1, NO_WORKER),
    Row("wait greeter", 1, NO_WORKER),
    Row("health", 1, NO_WORKER),
    Row("why greeter", 1, NO_WORKER),
    Row("why greeter --local", 0, r"^current\n"),
    Row("events", 1, NO_WORKER),
    Row("metrics", 1, NO_WORKER),
    Row("disable moving", 0, r"^moving: paused"),
    Row("enable moving", 0, r"^hot reload is enabled$"),
    Row("affected plugins/greeter/main.py", 1, r"holds no map yet; .* \[no-map\]$"),
    Row("stop", 1, NO_WORKER),
)


@pytest.fixture(scope="module")
def shop() -> Iterator[User]:
    """Give four plugins, one of them broken, and two directories to deploy from."""
    here = Path(tempfile.mkdtemp(prefix="hp-"))
    user = User(here)
    user.write("hotplug.toml", "")
    for name in ("greeter", "moving", "older"):
        user.plugin(name)
    user.plugin("broken", "def run(:\n")
    for directory, main_ in (("good", GREET.replace("hello", "goodbye")), ("bad", "def run(:\n")):
        user.write(f"{directory}/main.py", main_)
        user.write(f"{directory}/plugin.json", {"version": "2.0"})
    try:
        yield user
    finally:
        delete(here)


@pytest.fixture(scope="module")
def worker(shop: User) -> Iterator[User]:
    with serving(shop):
        shop.plugin("older", GREET.replace("hello", "goodbye"), {"version": "2.0"})
        assert posted(shop, "/plugins/older/reload").json()["outcome"] == "reloaded"
        yield shop


def typed(
    user: User, line: str, *, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> tuple[int, str]:
    """Run a command in this process, as it is typed where nothing is a terminal; return its code and what it said."""
    monkeypatch.chdir(user.here)
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    for name in {"COLUMNS", *(name for name in os.environ if name.startswith("HOTPLUG_"))}:
        monkeypatch.delenv(name, raising=False)
    capsys.readouterr()
    code = main(line.split())
    out, err = capsys.readouterr()
    return code, out + err


def objects(shown: str) -> list[dict[str, Any]]:
    """Return the one object, or the JSON lines, that a command printed."""
    try:
        return [json.loads(shown)]
    except json.JSONDecodeError:
        return [json.loads(line) for line in shown.splitlines()]


def judge(row: Row, user: User, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    run = partial(typed, user, capsys=capsys, monkeypatch=monkeypatch)
    if row.before:
        run(row.before)
    code, text = run(row.typed)
    assert (code, "Traceback" in text) == (row.code, False), text
    assert re.search(row.shown, text, re.MULTILINE), text
    if row.before:
        run(row.before)
    code, text = run(f"{row.typed} --json")
    assert code == row.code, text
    found = objects(text)
    assert all(each["schema_version"] == 1 for each in found), text
    if row.code == 4:
        assert (found[-1]["exit_code"], bool(found[-1]["error"])) == (4, True)


@pytest.mark.parametrize("row", WITH_A_WORKER, ids=str)
def test_with_a_worker(
    row: Row, worker: User, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What I type is answered by the worker, in words and as JSON, with the promised exit code."""
    judge(row, worker, capsys, monkeypatch)


@pytest.fixture(scope="module")
def alone(shop: User) -> Iterator[User]:
    """Give the same project without a worker: a copy, for nothing of a worker may lie there."""
    here = Path(tempfile.mkdtemp(prefix="hp-"))
    shutil.copytree(shop.here, here, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".hotplug", "logs"))
    yield User(here)
    delete(here)


@pytest.mark.parametrize("row", WITHOUT_ONE, ids=str)
def test_without_a_worker(
    row: Row, alone: User, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What needs no worker is done on disk; what needs one says where it looked, and does nothing."""
    judge(row, alone, capsys, monkeypatch)


@pytest.mark.parametrize("command", sorted({*COMMANDS} - {"run"}))  # whose options are the plugin's parameters
def test_an_unknown_option(
    command: str, alone: User, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A typo in an option is a usage error of every command, and nothing is done."""
    judge(Row(f"{command} --no-such-option", 4, r"--no-such-option.* \[[a-z-]+\]"), alone, capsys, monkeypatch)
