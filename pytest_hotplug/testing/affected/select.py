"""Which tests a change affects, and why, in words for people.

Content decides: what a test saw against what lies on disk. What nobody can tell leads to more tests,
never to fewer: unknown content, a test that failed, a file that appeared or vanished and that code
which a test runs names. Reads files, runs nothing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from pytest_hotplug.testing.affected.blocks import BODY, DOCSTRINGS, WHOLE, Blocks
from pytest_hotplug.testing.affected.contents import (
    TREE,
    UNASKED,
    UNKNOWN,
    Contents,
    Dependency,
    bytes_of,
    counts_for_processes,
)
from pytest_hotplug.testing.affected.first_party import FirstParty, directories_above
from pytest_hotplug.testing.affected.map import Map, Seen

__all__ = ["Selection", "affected_by", "affected_now", "affected_since", "merged", "users_of"]


@dataclass
class Selection:
    """The chosen tests with the reason for each; how many known tests were left out; files that chose none."""

    chosen: dict[str, str] = field(default_factory=dict)
    left_out: int = 0
    chose_none: dict[str, str] = field(default_factory=dict)  # file -> why

    def choose(self, tests: Iterable[str], because: str) -> None:
        for nodeid in tests:
            self.chosen.setdefault(nodeid, because)


Recorded = Mapping[str, Blocks]  # path -> the blocks of the bytes that a run read last


def affected_now(known: Map, contents: Contents, first_party: FirstParty, recorded: Recorded) -> Selection:
    """Compare everything that was seen with the disk; tests that failed, or whose content is unknown, count too.

    `recorded` tells of sources whose bytes are others now why they chose no test.
    """
    selection = Selection()
    places = set(known.paths())
    changed = [path for path in places if path and _differs(known, path, contents)]
    for path in sorted(changed):
        _compare(known, path, contents, selection)
    _compare(known, "", contents, selection)
    for number, seen in known.seen_at(""):
        if seen.what == TREE:
            came_or_went = known.trees[seen.digest] ^ contents.tree()
            _choose_namers(known, came_or_went, first_party, selection, frozenset(known.tests_with(number)))
    failed = (nodeid for nodeid, test in known.tests.items() if test.outcome not in ("passed", "skipped", "xfailed"))
    selection.choose(failed, "it failed last time")
    return _finished(known, selection, [*recorded], contents, recorded)


def affected_by(
    known: Map,
    changed: Iterable[str],
    contents: Contents,
    first_party: FirstParty,
    came_or_went: Iterable[str] | None = None,
) -> Selection:
    """Return the tests that these changed files affect, by their names; nothing else is looked at.

    `came_or_went` are those that are new or gone; None: as far as what tests saw of them tells.
    """
    selection = Selection()
    paths = sorted(set(changed))
    for path in paths:
        for place in (path, *directories_above(path)):
            _compare(known, place, contents, selection, only=("listing", "plugin", "link") if place != path else ())
        if counts_for_processes(path):
            _choose_everything(known, path, selection)
    if came_or_went is None:
        came_or_went = [path for path in paths if _vanished_or_appeared(known, path, contents)]
    _choose_namers(known, came_or_went, first_party, selection)
    return _finished(known, selection, paths, contents)


def users_of(known: Map, files: Iterable[str]) -> Selection:
    """Return the tests that use any of these files, whether or not they changed."""
    selection = Selection()
    paths = sorted(set(files))
    for path in paths:
        for number, seen in known.seen_at(path):
            if seen.digest:  # what was looked for in vain is no use of it
                selection.choose(known.tests_with(number), _uses(seen.what))
        for number, seen in known.seen_at(next(directories_above(path))):
            if seen.what.kind == "plugin" and not path.endswith(".py"):  # its manifest, maybe
                selection.choose(known.tests_with(number), f"it loads {seen.what.path}/, which holds {path}")
        if counts_for_processes(path):
            _choose_everything(known, path, selection)
    return _finished(known, selection, paths, None)


def affected_since(
    known: Map,
    changed: Iterable[str],
    differs: Callable[[Seen], bool],
    came_or_went: Iterable[str],
    contents: Contents,
    first_party: FirstParty,
) -> Selection:
    """Return the tests affected by what differs from another state of the files, recorded since or not."""
    selection = Selection()
    paths = sorted(set(changed))
    for path in paths:
        for place in (path, *directories_above(path)):
            for number, seen in known.seen_at(place):
                if (place == path or seen.what.kind in ("listing", "plugin", "link")) and differs(seen):
                    selection.choose(known.tests_with(number), _because(seen.what, contents))
        if counts_for_processes(path):
            _choose_everything(known, path, selection)
    _choose_namers(known, came_or_went, first_party, selection)
    return _finished(known, selection, paths, contents)


def merged(known: Map, selections: Iterable[Selection]) -> Selection:
    """Return one selection of everything that any of them chose."""
    whole = Selection()
    for selection in selections:
        for nodeid, because in selection.chosen.items():
            whole.chosen.setdefault(nodeid, because)
        whole.chose_none.update(selection.chose_none)
    told = whole.chosen.values()
    whole.chose_none = {p: why for p, why in whole.chose_none.items() if not any(p in because for because in told)}
    whole.left_out = len(known.tests) - sum(1 for nodeid in whole.chosen if nodeid in known.tests)
    return whole


def _finished(
    known: Map, selection: Selection, paths: Iterable[str], contents: Contents | None, recorded: Recorded | None = None
) -> Selection:
    selection.left_out = len(known.tests) - sum(1 for nodeid in selection.chosen if nodeid in known.tests)
    for path in paths:
        if not any(path in because for because in selection.chosen.values()):
            selection.chose_none[path] = _why_none(known, path, contents, (recorded or {}).get(path))
    return selection


def _why_none(known: Map, path: str, contents: Contents | None, recorded: Blocks | None) -> str:
    if not any(True for _ in known.seen_at(path)):
        return "no recorded test uses it"
    if contents is not None and recorded is not None and path.endswith(".py"):
        if contents.blocks(path).digest(WHOLE) == recorded.digest(WHOLE):
            return "only comments or formatting changed"
        return "no recorded test runs what changed in it"
    return "its content is what the tests saw"


# -- comparing ----------------------------------------------------------------------------------


def _compare(known: Map, path: str, contents: Contents, selection: Selection, only: tuple[str, ...] = ()) -> None:
    """Choose the tests that saw something else at a path than what is there now."""
    for number, seen in known.seen_at(path):
        if seen.what == TREE or (only and seen.what.kind not in only):
            continue
        if seen.digest == UNKNOWN:
            selection.choose(known.tests_with(number), f"{_moved(seen.what)} while it ran")
        elif contents.digest(seen.what) not in (seen.digest, UNASKED):
            selection.choose(known.tests_with(number), _because(seen.what, contents))


def _differs(known: Map, path: str, contents: Contents) -> bool:
    return any(seen.digest == UNKNOWN or contents.digest(seen.what) != seen.digest for _, seen in known.seen_at(path))


def _because(what: Dependency, contents: Contents) -> str:
    path, gone = what.path, not contents.digest(what)
    if what.kind == "world":
        return f"{what.name} changed"
    if what.kind == "everything":
        return "it starts a process, and first-party files changed"
    if what.kind == "listing":
        return f"it lists {path}/, which " + ("is gone" if gone else "has other entries")
    if what.kind == "link":
        return f"the link {path} " + ("is gone" if gone else "leads elsewhere")
    if what.kind == "plugin":
        return f"{path}/ " + (
            "is gone" if gone else "has another manifest, other modules, or a file that doesn't compile"
        )
    if not contents.digest(Dependency("file", path)):
        return f"{path} is gone"
    if what.kind == "file":
        return f"{path} changed"
    if contents.blocks(path).broken:
        return f"{path} can't be compiled"
    if what.name in ("", WHOLE):
        return f"{path} changed"
    return f"{path}: {_shown(what.name)} " + ("is gone" if gone else "changed")


def _moved(what: Dependency) -> str:
    if what.kind == "everything":
        return "it starts a process, and first-party files changed"
    if what.kind in ("listing", "plugin"):
        return f"{what.path}/ changed"
    return f"{what.path} changed"


def _shown(block: str) -> str:
    return {BODY: "the module's body", DOCSTRINGS: "a docstring"}.get(block, block)


def _uses(what: Dependency) -> str:
    verbs = {"listing": f"lists {what.path}/", "plugin": f"loads {what.path}/", "file": f"opens {what.path}",
             "link": f"follows the link {what.path}"}  # fmt: skip
    if what.kind == "block" and what.name not in (BODY, WHOLE, DOCSTRINGS):
        return f"it runs {what.name} of {what.path}"
    return f"it {verbs.get(what.kind, f'uses {what.path}')}"


# -- what comes and goes ------------------------------------------------------------------------


def _choose_everything(known: Map, path: str, selection: Selection) -> None:
    for number, seen in known.seen_at(""):
        if seen.what.kind == "everything":
            selection.choose(known.tests_with(number), f"it starts a process, which may use {path}")


def _vanished_or_appeared(known: Map, path: str, contents: Contents) -> bool:
    """Tell whether a file is there that no test saw, or isn't although one saw it."""
    there = bool(contents.digest(Dependency("file", path)))
    saw = any(seen.digest for _, seen in known.seen_at(path) if seen.what.kind in ("file", "code", "block"))
    return there != saw


