"""While files are written, or are away for a moment, what serves goes on."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_hotplug.safety.broken import does_not_serve, refused
from pytest_hotplug.safety.check import Check
from pytest_hotplug.safety.checks.syntax_error_kept import compiles
from pytest_hotplug.safety.finding import Finding
from pytest_hotplug.safety.findings import attempted
from pytest_hotplug.safety.stage import Stage

__all__ = ["CHECK"]

_SAMPLE = 16  # places at which a writer stops


def _attempt(stage: Stage) -> Iterator[Finding | None]:
    entry = stage.entry_file
    source = stage.files.original[entry]
    valid: list[int] = []
    for cut in sorted({len(source) * part // _SAMPLE for part in range(_SAMPLE)}):
        if cut and compiles(source[:cut]):
            valid.append(cut)
        else:
            yield refused(stage, f"{entry} written up to byte {cut}", {entry: source[:cut]})
    stage.restore()
    yield _served_half(stage, entry, valid)
    yield refused(stage, f"{entry} away for a moment", {entry: None})
    stage.restore()
    yield _without_its_directory(stage)


def _served_half(stage: Stage, entry: str, cuts: list[int]) -> Finding | None:
    """Tell of the longest part of the entry's file that would serve if a writer stopped there."""
    source = stage.files.original[entry]
    for cut in reversed(cuts):
        before = stage.serving.digest
        stage.files.write(entry, source[:cut])
        if stage.look().digest != before:
            line = source[:cut].count(b"\n") + 1
            stage.restore()
            return Finding(
                message=f"a half-written {entry} is a valid program (cut off in line {line}), and would serve",
                severity="note",
                path=entry,
                line=line,
                remedy="Save atomically (write beside, rename over), as `hotplug deploy` does, or use commit mode.",
            )
    stage.restore()
    return None


def _without_its_directory(stage: Stage) -> Finding | None:
    aside = stage.directory.with_name(f".{stage.directory.name}.away")
    before = stage.serving.digest
    stage.directory.rename(aside)
    wrong = does_not_serve(stage, before)
    if stage.directory.exists():
        made = sorted(path.name for path in stage.directory.iterdir())
        stage.files.discard()
        wrong = wrong or f"the plugin made it anew{' with ' + ', '.join(made) if made else ''}"
    aside.rename(stage.directory)
    if not wrong:
        wrong = does_not_serve(stage, before)
    return Finding(message=f"its directory away for a moment: {wrong}") if wrong else None


CHECK = Check(
    id="half_written_kept",
    title="While files are written or away, what serves goes on",
    how=(
        "The entry's file as a writer leaves it at sixteen places, and away; the whole directory away for a "
        "moment. Where a part of the file is a valid program that would serve, that is a note."
    ),
    remedy="Read data at load and keep it, or through importlib.resources; write nothing into the plugin's directory.",
    scenario="edits",
    attempt=_attempt,
    judge=attempted,
)
