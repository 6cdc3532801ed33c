"""What only one can hold at a time, as a port: every generation of a family opens it, and closes it at its end.

A generation whose manifest says stop-first wants it for itself. One that comes while another holds it, or
leaves it twice, is told so; the machines look at who holds it after every step.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Place", "holders", "opened"]


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """One generation's hold: of which module, of which version, and whether it bears no other."""

    module: str
    number: int
    alone: bool

    def close(self) -> None:
        """Leave; raises ValueError for one that has left already."""
        _places.remove(self)

    @property
    def is_open(self) -> bool:
        return self in _places


_places: list[Place] = []


def opened(module: str, number: int, *, alone: bool) -> Place:
    """Hold the port of a module; raises OSError while another one holds it and either wants it for itself."""
    if others := [place for place in holders(module) if alone or place.alone]:
        raise OSError(f"{module}: {number} comes while {others} are there")
    _places.append(place := Place(module, number, alone))
    return place


def holders(module: str) -> list[Place]:
    """Return who holds the port of a module, or of a package's modules."""
    return [place for place in list(_places) if f"{place.module}.".startswith(f"{module}.")]