def _choose_namers(
    known: Map,
    paths: Iterable[str],
    first_party: FirstParty,
    selection: Selection,
    among: frozenset[str] | None = None,
) -> None:
    """Choose the tests (`among` these; None: all) of code that names a file which comes or goes.

    An `exists()` that was told no, and an import that found nothing or something else, leave no other trace.
    """
    words = {path: _word_of(path) for path in paths}
    if not words:
        return
    pattern = re.compile(rb"(?<!\w)(" + b"|".join(map(re.escape, set(words.values()))) + rb")(?!\w)")
    for source in [path for path in known.paths() if path.endswith(".py")]:
        named = set(pattern.findall(bytes_of(first_party.path(source)) or b""))
        for path in (path for path, word in words.items() if word in named and path != source):
            for number, seen in known.seen_at(source):
                if seen.what.kind in ("block", "code"):
                    tests = (nodeid for nodeid in known.tests_with(number) if among is None or nodeid in among)
                    selection.choose(tests, f"{source} names {path}, which came or went")


def _word_of(path: str) -> bytes:
    directory, name = os.path.split(path)
    stem, suffix = os.path.splitext(name)
    if suffix != ".py":
        return os.fsencode(name)
    return os.fsencode(os.path.basename(directory) if stem == "__init__" else stem)
