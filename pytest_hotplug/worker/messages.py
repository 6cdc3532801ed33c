"""What may be asked of a worker, field by field; anything else is refused.

Answers are plain objects with a `schema_version`; these are the bodies of requests.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from pytest_hotplug.reloader import strict_json
from pytest_hotplug.reloader.errors import UsageError, did_you_mean

__all__ = ["MOST", "Disable", "Enable", "Execute", "Nothing", "Rollback", "Stop", "read"]

MOST = 64 * 1024  # bytes of a body


class _Body(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A request's body."""


class Nothing(_Body, frozen=True):
    """No field at all."""


class Execute(_Body, frozen=True):
    """Call the entry with these parameters; `newest` first waits for an edit that lies on disk."""

    parameters: dict[str, Any] = {}
    newest: bool = False


class Rollback(_Body, frozen=True):
    """Serve the version `to` (its digest, or 7 digits of it or more), by default the one before; or `end` that."""

    to: str | None = None
    end: bool = False


class Enable(_Body, frozen=True):
    """Check for changes again."""


class Disable(_Body, frozen=True):
    """Check for changes no more, for a `reason`, for `lasts` seconds (null: until it is enabled)."""

    reason: str = ""
    lasts: float | None = None


class Stop(_Body, frozen=True):
    """End the process once running calls have ended, after `timeout` seconds in any case."""

    timeout: float = 30.0


T = TypeVar("T", bound=_Body)


def read(data: bytes, kind: type[T]) -> T:
    """Return the body that `data` holds, one without fields when it is empty; raises UsageError `[bad-request]`."""
    if not data.strip():
        data = b"{}"
    try:
        table = strict_json.loads(data, most=MOST)
        if not isinstance(table, dict):
            raise strict_json.NotStrict(f"expected an object, got {strict_json.json_name(table)}")
        for key in table:
            if key not in kind.__struct_fields__:
                hint = (
                    did_you_mean(key, kind.__struct_fields__) or f"; known: {', '.join(kind.__struct_fields__) or '-'}"
                )
                raise strict_json.NotStrict(f"has no field {key!r}{hint}")
        return msgspec.convert(table, kind)
    except (strict_json.NotStrict, msgspec.ValidationError) as error:
        raise UsageError(f"the request's body {_said(str(error))}", "bad-request") from None


def _said(why: str) -> str:
    return why if why[:1].islower() else f"is refused: {why}"
