"""How commands print: tables for people, JSON with a schema version for programs."""

from __future__ import annotations

import io
import json
import math
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TextIO, TypeVar

import click

from pytest_hotplug.reloader.errors import visible

__all__ = ["as_text", "directory_option", "emit_json", "json_option", "jsonable", "plain", "table"]

SCHEMA_VERSION = 1
NARROW = 60  # columns; below that a table would be all ellipses
UNBOUNDED = 1000  # columns of a table that goes to a file or a pipe: one line a row
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


def emit_json(facts: Mapping[str, Any], file: TextIO | None = None) -> None:
    """Print one JSON object on one line, to `file` or to stdout."""
    click.echo(json.dumps({"schema_version": SCHEMA_VERSION, **facts}, ensure_ascii=False, default=str), file=file)


def as_text(value: Any) -> str:
    """Return a result as JSON for people."""
    return json.dumps(jsonable(value), indent=2, ensure_ascii=False)


def jsonable(value: Any, around: tuple[int, ...] = ()) -> Any:
    """Return a value as JSON can hold it; what JSON has no word for (NaN, a cycle, an object) becomes its repr."""
    if value is None or isinstance(value, (str, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else repr(value)
    if id(value) in around:
        return "..."
    around = (*around, id(value))
    if isinstance(value, Mapping):
        return {key if isinstance(key, str) else repr(key): jsonable(item, around) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [jsonable(item, around) for item in value]
    return repr(value)


def plain(value: object) -> str:
    """Return a value as people write it: yes and no, lists with commas, tables as `key: value`."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {plain(item)}" for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(plain, value))
    return "" if value is None else visible(str(value))


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table that fits the terminal; in a narrow one, each row becomes a few lines."""
    from rich.console import Console

    cells = [[plain(cell) for cell in row] for row in rows]
    wide = UNBOUNDED if not sys.stdout.isatty() and "COLUMNS" not in os.environ else None
    console = Console(highlight=False, width=wide)
    if console.width < NARROW:
        click.echo("\n".join(_as_lines(columns, row) for row in cells))
        return
    drawn = io.StringIO()  # click writes it: what a closed pipe means is told in one place
    inner = Console(file=drawn, highlight=False, width=console.width, force_terminal=console.is_terminal)
    inner.print(_drawn(columns, cells))
    lines = [line.rstrip() for line in drawn.getvalue().splitlines()]
    click.echo("\n".join(lines), color=console.is_terminal)


def _drawn(columns: Sequence[str], cells: Iterable[Sequence[str]]) -> Any:
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        drawn.add_column(column, overflow="fold")
    for row in cells:
        drawn.add_row(*map(Text, row))
    return drawn


def _as_lines(columns: Sequence[str], row: Sequence[str]) -> str:
    rest = [f"  {f'{column}: ' if column else ''}{cell}" for column, cell in zip(columns[1:], row[1:], strict=True)]
    return "\n".join([row[0], *(line for line in rest if line.strip())])
