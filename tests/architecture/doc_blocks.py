"""Play a page of the documentation as a reader would: every fenced block, from top to bottom.

What a block's info string makes of it:
- any language with `title=PATH`: written to that file (and compiled or parsed when it can be);
- `console`: each line `$ command` runs and must exit 0 (`# exits N` at its end says otherwise); lines
  below it are the output that is promised, `...` standing for anything;
- `python`: runs alone in a fresh interpreter; a block with a `def test_` runs under pytest;
- `json`, `toml`: parsed;
- `sh`: a set-up line that CI runs to the letter (test_packaging.py);
- `text`, `diff`, `yaml`: shown, never run.
Any other language, or none, is an error: nobody could tell whether the block is true.
"""

from __future__ import annotations

import doctest
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.architecture.project import PROJECT, PYTEST_PLUGIN, environment, plugin_is_installed

FENCE = re.compile(r"^(?P<indent> *)```(?P<language>[\w-]*) *(?P<info>.*)$")
TITLE = re.compile(r"\btitle=(\S+)")
EXITS = re.compile(r"#\s*exits (\d+)\s*$")
SHOWN_ONLY = {"text", "diff", "yaml", "sh"}
SECONDS = 180


@dataclass(frozen=True)
class Block:
    """One fenced block: where it stands, what it is and what it says."""

    page: Path
    line: int
    language: str
    title: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line} ({self.language or 'no language'})"


@dataclass(frozen=True)
class Command:
    """One line of a console block with the output that the page promises ("" promises nothing)."""

    line: str
    promised: str

    @property
    def code(self) -> int:
        found = EXITS.search(self.line)
        return int(found[1]) if found else 0


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of `page` in order."""
    found, lines = [], iter(enumerate(page.read_text(encoding="utf-8").splitlines(), start=1))
    for number, line in lines:
        if opening := FENCE.match(line):
            indent, body = opening["indent"], list(_until_fence(page, number, lines))
            text = "".join(f"{inner.removeprefix(indent)}\n" for inner in body)
            title = TITLE.search(opening["info"])
            found.append(Block(page, number, opening["language"], title[1] if title else "", text))
    return found


def _until_fence(page: Path, start: int, lines: Iterator[tuple[int, str]]) -> Iterator[str]:
    for _, line in lines:
        if line.strip() == "```":
            return
        yield line
    raise AssertionError(f"{page}:{start}: the block is never closed")


def commands(block: Block) -> list[Command]:
    """Return the commands of a console block, each with its promised output."""
    found: list[Command] = []
    for line in block.text.replace("\\\n", " ").splitlines():
        if line.startswith("$ "):
            found.append(Command(line[2:], ""))
        else:
            assert found, f"{block}: output before the first `$ ` line"
            found[-1] = Command(found[-1].line, f"{found[-1].promised}{line}\n")
    return found


def is_played(block: Block) -> bool:
    """Tell whether `block` is more than shown (one of no known language is, and fails)."""
    return bool(block.title) or block.language not in SHOWN_ONLY


def play(page: Path, directory: Path) -> int:
    """Play all blocks of `page` in `directory` and return how many were more than shown."""
    played = [block for block in blocks(page) if is_played(block)]
    for block in played:
        if block.title:
            _write(block, directory)
        else:
            assert block.language in PLAYERS, f"{block}: say what this block is (see {Path(__file__).name})"
            PLAYERS[block.language](block, directory)
    return len(played)


def _write(block: Block, directory: Path) -> None:
    target = directory / block.title
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(block.text, encoding="utf-8")
    if block.language in PARSERS:
        PARSERS[block.language](block.text)


def _play_python(block: Block, directory: Path) -> None:
    is_test = re.search(r"^(async )?def test_", block.text, flags=re.MULTILINE)
    file = directory / f"{'test_' if is_test else ''}{block.page.stem.lower()}_{block.line}.py"
    file.write_text(block.text, encoding="utf-8")
    _say(block, Command(f"{'pytest -q' if is_test else 'python'} {file.name}", ""), directory)


def _parse(block: Block, directory: Path) -> None:
    PARSERS[block.language](block.text)


def _play_console(block: Block, directory: Path) -> None:
    for command in commands(block):
        _say(block, command, directory)


def _say(block: Block, command: Command, directory: Path) -> None:
    done = subprocess.run(
        ["bash", "-c", command.line],
        cwd=directory,
        env=_as_a_reader(directory),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
        stdin=subprocess.DEVNULL,
    )
    what = f"{block}: $ {command.line}\n{done.stdout}"
    assert done.returncode == command.code, f"exit code {done.returncode}, promised {command.code}: {what}"
    if command.promised:
        flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
        # A line of dots stands for no line as well: it must have something to match.
        shown = f"-\n{done.stdout}" if command.promised.startswith("...\n") else done.stdout
        assert doctest.OutputChecker().check_output(command.promised, shown, flags), (
            f"promised:\n{command.promised}\ngot: {what}"
        )


def _as_a_reader(directory: Path) -> dict[str, str]:
    """Return an environment whose `hotplug`, `pytest` and `python` are this interpreter's."""
    programs = directory.parent / f"{directory.name}-bin"
    if not programs.exists():
        programs.mkdir()
        plugin = [] if plugin_is_installed() else ["-p", PYTEST_PLUGIN]
        _program(programs / "python")
        _program(programs / "pytest", "-m", "pytest", *plugin)
        _program(programs / "hotplug", "-m", "pytest_hotplug")
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    return environment(PATH=path, NO_COLOR="1", COLUMNS="110", PYTHONIOENCODING="utf-8")


def _program(file: Path, *arguments: str) -> None:
    file.write_text(f'#!/bin/sh\nexec {shlex.join([sys.executable, *arguments])} "$@"\n')
    file.chmod(0o755)


def copy_examples(directory: Path) -> None:
    """Lay the example plugins into `directory`, under their own name and without what their runs left behind."""
    junk = shutil.ignore_patterns("__pycache__", ".pytest_cache", ".hotplug")
    shutil.copytree(PROJECT / "example_plugins", directory / "example_plugins", ignore=junk)


PARSERS: dict[str, Callable[[str], object]] = {
    "json": json.loads,
    "toml": tomllib.loads,
    "python": lambda text: compile(text, "block", "exec"),
}
PLAYERS: dict[str, Callable[[Block, Path], None]] = {
    "console": _play_console,
    "python": _play_python,
    "json": _parse,
    "toml": _parse,
}
