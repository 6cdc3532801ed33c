"""A version that fails while it is imported never serves, whichever of its modules fails."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_hotplug.safety.broken import refused
from pytest_hotplug.safety.check import Check
from pytest_hotplug.safety.finding import Finding
from pytest_hotplug.safety.findings import attempted
from pytest_hotplug.safety.stage import CannotPlay, Stage

__all__ = ["CHECK"]

_FAILS = b"\n\nraise RuntimeError('hotplug: this version fails at import')\n"
_MOST = 10  # other modules that fail, one after the other
_BROKEN = {
    "an exception at import": _FAILS,
    "a distribution that is not installed": b"\n\nimport hotplug_distribution_that_nobody_installed\n",
    "an exit at import": b"\n\nraise SystemExit(1)\n",
    "an endless recursion at import": b"\n\ndef _hotplug_deeper():\n    _hotplug_deeper()\n_hotplug_deeper()\n",
}


def _attempt(stage: Stage) -> Iterator[Finding | None]:
    entry = stage.entry_file
    source = stage.files.original[entry]
    for what, more in _BROKEN.items():
        yield refused(stage, f"{what} of {entry}", {entry: source + more})
    beside = f"{entry.rpartition('/')[0]}/hotplug_new.py".lstrip("/")
    new = {beside: _FAILS, entry: source + b"\n\nfrom . import hotplug_new\n"}
    yield refused(stage, "an exception at import of a new module", new)
    stage.restore()
    at_load, later = _imported(stage)
    for name in [name for name in at_load if name != entry][:_MOST]:
        broken = stage.files.original[name] + _FAILS
        yield refused(stage, f"an exception at import of {name}", {name: broken})
        stage.restore()
    for name in later:
        yield Finding(
            message=f"{name} is imported by a call only: a version in which it fails serves until somebody calls it",
            severity="note",
            path=name,
            remedy="Import it at the top of the module that needs it, or in on_load.",
        )


def _imported(stage: Stage) -> tuple[list[str], list[str]]:
    """Return the files whose modules a load imports, and those that only a call does."""
    stage.reload(use=False)
    at_load = _files(stage)
    stage.use()
    return at_load, [name for name in _files(stage) if name not in at_load]


def _files(stage: Stage) -> list[str]:
    names = [stage.file_of(name.removeprefix(stage.public).lstrip(".")) for name in list(stage.serving.modules)]
    if not any(names):
        raise CannotPlay("none of its modules comes from a file")
    return [name for name in dict.fromkeys(names) if name is not None]


CHECK = Check(
    id="import_error_kept",
    title="A version that fails at import never serves",
    how=(
        "An exception, an exit, an endless recursion and an import of something not installed at the end of "
        "the entry's module, an exception in a new module, and in each other module that a load imports. A "
        "module that only a call imports is a note."
    ),
    remedy="Let the import of the plugin's own modules fail: an `except` around it serves half a version.",
    scenario="edits",
    attempt=_attempt,
    judge=attempted,
)
