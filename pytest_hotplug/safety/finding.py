"""What a check finds."""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = ["Finding"]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is not as it should be.

    `severity`: only an "error" fails the check; a "note" is told. `path` and `line` lead to the plugin's
    code as far as they are known, `chain` from who holds something to what is held, `growth` is how much
    more of it there is with each reload, `count` how many there are of one version.
    """

    message: str
    severity: Literal["error", "note"] = "error"
    path: str = ""
    line: int | None = None
    chain: tuple[str, ...] = ()
    remedy: str = ""
    growth: float | None = None
    count: int = 1
