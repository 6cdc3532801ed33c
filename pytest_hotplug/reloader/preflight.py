"""Try versions of plugins in a child process: what ends or hangs a process at import does it there.

Hands the child its order, and says what became of it. What the child does with it stands in
`preflight_child`, how a child is run in `child_process`. Must not be called while the transaction guard is held.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, TypeVar

import msgspec

from pytest_hotplug.reloader.child_process import last_line, run_child
from pytest_hotplug.reloader.discovery import Found
from pytest_hotplug.reloader.errors import Fault, PluginFault, visible
from pytest_hotplug.reloader.fingerprint import Snapshot
from pytest_hotplug.reloader.settings import Layout, Settings

__all__ = ["Order", "Tried", "fault_of", "preflight", "read", "try_snapshots", "written"]

MARGIN = 10.0  # seconds that the child gets to start
REPORT_MARGIN = 2.0  # seconds that it gets beyond each load's time limit, to notice that and to report
LAST_WORDS = 4096  # bytes of its stderr in which the last line is looked for
# The path first: only with it is this package found, wherever the parent found it. No `-m`: that would put
# the working directory in front of the standard library.
_CHILD = (
    "import json, sys; told = json.loads(sys.stdin.readline()); sys.path[:] = told['path']; "
    "from pytest_hotplug.reloader.preflight_child import main; main(told['order'])"
)
_REMEDY = "Keep long work, exits and forks out of import."
T = TypeVar("T")


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What the child is told: all that it would otherwise read anew, and perhaps differently.

    `names` are loaded one after the other; `found` says where bytes on trial are read instead of
    where their plugin lies, `homes` by plugin where these bytes count as lying all the same.
    """

    names: tuple[str, ...]
    found: tuple[Found, ...]
    homes: dict[str, str] = {}
    settings: Settings
    layouts: tuple[Layout, ...]


