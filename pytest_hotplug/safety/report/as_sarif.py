"""A report as SARIF 2.1.0, for code scanning: a result for each finding, failures first.

Alerts are told apart by check, file, what was found and who holds it, never by lines or numbers: they stay the same
while code moves.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import PurePath
from typing import Any
from urllib.parse import quote

from pytest_hotplug.safety.report.record import Checked, Found, Report, Verified

__all__ = ["as_sarif", "rule_id"]

MOST = 5000  # results that GitHub keeps of a run
_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def as_sarif(report: Report) -> str:
    """Return the report as the text of a SARIF file."""
    rules = {check.id: _rule(check) for plugin in report.plugins for check in plugin.checks}
    places = {check: place for place, check in enumerate(rules)}
    results = [result for plugin in report.plugins for result in _results(plugin, places)]
    results.sort(key=lambda result: result["level"] != "error")
    driver = {"name": "pytest-hotplug", "version": report.version, "rules": list(rules.values())}
    run = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results[:MOST]}
    return json.dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2) + "\n"


def rule_id(check: str) -> str:
    """Return the rule that a check is."""
    return f"hotplug/{check.replace('_', '-')}"


def _rule(check: Checked) -> dict[str, Any]:
    title, remedy = check.title or check.id, check.remedy or check.title or check.id
    return {
        "id": rule_id(check.id),
        "name": "".join(word.capitalize() for word in check.id.split("_")),
        "shortDescription": {"text": title},
        "fullDescription": {"text": f"{title}, whenever the plugin is hot-reloaded or unloaded."},
        "help": {"text": remedy},
        "defaultConfiguration": {"level": "error"},
        "properties": {"tags": ["hot-reload", "reliability"]},
    }


def _results(plugin: Verified, places: dict[str, int]) -> Iterator[dict[str, Any]]:
    for check in plugin.checks:
        for finding in (*check.errors, *check.notes):
            yield _result(plugin, check, places[check.id], finding)


def _result(plugin: Verified, check: Checked, rule: int, finding: Found) -> dict[str, Any]:
    place = _place(finding.path or plugin.manifest, finding.line)
    said = [_unlinked(f"{plugin.name}: {finding.message}")]
    related = [
        {"id": number, "message": {"text": held}, "physicalLocation": place}
        for number, held in enumerate(finding.chain, 1)
    ]
    if related:
        said.append("Held by " + " -> ".join(f"[{_linked(held)}]({n})" for n, held in enumerate(finding.chain, 1)))
    if finding.remedy:
        said.append(_unlinked(finding.remedy))
    result: dict[str, Any] = {
        "ruleId": rule_id(check.id),
        "ruleIndex": rule,
        "level": finding.severity,
        "message": {"text": "\n".join(said)},
        "locations": [{"physicalLocation": place}],
        "partialFingerprints": {"hotplug/v1": _fingerprint(plugin, check, finding)},
    }
    if related:
        result["relatedLocations"] = related
    if finding.growth is not None:
        result["properties"] = {"growth": finding.growth}
    return result


def _place(path: str, line: int | None) -> dict[str, Any]:
    if PurePath(path).is_absolute():
        artifact = {"uri": PurePath(path).as_uri()}
    else:
        artifact = {"uri": quote(path), "uriBaseId": "%SRCROOT%"}
    return {"artifactLocation": artifact, "region": {"startLine": line or 1}}


def _unlinked(text: str) -> str:
    """Return a text in which nothing looks like a link."""
    return text.replace("](", "] (")


def _linked(text: str) -> str:
    """Return the text of a link in a message: its own brackets are none."""
    return re.sub(r"([\\\[\]])", r"\\\1", text)


def _lasting(text: str) -> str:
    """Return what stays of a text while code moves, and on another machine."""
    return re.sub(r"\d+", "#", re.sub(r" ?\([^()]*[/\\:][^()]*\)", "", text))


def _fingerprint(plugin: Verified, check: Checked, finding: Found) -> str:
    what = finding.message.partition(": ")[0]
    parts = [plugin.name, check.id, finding.path, *map(_lasting, (what, *finding.chain))]
    return hashlib.sha256("\0".join(parts).encode(errors="backslashreplace")).hexdigest()[:32]
