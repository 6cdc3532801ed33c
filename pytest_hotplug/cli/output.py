"""How commands print: tables for people, JSON with a schema version for programs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import click

__all__ = ["emit_json", "json_option", "table"]

SCHEMA_VERSION = 1
F = TypeVar("F", bound=Callable[..., Any])


def json_option(function: F) -> F:
    """Add `--json` to a command."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")(function)


def directory_option(function: F) -> F:
    """Add `-C DIR` to a command."""

    def enter(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
        if value:
            import os

            os.chdir(value)

    option = click.option(
        "-C", type=click.Path(exists=True, file_okay=False), expose_value=False, is_eager=True, callback=enter,
        help="Work in this directory.",
    )  # fmt: skip
    return option(function)


def emit_json(facts: Mapping[str, Any]) -> None:
    """Print one JSON object on one line."""
    click.echo(json.dumps({"schema_version": SCHEMA_VERSION, **facts}, ensure_ascii=False, default=str))


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table that fits the terminal."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(*columns, title=title or None, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for row in rows:
        drawn.add_row(*(Text("" if cell is None else str(cell)) for cell in row))
    Console(highlight=False).print(drawn)
