"""Steps, one after the other."""

from collections.abc import Callable, Iterable

Step = Callable[[str], str]


def run_steps(values: Iterable[str], steps: Iterable[Step]) -> list[str]:
    """Put every value through every step."""
    results = []
    for value in values:
        for step in steps:
            value = step(value)
        results.append(value)
    return results