class Tried(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the versions: all good without a `slug`. `version` and `digest` are the last name's.

    `fault` says what was wrong, or `text` when it was nothing of a plugin's bytes; `digests` are, by
    plugin, those of everything that did load.
    """

    slug: str = ""
    text: str = ""
    fault: Fault | None = None
    version: str = ""
    digest: str = ""
    warnings: tuple[str, ...] = ()
    digests: dict[str, str] = {}


def written(value: object) -> str:
    """Return an order or an answer as one line of JSON, whatever bytes its paths consist of."""
    return json.dumps(msgspec.to_builtins(value, enc_hook=os.fspath))


def read(value: Any, kind: type[T]) -> T:
    """Return what `written` wrote, parsed already, as what it was."""
    return msgspec.convert(value, kind, dec_hook=lambda wanted, given: wanted(given))


def preflight(order: Order, *, limit: float, path: Sequence[str] | None = None) -> Tried:
    """Load what `order` names in a child process and return what became of it; nothing of the child is left.

    `limit` are the seconds that its loads may take, `path` is its `sys.path` (default: ours).
    """
    told = {"path": [*sys.path] if path is None else [*path], "order": json.loads(written(order))}
    told["path"] = [place for place in told["path"] if isinstance(place, str)]
    try:
        # Files, not pipes: a process that the plugin starts inherits them, and nobody waits for its end.
        with tempfile.TemporaryFile() as answers, tempfile.TemporaryFile() as errors:
            patience = _Patience(
                answers, limit + REPORT_MARGIN, most=MARGIN + len(order.found) * (limit + REPORT_MARGIN)
            )
            code = run_child(
                "hotplug-preflight", _CHILD, json.dumps(told).encode() + b"\n", answers, errors, patience.is_over
            )
            return _told(order, code, answers, errors, limit)
    except OSError as error:
        message = f"it can't be tried, for no child process can be started: {error}"
        remedy = "It is tried again; free what is short, or set preflight = 'off'."
        return _failed(order, order.names[-1], message, "preflight-failed", remedy)


def _told(order: Order, code: int | None, answers: IO[bytes], errors: IO[bytes], limit: float) -> Tried:
    try:
        answer: dict[str, Any] = json.loads(last_line(answers))
    except ValueError:
        answer = {}
    at = answer.get("at", order.names[-1])
    if code is None or answer.get("slug") == "load-timeout":
        at = (answer.get("fault") or {}).get("plugin", at)
        message = f"importing it did not end within {limit:g} s in a child process, which was ended"
        return _failed(order, at, message, "load-timeout", _REMEDY)
    if "slug" in answer:
        return read(answer, Tried)
    how = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
    said = visible(last_line(errors, LAST_WORDS)) or "it said nothing"
    return _failed(order, at, f"importing it ended the process that tried it ({how}): {said}", "process-ended", _REMEDY)


def _failed(order: Order, plugin: str, message: str, slug: str, remedy: str) -> Tried:
    places = {found.name: str(found.path) for found in order.found} | order.homes
    path = Path(places[plugin]) if plugin in places else None
    return Tried(slug=slug, fault=Fault(plugin, slug, message, path, remedy=remedy, own_bytes=False))


class _Patience:
    """How long a child is waited for: some time to start, then each load's own from when it said it began.

    Whatever it says, there is an end: `most` seconds for all of it.
    """

    def __init__(self, answers: IO[bytes], each: float, most: float) -> None:
        self._answers = answers
        self._each = each
        self._said = 0
        self._end = time.monotonic() + MARGIN
        self._last_end = time.monotonic() + most

    def is_over(self) -> bool:
        said = os.fstat(self._answers.fileno()).st_size
        now = time.monotonic()
        if said > self._said:
            self._said, self._end = said, now + self._each
        return now >= min(self._end, self._last_end)


# -- what a manager is about to load ------------------------------------------------------------


def try_snapshots(
    names: Sequence[str],
    snapshots: Mapping[str, tuple[Found, Snapshot]],
    settings: Settings,
    layouts: Sequence[Layout],
    limit: float,
) -> Tried:
    """Try `names` in a child that is given these very bytes, each with the place where its plugin lies."""
    try:
        with tempfile.TemporaryDirectory(prefix="hotplug-preflight-") as directory:
            for name, (_, snapshot) in snapshots.items():
                _stage(Path(directory) / name, snapshot)
            order = Order(
                names=tuple(names),
                found=tuple(_staged(found, Path(directory)) for found, _ in snapshots.values()),
                homes={name: str(s.home or f.path) for name, (f, s) in snapshots.items()},
                # Where they lie, who may write them and whether they rest was looked at here.
                settings=msgspec.structs.replace(settings, strict_permissions="off", commit=False, debounce=0.0),
                layouts=tuple(layouts),
            )
            return preflight(order, limit=limit)
    except OSError as error:
        found, _ = snapshots[names[-1]]
        message = f"it can't be tried, for its files can't be staged: {error}"
        remedy = "It is tried again; free what is short, or set preflight = 'off'."
        fault = Fault(found.name, "preflight-failed", message, found.path, remedy=remedy, own_bytes=False)
        return Tried(slug=fault.slug, fault=fault)


def _staged(found: Found, directory: Path) -> Found:
    layout = replace(found.layout, path=directory, beside=found.layout.beside or found.layout.path)
    return Found(found.name, directory / found.name, layout)


def _stage(place: Path, snapshot: Snapshot) -> None:
    place.mkdir()
    for name, data in snapshot.files.items():
        file = place / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)


def fault_of(tried: Tried, found: Found) -> PluginFault | None:
    """Return what is wrong with versions that were tried, None when nothing is."""
    if not tried.slug:
        return None
    text = tried.text.removesuffix(f" [{tried.slug}]")
    return PluginFault(tried.fault or Fault(found.name, tried.slug, text, found.path, own_bytes=False))
