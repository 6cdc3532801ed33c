"""Answer "which tests do these files affect?" from the map, in a process of its own.

`hotplug affected` asks, as the commands import nothing of this storey: arguments are paths, the answer is
one JSON object on stdout. A file that is as it was recorded affects whoever uses it; one that has
changed affects whoever uses what has changed in it; without files, everything that changed counts.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pytest_hotplug.reloader.errors import UsageError
from pytest_hotplug.reloader.names import is_test
from pytest_hotplug.testing.affected.contents import Contents, Dependency
from pytest_hotplug.testing.affected.select import Selection, affected_by, affected_now, merged, users_of
from pytest_hotplug.testing.affected.storage import Stored
from pytest_hotplug.testing.affected.surroundings import Surroundings, surroundings_of


def main(files: Sequence[str]) -> int:
    """Print the answer; errors are part of it."""
    try:
        answer = _answer(files)
    except UsageError as error:
        answer = {"error": str(error)}
    sys.stdout.write(f"{json.dumps(answer)}\n")
    return 0


def _answer(files: Sequence[str]) -> dict[str, Any]:
    around = surroundings_of(Path.cwd())
    stored = around.storage.read()
    if not stored.map.tests:
        return {"note": stored.note, "known": 0}
    selection = _select(around, stored, [name for file in files for name in _named(around, stored, file)])
    return {
        "note": stored.note,
        "known": len(stored.map.tests),
        "tests": [{"nodeid": nodeid, "because": because} for nodeid, because in sorted(selection.chosen.items())],
        "left_out": selection.left_out,
        "chose_none": [{"path": path, "why": why} for path, why in selection.chose_none.items()],
    }


def _select(around: Surroundings, stored: Stored, names: Sequence[str]) -> Selection:
    contents, known = around.contents(stored.blocks), stored.map
    if not names:
        return affected_now(known, contents, around.first_party, stored.edited(contents))
    changed = [name for name in names if _has_changed(stored, name, contents)]
    as_recorded = [name for name in names if name not in changed]
    selections = [affected_by(known, changed, contents, around.first_party), users_of(known, as_recorded)]
    selection = merged(known, selections)
    _choose_new_test_files(names, contents, selection, stored)
    return selection


def _named(around: Surroundings, stored: Stored, file: str) -> list[str]:
    """Return a file's name in the map, and those of links that lead to it; raises UsageError `[no-such-file]`."""
    path = os.path.abspath(file)
    name = around.first_party.name(path)
    if not os.path.exists(path) and name not in stored.map.paths():
        raise UsageError(f"there is no file {file}, and no test is known to have used one", "no-such-file")
    return [name or path, *around.first_party.links(path)]


def _has_changed(stored: Stored, name: str, contents: Contents) -> bool:
    now = contents.digest(Dependency("file", name))
    recorded = {digest for path, digest in stored.blocks if path == name}
    recorded |= {seen.digest for _, seen in stored.map.seen_at(name) if seen.what.kind == "file"}
    return bool(recorded) and now not in recorded


def _choose_new_test_files(names: Sequence[str], contents: Contents, selection: Selection, stored: Stored) -> None:
    known = {nodeid.partition("::")[0] for nodeid in stored.map.tests}
    for name in names:
        file = os.path.basename(name)
        if is_test(file) and file != "conftest.py" and name not in known and contents.digest(Dependency("file", name)):
            selection.choose([name], "the map does not know it yet")
            selection.chose_none.pop(name, None)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
