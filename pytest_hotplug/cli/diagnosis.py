"""What an examination says: a line per check, and what to do about what is wrong. For `hotplug doctor` alone."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from pytest_hotplug.reloader.errors import HotplugError, visible

__all__ = ["Finding", "note", "ok", "problem", "problem_from"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One check's outcome; a problem has a slug with an entry in docs/messages.md, a note never fails anything."""

    check: str
    level: Literal["ok", "note", "problem"]
    text: str
    remedy: str = ""
    slug: str = ""

    def facts(self) -> dict[str, Any]:
        """Return everything as plain data."""
        return asdict(self)

    def render(self) -> str:
        """Return the line for people, below it the remedy and the slug."""
        slug = f" [{self.slug}]" if self.slug else ""
        line = f"{self.level:<8}{self.check}: {visible(self.text)}"
        return f"{line}\n        {visible(self.remedy)}{slug}" if self.remedy else f"{line}{slug}"


def ok(check: str, text: str) -> Finding:
    """Return that all is well."""
    return Finding(check, "ok", text)


def note(check: str, text: str, remedy: str = "") -> Finding:
    """Return what is good to know, and may be as it is meant."""
    return Finding(check, "note", text, remedy)


def problem(check: str, text: str, remedy: str, slug: str) -> Finding:
    """Return what keeps hot reload from working, or versions from being kept or served."""
    return Finding(check, "problem", text, remedy, slug)


def problem_from(check: str, error: HotplugError, slug: str) -> Finding:
    """Return a problem that another command would end with; its text says what to do."""
    return Finding(check, "problem", str(error).removesuffix(f" [{slug}]"), "", slug)
