"""What a job on GitHub shows of a report: annotations at the lines, and its summary."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path, PurePath

from pytest_hotplug.reloader.errors import HotplugError
from pytest_hotplug.safety.report.as_markdown import as_markdown
from pytest_hotplug.safety.report.record import Checked, Found, Report, Verified

__all__ = ["commands", "tell_github"]

MOST = 10  # annotations of a kind that GitHub shows of a step
_MOST_SUMMARY = 1_000_000  # bytes; GitHub refuses a summary of more than a MiB


def tell_github(report: Report, root: Path, say: Callable[[str], object]) -> None:
    """Annotate and summarise when this is a job of GitHub's; raises HotplugError when the summary can't be written."""
    if os.environ.get("GITHUB_ACTIONS") != "true":
        return
    for line in commands(report, _above(root)):
        say(line)
    place = os.environ.get("GITHUB_STEP_SUMMARY")
    if place:
        try:
            with open(place, "ab") as file:
                file.write(_bounded(as_markdown(report).encode(errors="backslashreplace")))
        except OSError as error:
            raise HotplugError(f"the summary of the job could not be written: {error} [cannot-write]") from error


def commands(report: Report, above: str = "") -> Iterator[str]:
    """Return workflow commands for the worst findings, errors first, each once; paths begin with `above`."""
    found = [(plugin, check, f) for plugin in report.plugins for check in plugin.checks for f in check.errors]
    found += [(plugin, check, f) for plugin in report.plugins for check in plugin.checks for f in check.notes]
    once: dict[tuple[object, ...], tuple[Verified, Checked, Found]] = {}
    for plugin, check, finding in found:  # a plugin that can't be loaded fails every check for one reason
        once.setdefault((plugin.name, finding.path, finding.line, finding.message), (plugin, check, finding))
    for plugin, check, finding in list(once.values())[:MOST]:
        yield _command(plugin, check, finding, above)


def _command(plugin: Verified, check: Checked, finding: Found, above: str) -> str:
    kind = "error" if finding.severity == "error" else "notice"
    path = finding.path or plugin.manifest
    where = {
        "file": path if PurePath(path).is_absolute() else above + path,
        "line": str(finding.line or 1),
        "title": f"{plugin.name}: {check.id}",
    }
    told = ",".join(f"{key}={_property(value)}" for key, value in where.items())
    message = "\n".join(filter(None, (finding.message, finding.remedy)))
    return f"::{kind} {told}::{_data(message)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _above(root: Path) -> str:
    """Return how the project's root is called from the repository's: GitHub counts from there."""
    workspace = os.environ.get("GITHUB_WORKSPACE")
    if not workspace or not root.resolve().is_relative_to(Path(workspace).resolve()):
        return ""
    inside = root.resolve().relative_to(Path(workspace).resolve()).as_posix()
    return "" if inside == "." else f"{inside}/"


def _bounded(text: bytes) -> bytes:
    if len(text) <= _MOST_SUMMARY:
        return text
    return text[:_MOST_SUMMARY].rpartition(b"\n")[0] + b"\n\n... and more; see the report.\n"
