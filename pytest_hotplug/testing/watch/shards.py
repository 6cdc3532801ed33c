"""Split tests over processes: by file, longest first, each to the process that has the least to do.

Pays from some hundredths of a second of work: a fork takes a few milliseconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pytest_hotplug.testing.watch.messages import file_of

__all__ = ["split"]

WORTH_IT = 0.05  # seconds of work
UNKNOWN = 0.005  # seconds that a test of no known duration is taken for


def split(tests: Sequence[str], seconds: Mapping[str, float], processes: int) -> list[list[str]]:
    """Return the tests of each process, of one where more would not pay. Tests of a file stay together."""
    work: dict[str, float] = {}
    members: dict[str, list[str]] = {}
    for nodeid in tests:
        file = file_of(nodeid)
        work[file] = work.get(file, 0.0) + seconds.get(nodeid, UNKNOWN)
        members.setdefault(file, []).append(nodeid)
    if sum(work.values()) < WORTH_IT:
        return [list(tests)]
    parts: list[list[str]] = [[] for _ in range(max(1, min(processes, len(work))))]
    loads = [0.0] * len(parts)
    for file in sorted(work, key=lambda file: -work[file]):
        least = loads.index(min(loads))
        parts[least] += members[file]
        loads[least] += work[file]
    return parts
