"""What a test, a fixture, or the import of a module was seen to use.

Names alone, no content: what lies behind them is looked up by whoever learns the facts. Plain data
on the way between processes. Decides nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = ["Facts"]

Block = tuple[str, str]  # (file, what its code object tells: "qualified.name@first line", or a block's name)


@dataclass(slots=True)
class Facts:
    """What was used; all files by their names in the map. Grows while recording, nothing is taken away."""

    blocks: set[Block] = field(default_factory=set)  # entered
    files: set[str] = field(default_factory=set)  # opened, or looked for in vain
    listings: set[str] = field(default_factory=set)  # directories
    links: set[str] = field(default_factory=set)  # symbolic links on the way to any of it
    plugins: set[str] = field(default_factory=set)  # directories of plugins that the reloader looked at
    imports: set[str] = field(default_factory=set)  # files whose module was executed, or found by its name
    everything: bool = False  # a process was started, and nobody knows what it used

    def add(self, other: Facts) -> None:
        """Take over what another one used."""
        self.blocks |= other.blocks
        self.files |= other.files
        self.listings |= other.listings
        self.links |= other.links
        self.plugins |= other.plugins
        self.imports |= other.imports
        self.everything |= other.everything

    def __bool__(self) -> bool:
        return bool(self.blocks or self.files or self.listings or self.links or self.plugins or self.everything)

    def sources(self) -> set[str]:
        """Return the files whose code ran."""
        return {file for file, _ in self.blocks} | self.imports

    def as_data(self) -> dict[str, Any]:
        """Return plain data that JSON and xdist can carry."""
        by_file: dict[str, list[str]] = {}
        for file, block in sorted(self.blocks):
            by_file.setdefault(file, []).append(block)
        return {
            "blocks": by_file,
            "files": sorted(self.files),
            "listings": sorted(self.listings),
            "links": sorted(self.links),
            "plugins": sorted(self.plugins),
            "everything": self.everything,
        }
