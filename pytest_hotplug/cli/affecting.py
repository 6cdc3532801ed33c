"""`hotplug affected`: the tests that files affect, from the map that pytest runs record."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import click

from pytest_hotplug.cli.output import directory_option, emit_json, json_option, plain, say
from pytest_hotplug.cli.statedir import shown
from pytest_hotplug.reloader.errors import HotplugError

__all__ = ["affected"]


@click.command()
@click.argument("files", nargs=-1, type=click.Path())
@click.option("--why", is_flag=True, help="Tell the reason for each, and for files that affect none.")
@directory_option
@json_option
def affected(files: tuple[str, ...], why: bool, as_json: bool) -> int:
    """Print the tests that FILES affect (without FILES: all that changed since it was recorded), one a line.

    \b
    Examples:
      hotplug affected plugins/greeter/text.py
      hotplug affected --why
      hotplug affected --json src/app.py | jq .
      pytest $(hotplug affected plugins/greeter/text.py)
    """
    answer = _ask(files)
    if as_json:
        emit_json({"source": "disk", **answer})
        return 0
    for test in answer["tests"]:
        say(plain(f"{test['nodeid']}: {test['because']}" if why else test["nodeid"]))
    for none in answer["chose_none"] if why else ():
        say(plain(f"{none['path']} affects no test: {none['why']}"))
    left_out = answer["left_out"]
    if not answer["tests"]:
        say(f"hotplug: nothing is affected, {left_out} verdict{'s' * (left_out != 1)} still stand", err=True)
    return 0


def _ask(files: tuple[str, ...]) -> dict[str, Any]:
    """Ask the testing storey in a process of its own; raises HotplugError."""
    command = [sys.executable, "-m", "pytest_hotplug.testing.affected", *files]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        raise HotplugError(f"the map could not be asked: {done.stderr.strip()} [map-not-read]")
    answer: dict[str, Any] = json.loads(done.stdout)
    if "error" in answer:
        raise click.UsageError(answer["error"])
    if answer["note"]:
        say(f"hotplug: {answer['note']}", err=True)
    if not answer["known"]:
        raise HotplugError(f"{shown()} holds no map yet; record one with: pytest --hotplug-record [no-map]")
    return answer
