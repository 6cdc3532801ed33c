"""How commands print: tables for people, JSON with a schema version for programs.

Nothing that a plugin or a directory is called reaches a terminal unescaped, and who no longer reads
doesn't change what a command finds out.
"""

from __future__ import annotations

import io
import itertools
import json
import os
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TextIO, TypeVar

import click

from pytest_hotplug.reloader.errors import visible
from pytest_hotplug.worker.results import SCHEMA_VERSION, jsonable

__all__ = [
    "SHORT",
    "as_text",
    "directory_option",
    "discard",
    "emit_json",
    "json_line",
    "json_option",
    "jsonable",
    "plain",
    "say",
    "shortened",
    "table",
    "warn",
]

SHORT = 12  # digits of a digest that people are shown
NARROW = 60  # columns; below that a table would be all ellipses
UNBOUNDED = 1000  # columns of a table that goes to a file or a pipe: one line a row
LONGEST = 2000  # characters of a line for people
F = TypeVar("F", bound=Callable[..., Any])


def json_option(function: F) -> F:
    """Add `--json` to a command."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")(function)


def directory_option(function: F) -> F:
    """Add `-C DIR` to a command."""

    def enter(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
        if value:
            os.chdir(value)

    option = click.option(
        "-C", type=click.Path(exists=True, file_okay=False), expose_value=False, is_eager=True, callback=enter,
        help="Work in this directory.",
    )  # fmt: skip
    return option(function)


def say(text: str, *, err: bool = False, color: bool | None = None) -> None:
    """Print a text; when nobody reads any more, go on in silence to the verdict."""
    try:
        click.echo(text, err=err, color=color)
    except BrokenPipeError:
        discard(sys.stderr if err else sys.stdout)


def discard(stream: TextIO) -> None:
    """Let what is still buffered go nowhere: the interpreter would fail on it once more when it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def shortened(text: str) -> str:
    """Return `text` with lines of endless length cut, and a note of how much is missing."""
    return "\n".join(
        line if len(line) <= LONGEST else f"{line[:LONGEST]} ... ({len(line) - LONGEST:,} more characters; see --json)"
        for line in text.split("\n")
    )


def emit_json(facts: Mapping[str, Any]) -> None:
    """Print one JSON object on one line."""
    say(json_line(facts))


def json_line(facts: Mapping[str, Any]) -> str:
    """Return one JSON object on one line."""
    return _dumped({"schema_version": SCHEMA_VERSION, **facts})


def warn(facts: Mapping[str, Any]) -> None:
    """Tell people of what went well but for something."""
    for warning in facts.get("warnings", ()):
        say(f"hotplug: warning: {visible(warning)}", err=True)


def as_text(value: Any) -> str:
    """Return a result as JSON for people."""
    return _dumped(jsonable(value), indent=2)


def _dumped(value: Any, indent: int | None = None) -> str:
    """Return JSON with letters as they are, as far as the terminal can show them; all else is escaped."""
    text = json.dumps(value, indent=indent, ensure_ascii=False, default=str)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return json.dumps(value, indent=indent, default=str)
    if text.replace("\n", "").isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)


def plain(value: object) -> str:
    """Return a value as people write it: yes and no, lists with commas, tables as `key: value`."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{visible(str(key))}: {plain(item)}" for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(plain, value))
    return "" if value is None else visible(str(value))


def table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], *, whole: str = "", less: Sequence[str] = ()
) -> None:
    """Print a table that fits the terminal; in a narrow one, each row becomes a few lines.

    What stands in a last column without a heading moves below its row where it finds no room beside it. The column
    `whole` is never broken: where it finds no room, it stands below, each cell on a line of its own. A terminal does
    without the columns `less`, the first of them first, before anything is broken.
    """
    cells = [[plain(cell) for cell in row] for row in rows]
    width = _width()
    below: list[str] = []
    if whole and (width < NARROW or not _fits(_drawn(columns, cells, width), cells)):
        at = columns.index(whole)
        below = [line for row in cells if row[at] for line in (f"{whole} of {row[0]}:", row[at])]
        columns, cells = _without(whole, columns, cells)
    if width < NARROW:
        lines = [_as_lines(columns, row) for row in cells]
    else:
        lines = _fitted(columns, cells, width, less if sys.stdout.isatty() else ())
    say("\n".join([*lines, *below]), color=_wants_colour())


def _fitted(columns: Sequence[str], cells: Sequence[Sequence[str]], width: int, less: Sequence[str]) -> list[str]:
    """Return the lines of a table, without as many of the columns `less` as it takes to keep each row on one line."""
    while True:
        lines = _drawn(columns, cells, width)
        if _fits(lines, cells):
            return lines
        spare = next((name for name in less if name in columns), None)
        if columns[-1] == "":
            bare = _drawn(columns[:-1], [row[:-1] for row in cells], width)
            if spare is None or _fits(bare, cells):
                return _with_notes_below(bare, cells, width)
        if spare is None:
            return lines
        columns, cells = _without(spare, columns, cells)


def _fits(lines: Sequence[str], cells: Sequence[Sequence[str]]) -> bool:
    """Tell whether each row of a table, and its headings, stand on one line."""
    return len(lines) <= 1 + len(cells)


def _without(
    name: str, columns: Sequence[str], cells: Sequence[Sequence[str]]
) -> tuple[Sequence[str], list[list[str]]]:
    at = columns.index(name)
    return [*columns[:at], *columns[at + 1 :]], [[*row[:at], *row[at + 1 :]] for row in cells]


def _width() -> int:
    """Return the columns of the terminal, or as many as a line may need where there is none."""
    from rich.console import Console

    return Console(width=UNBOUNDED if not sys.stdout.isatty() and "COLUMNS" not in os.environ else None).width


def _wants_colour() -> bool:
    """Tell whether bold is wanted: NO_COLOR beats FORCE_COLOR (0: never) beats the terminal."""
    if os.environ.get("NO_COLOR"):
        return False
    if forced := os.environ.get("FORCE_COLOR"):
        return forced != "0"
    return sys.stdout.isatty()


def _drawn(columns: Sequence[str], cells: Iterable[Sequence[str]], width: int) -> list[str]:
    """Return the lines of a table."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        drawn.add_column(column, overflow="fold")
    for row in cells:
        drawn.add_row(*map(Text, row))
    coloured = _wants_colour()
    text = io.StringIO()  # click writes it: what a closed pipe means is told in one place
    Console(
        file=text, highlight=False, width=width, force_terminal=coloured, color_system="auto" if coloured else None
    ).print(drawn)
    return [line.rstrip() for line in text.getvalue().splitlines()]


def _with_notes_below(lines: Sequence[str], cells: Sequence[Sequence[str]], width: int) -> list[str]:
    """Return a table's lines with each row's note below it; below all of them where a row takes several lines."""
    notes = [textwrap.wrap(row[-1], width, initial_indent="  ", subsequent_indent="    ") for row in cells]
    if len(lines) == 1 + len(cells):
        return [lines[0], *itertools.chain(*([line, *note] for line, note in zip(lines[1:], notes, strict=True)))]
    return [*lines, *itertools.chain(*([f"{row[0]}:", *note] for row, note in zip(cells, notes, strict=True) if note))]


def _as_lines(columns: Sequence[str], row: Sequence[str]) -> str:
    rest = [f"  {f'{column}: ' if column else ''}{cell}" for column, cell in zip(columns[1:], row[1:], strict=True)]
    return "\n".join([row[0], *(line for line in rest if line.strip())])
