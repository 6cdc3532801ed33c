"""The filters that a user types: parts of a file's path, and of a test's name.

They narrow what runs. A test that they leave out keeps waiting for its turn.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Filters"]


@dataclass(frozen=True, slots=True)
class Filters:
    """Texts that a test's file and name must contain, in any case; an empty one lets everything through."""

    file: str = ""
    name: str = ""

    def __bool__(self) -> bool:
        return bool(self.file or self.name)

    def __str__(self) -> str:
        parts = (("file", self.file), ("name", self.name))
        return ", ".join(f"{what} contains {text!r}" for what, text in parts if text)

    def let_through(self, nodeid: str) -> bool:
        """Tell whether a test may run; of a whole test file only its path is asked."""
        file, _, name = nodeid.partition("::")
        return _contains(file, self.file) and (not name or _contains(name, self.name))


def _contains(text: str, part: str) -> bool:
    return part.casefold() in text.casefold()
