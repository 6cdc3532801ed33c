"""A report into a file; the file's suffix says in which form."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from pytest_hotplug.reloader.errors import HotplugError, UsageError
from pytest_hotplug.safety.report.as_html import as_html
from pytest_hotplug.safety.report.as_markdown import as_markdown
from pytest_hotplug.safety.report.as_sarif import as_sarif
from pytest_hotplug.safety.report.record import Report

__all__ = ["SUFFIXES", "check_suffix", "write_report"]


def _as_json(report: Report) -> str:
    return json.dumps(msgspec.to_builtins(report), indent=2, ensure_ascii=False) + "\n"


_WRITTEN: Mapping[str, Callable[[Report], str]] = {
    ".html": as_html,
    ".json": _as_json,
    ".md": as_markdown,
    ".sarif": as_sarif,
}
SUFFIXES = tuple(_WRITTEN)


def check_suffix(path: Path) -> None:
    """Raise UsageError `[unknown-report]` when the suffix says nothing."""
    if path.suffix.lower() not in _WRITTEN:
        raise UsageError(f"{path}: a report is one of {', '.join(SUFFIXES)}", "unknown-report")


def write_report(report: Report, path: Path) -> None:
    """Write a report in one step, with the directories above it; raises HotplugError `[cannot-write]`."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # A path may hold bytes that are no text.
        beside.write_text(_WRITTEN[path.suffix.lower()](report), encoding="utf-8", errors="backslashreplace")
        os.replace(beside, path)
    except OSError as error:
        with suppress(OSError):  # what can't be written can't be removed either
            beside.unlink()
        raise HotplugError(f"the report {path} could not be written: {error} [cannot-write]") from error
