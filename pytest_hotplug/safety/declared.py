"""What a plugin's manifest says of its verification: how it is used, how long that may take, what is excepted.

`hotplug.verify` in the manifest. An exception has a reason and a day on which it ends; it covers only what
it names, and one that nothing needs any more is a failure, so that it goes away.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from pytest_hotplug.reloader.discovery import Found
from pytest_hotplug.reloader.errors import did_you_mean
from pytest_hotplug.safety.checks import ALL
from pytest_hotplug.safety.judging import Judged

__all__ = ["Allowed", "BadDeclaration", "Declared", "declared_by", "excepted", "is_disabled"]


_VERDICTS = ("skip", "skipif", "xfail", "usefixtures", "parametrize")  # markers that are pytest's orders


class BadDeclaration(Exception):
    """`hotplug.verify` makes no sense; the text says where and why."""


class Allowed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One exception: findings of a check whose message contains `match`, at most `max` of each at a time."""

    reason: Annotated[str, msgspec.Meta(min_length=1)]
    until: date
    match: str = ""
    max: int | None = None
    issue: str = ""


class Declared(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`hotplug.verify`, checked; `timeout` are the seconds that each scenario may take.

    `deploy` is how new versions come: "at-once", or "in-place", file by file while the plugin serves.
    """

    probe: Any = None
    timeout: Annotated[float, msgspec.Meta(gt=0)] = 120.0
    deploy: Literal["at-once", "in-place"] = "at-once"
    markers: tuple[str, ...] = ()
    allow: Mapping[str, Allowed] = {}


def declared_by(found: Found) -> Declared:
    """Read what a plugin's manifest declares; one that is broken declares nothing. Raises BadDeclaration."""
    table = _table(found)
    try:
        declared = msgspec.convert(table, Declared)
    except msgspec.ValidationError as error:
        raise BadDeclaration(f"hotplug.verify: {error}") from None
    for marker in declared.markers:
        if not marker.isidentifier() or marker in _VERDICTS:
            why = "would change what comes of a check: except it in `allow`" if marker in _VERDICTS else "is no name"
            raise BadDeclaration(f"hotplug.verify.markers: {marker!r} {why}")
    for name in declared.allow:
        if name not in {check.id for check in ALL}:
            near = did_you_mean(name, [check.id for check in ALL])
            raise BadDeclaration(f"hotplug.verify.allow: there is no check {name!r}{near}")
    return declared


def is_disabled(found: Found) -> bool:
    """Tell whether a plugin's manifest disables it."""
    return _manifest(found).get("enabled") is False


def _table(found: Found) -> Any:
    ours = _manifest(found).get("hotplug")
    return ours.get("verify", {}) if isinstance(ours, dict) else {}  # else the load says what is wrong with it


def _manifest(found: Found) -> Mapping[str, Any]:
    for file in found.layout.manifest:
        try:
            manifest = msgspec.json.decode((found.path / file).read_bytes())
        except (OSError, msgspec.DecodeError):
            continue  # the load says what is wrong with it
        return manifest if isinstance(manifest, dict) else {}
    return {}


def excepted(judged: Judged, allowed: Allowed | None, today: date, manifest: Path) -> Judged:
    """Return a judgement as the exception for its check, if there is one, leaves it."""
    if allowed is None or judged.outcome == "error":
        return judged
    if allowed.until < today:
        reason = f"its exception ({allowed.reason}) ended on {allowed.until}"
        return replace(judged, reason=reason) if judged.outcome == "failed" else _unneeded(judged, allowed, manifest)
    if judged.outcome != "failed":
        return _unneeded(judged, allowed, manifest)
    errors = [finding for finding in judged.findings if finding.severity == "error"]
    left = [f for f in errors if allowed.match not in f.message or (allowed.max is not None and f.count > allowed.max)]
    if left:
        return replace(judged, findings=tuple(left), reason=f"more than its exception covers ({allowed.reason})")
    return replace(judged, outcome="xfailed", reason=allowed.reason)


def _unneeded(judged: Judged, allowed: Allowed, manifest: Path) -> Judged:
    reason = f"nothing is found any more: take the exception ({allowed.reason}) out of {manifest.name}"
    return replace(judged, outcome="failed", reason=reason)
