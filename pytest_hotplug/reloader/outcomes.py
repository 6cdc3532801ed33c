"""What a reload did: one of four frozen facts, never a bare bool.

`also` names the other plugins that went through the same transaction.
"""

from __future__ import annotations

from dataclasses import dataclass

from pytest_hotplug.reloader.errors import Fault

__all__ = ["KeptCurrent", "Outcome", "Reloaded", "Unchanged", "Unloaded"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Tell what became of a request to reload `name`.

    `serving` is the number of the generation that serves now (None: nothing does), `reason` a
    short word or sentence, `error` the fault that kept a new version out, `also` the plugins
    that shared the transaction.
    """

    name: str
    serving: int | None = None
    reason: str = ""
    error: Fault | None = None
    also: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reloaded(Outcome):
    """A fresh generation serves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unchanged(Outcome):
    """The bytes are those that serve already; nothing was executed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptCurrent(Outcome):
    """The new bytes don't serve; what served before goes on (`reason`, `error` say why)."""

    @property
    def slug(self) -> str:
        """Return the slug of the reason."""
        if self.error is not None:
            return self.error.slug
        return self.reason if self.reason == "nothing-kept" else "kept-current"

    def told(self, done: str = "reloaded") -> str:
        """Return what was not `done`, what serves and why, for people."""
        if self.slug == "nothing-kept":
            return f"{self.name}: no older version is kept; what serves goes on [nothing-kept]"
        kept = f"generation {self.serving} keeps serving" if self.serving else "nothing serves"
        return self._because(f"{self.name}: not {done}, {kept}")

    def told_of_end(self) -> str:
        """Return the same of a rollback that was to end: it is over, whatever becomes of what lies on disk."""
        kept = f"generation {self.serving} keeps serving" if self.serving else "nothing serves"
        since = ", since what lies on disk is refused" if self.error else ""
        return self._because(f"{self.name}: the rollback is over; {kept}{since}")

    def _because(self, headline: str) -> str:
        return self.error.render(f"{headline}.") if self.error else f"{headline} ({self.reason}) [{self.slug}]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unloaded(Outcome):
    """The plugin no longer serves."""
