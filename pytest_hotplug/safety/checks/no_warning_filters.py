"""Warnings are filtered and shown as before."""

from __future__ import annotations

import warnings

from pytest_hotplug.safety.check import Check
from pytest_hotplug.safety.evidence import Thing
from pytest_hotplug.safety.identity import number_of
from pytest_hotplug.safety.leftovers import leftovers
from pytest_hotplug.safety.subject import Subject, described

__all__ = ["CHECK"]


def _take(subject: Subject) -> dict[str, Thing]:
    found = {"show": subject.thing("warnings.showwarning", warnings.showwarning, said=described(warnings.showwarning))}
    for action, message, category, module, line in warnings.filters:
        assert isinstance(category, type), "a filter is added for one class"
        pattern = getattr(message, "pattern", message)
        key = f"{action} {pattern} {category} {getattr(module, 'pattern', module)} {line} {number_of(category)}"
        text = f"a warnings filter: {action} {category.__name__}" + (f" {pattern!r}" if pattern else "")
        found[key] = subject.thing(text, category, subject.places.filters.get((action, category), ""))
    return found


CHECK = Check(
    id="no_warning_filters",
    title="Warnings are filtered and shown as before",
    how="`warnings.filters`, entry by entry, and `warnings.showwarning`.",
    remedy="Use `with warnings.catch_warnings():` around the code that needs it.",
    take=_take,
    judge=leftovers,
)
