"""Loggers have the handlers, filters and levels that they had."""

from __future__ import annotations

import logging

from pytest_hotplug.safety.check import Check
from pytest_hotplug.safety.evidence import Thing
from pytest_hotplug.safety.identity import number_of
from pytest_hotplug.safety.leftovers import leftovers
from pytest_hotplug.safety.subject import Subject, described

__all__ = ["CHECK"]


def _take(subject: Subject) -> dict[str, Thing]:
    found = {
        "disable": Thing(text="logging.disable", value=str(logging.root.manager.disable)),
        "class": _of_all(subject, "the logger class", logging.getLoggerClass()),
        "factory": _of_all(subject, "the factory of log records", logging.getLogRecordFactory()),
    }
    for name, logger in [("root", logging.root), *logging.root.manager.loggerDict.items()]:
        if not isinstance(logger, logging.Logger) or name.startswith("hotplug.plugin."):
            continue
        if name == "root" or logger.level or not logger.propagate or logger.disabled:
            said = f"level {logger.level}, propagate {logger.propagate}, disabled {logger.disabled}"
            found[name] = Thing(text=f"logger {name!r}", value=said)
        for handler in logger.handlers:
            place = subject.places.handlers.get(handler, "")
            text = f"a {type(handler).__name__} of logger {name!r}"
            found[f"{name} {number_of(handler)}"] = subject.thing(text, handler, place)
        for one in logger.filters:
            found[f"{name} {number_of(one)}"] = subject.thing(f"a filter of logger {name!r}", one)
    return found


def _of_all(subject: Subject, text: str, value: object) -> Thing:
    return subject.thing(text, value, said=described(value))


CHECK = Check(
    id="no_handler_growth",
    title="Loggers have the handlers, filters and levels that they had",
    how=(
        "Handlers, filters, level and `propagate` of every logger, `logging.disable`, the logger class and "
        "the record factory."
    ),
    remedy="Remove and close the handler in on_unload, or by context.register(); or let the host set up logging.",
    take=_take,
    judge=leftovers,
)
