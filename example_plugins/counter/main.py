"""Shows state that outlives a reload: the old version saves it, the new one takes it over."""

from typing import Any

from core.count import Count
from utils.checks import checked

STEP = 1

_count = Count()


def run(step: int = 1) -> dict[str, Any]:
    """Count on and return the sum."""
    return {"count": _count.add(step * STEP)}


def save_state() -> dict[str, int]:
    """Return what the next version needs; called on the version that serves until then."""
    return {"count": _count.value}


def load_state(state: dict[str, int], from_version: str) -> None:
    """Take over from the version before; refuse what cannot be right."""
    _count.value = checked(state["count"], from_version)
