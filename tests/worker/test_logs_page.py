"""docs/reference/logs.md tells every event that can stand in a log, and shows lines as they are."""

from __future__ import annotations

import logging
import re

from pytest_hotplug.worker.log_lines import lines_of
from tests.architecture.project import PACKAGE, PROJECT
from tests.architecture.slugs import slugs_in
from tests.worker.logged_events import events_in

PAGE = (PROJECT / "docs/reference/logs.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `(hotplug\.[a-z_]+)` \| ([a-z, ]+) \| ([a-z_, ]+) \| .+ \|$", re.MULTILINE)
SOURCES = sorted(PACKAGE.rglob("*.py"))


def rows() -> dict[str, tuple[set[str], set[str]]]:
    return {name: (set(levels.split(", ")), set(fields.split(", "))) for name, levels, fields in ROW.findall(PAGE)}


def test_every_event_stands_in_the_page_with_its_levels_and_fields() -> None:
    """What I filter or count by is written down, and a change of it is noticed."""
    logged = events_in(SOURCES)
    assert "hotplug.kept" in logged
    literal = {name: (facts.levels, facts.fields) for name, facts in logged.items() if "*" not in name}
    assert {name: facts for name, facts in rows().items() if name in literal} == literal


def test_the_page_holds_no_event_that_nobody_logs() -> None:
    """An event that is not named in the code is one that is built from a slug."""
    logged, slugs = events_in(SOURCES), slugs_in(SOURCES)
    assert "hotplug.*" in logged
    built = [name.removeprefix("hotplug.").replace("_", "-") for name in rows() if name not in logged]
    assert [slug for slug in built if slug not in slugs.named] == []


def test_the_lines_that_the_page_shows_are_lines_as_they_are() -> None:
    """What I build a parser on is not made up."""
    digest = {"plugin": "greeter", "generation": 2, "digest": "0cc175b9c0f1b6a8"}
    same = {"plugin": "greeter", "text": "same content, not reloaded"}
    reloaded = record("hotplug", "hotplug.reloaded", **digest)
    shown = [reloaded, record("hotplug", "hotplug.same_content", **same), record("shop.prices", "3 prices changed")]
    text, json = lines_of("text", "worker"), lines_of("json", "worker")
    assert "\n".join(map(text.format, shown)) in PAGE
    assert json.format(reloaded) in PAGE


def record(logger: str, message: str, **fields: object) -> logging.LogRecord:
    facts = {"name": logger, "msg": message, "levelname": "INFO", "created": 1795755662.123, "process": 123, **fields}
    return logging.makeLogRecord(facts)
