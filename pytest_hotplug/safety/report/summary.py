"""A verification in numbers, and in one line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from pytest_hotplug.safety.report.record import Report

__all__ = ["counts", "summary"]


def counts(report: Report) -> Mapping[str, int]:
    """Count what came of the checks, and what else people should know; what there is none of is 0."""
    outcomes = Counter(check.outcome for plugin in report.plugins for check in plugin.checks)
    return {
        "failed": outcomes["failed"],
        "passed": outcomes["passed"] + outcomes["note"],
        "with notes": outcomes["note"],
        "xfailed": outcomes["xfailed"],
        "skipped": outcomes["skipped"],
        "without probe": sum(not plugin.has_probe for plugin in report.plugins),
        "exceptions": sum(plugin.exceptions for plugin in report.plugins),
    }


def summary(report: Report) -> str:
    """Return what a verification came to in a line: how much of what, exceptions in force at its end."""
    if not report.plugins:
        return "no plugin was verified"
    number = counts(report)
    told = [f"{number[word]} {word}" for word in ("failed", "passed", "xfailed", "skipped") if number[word]]
    if number["with notes"]:
        told.append(f"{number['with notes']} with notes")
    if number["without probe"]:
        told.append(f"{number['without probe']} without probe")
    told.append(_numbered(number["exceptions"], "exception") + " in force")
    return f"{_numbered(len(report.plugins), 'plugin')}: {', '.join(told)}"


def _numbered(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"
