"""A version that does not compile never serves, whichever of its files is broken; the old one goes on."""

from __future__ import annotations

import io
import tokenize
from collections.abc import Iterator, Sequence

from pytest_hotplug.safety.broken import refused
from pytest_hotplug.safety.check import Check
from pytest_hotplug.safety.finding import Finding
from pytest_hotplug.safety.findings import attempted
from pytest_hotplug.safety.stage import Stage

__all__ = ["CHECK", "compiles"]

_SAMPLE = 20  # places at which the entry's file is cut off
_MOST = 10  # other files that are broken, one after the other
_BROKEN = {
    "an unfinished function": b"\n\ndef hotplug_unfinished(:\n",
    "tabs and blanks mixed": b"\n\nif 1:\n\thotplug_tab = 1\n        hotplug_blanks = 2\n",
    "a null byte": b"\n\x00\n",
}


def _attempt(stage: Stage) -> Iterator[Finding | None]:
    entry = stage.entry_file
    source = stage.files.original[entry]
    for cut in _sample(list(_ends(source))):
        if not compiles(source[:cut]):
            line = source[:cut].count(b"\n") + 1
            yield refused(stage, f"{entry} cut off in line {line}", {entry: source[:cut]})
    for what, more in _BROKEN.items():
        yield refused(stage, f"{what} in {entry}", {entry: source + more})
    stage.restore()  # the same manager goes on: no restart
    for name in [name for name in stage.code_files() if name != entry][:_MOST]:
        broken = stage.files.original[name] + _BROKEN["an unfinished function"]
        yield refused(stage, f"an unfinished function in {name}", {name: broken})
        stage.restore()


def _ends(source: bytes) -> Iterator[int]:
    """Yield where the tokens end, in bytes."""
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    lines = source.decode("utf-8", "replace").splitlines(keepends=True)
    try:
        for token in tokenize.tokenize(io.BytesIO(source).readline):
            row, column = token.end
            if token.string.strip() and 0 < row <= len(lines):
                yield starts[row - 1] + len(lines[row - 1][:column].encode())
    except (tokenize.TokenError, SyntaxError):  # it is not a good version; the load says so
        return


def _sample(places: Sequence[int]) -> Sequence[int]:
    step = max(len(places) // _SAMPLE, 1)
    return places[:-1:step]


def compiles(source: bytes) -> bool:
    """Tell whether it is a valid program."""
    try:
        compile(source, "<part>", "exec", dont_inherit=True)
    except (SyntaxError, ValueError):  # the latter: a null byte, before 3.12
        return False
    return True


CHECK = Check(
    id="syntax_error_kept",
    title="A version that does not compile never serves",
    how=(
        "The entry's file is cut off at twenty tokens, gets an unfinished function, mixed tabs and a null "
        "byte; each other file gets an unfinished function. Each time the old version serves, its probe "
        "passes, the fault is told once, and the restored file serves without a restart."
    ),
    remedy="Let calls need nothing of the plugin's own source, and let the plugin write none.",
    scenario="edits",
    attempt=_attempt,
    judge=attempted,
)
