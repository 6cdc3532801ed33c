"""Load one version of a plugin in a child process and tell what became of it.

The child imports the plugin (and what it depends on) as a worker would, and calls no on_load. A
child that hangs or dies is reported like any other fault. It leads a session of its own: whatever
the plugin starts ends with it, and it ends with us, however we end.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from pytest_hotplug.reloader.discovery import Found
from pytest_hotplug.reloader.errors import visible
from pytest_hotplug.reloader.settings import read_settings

__all__ = ["preflight", "skipped"]

MARGIN = 10.0  # seconds that the child gets beyond its own time limit, to start and to report
LAST_WORDS = 4096  # bytes of its stderr in which the last line is looked for


def preflight(found: Found, source: str | None = None, own_limit: float | None = None) -> dict[str, Any]:
    """Return what `_result` returns for a version of a plugin, by default the one in place.

    `own_limit` is the manifest's load_timeout in seconds, if it has one.
    """
    limit = max(read_settings().settings.load_timeout, own_limit or 0.0) + MARGIN
    order = json.dumps({"plugin": found.name, "source": source and os.path.abspath(source)})
    # Files, not pipes: a process that the plugin starts inherits them, and nobody waits for its end.
    with tempfile.TemporaryFile() as answers, tempfile.TemporaryFile() as errors:
        code = _run(order.encode() + b"\n", answers, errors, limit)
        if code is None:
            return _fault(found, f"the load did not end within {limit:g} s", "load-timeout")
        try:
            told: dict[str, Any] = json.loads(_last_line(answers))
        except ValueError:
            said = visible(_last_line(errors, LAST_WORDS)) or "it said nothing"
            return _fault(found, f"loading it ended the process (exit code {code}): {said}", "process-ended")
        return told


def _run(order: bytes, answers: IO[bytes], errors: IO[bytes], limit: float) -> int | None:
    """Run the child to its end and return its exit code, None when it took too long; nothing of it is left."""
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest_hotplug.cli.preflight"],
        stdin=subprocess.PIPE, stdout=answers, stderr=errors, start_new_session=True,
    )  # fmt: skip
    assert process.stdin is not None, "started with a pipe"
    try:
        with suppress(BrokenPipeError):  # it died at once; its exit code says so
            process.stdin.write(order)
            process.stdin.flush()  # stays open: its end tells the child that we are gone
        return process.wait(limit)
    except subprocess.TimeoutExpired:
        return None
    finally:
        _end(process)
        with suppress(BrokenPipeError):
            process.stdin.close()


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the child and what the plugin started in its session."""
    if hasattr(os, "killpg"):
        with suppress(ProcessLookupError, PermissionError):  # macOS says the latter of a group that has ended
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()


def _last_line(file: IO[bytes], most: int | None = None) -> str:
    """Return the last line of a file, looked for in its last `most` bytes."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0 if most is None else max(0, size - most))
    lines = file.read().decode("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else ""


def skipped(plugin: str, version: str, digest: str) -> dict[str, Any]:
    """Return what `preflight` returns, for a disabled plugin that is not tried."""
    text = f"{plugin}: disabled, not checked"
    return _result(plugin, version=version, digest=digest, text=text, skipped="disabled")


def _fault(found: Found, message: str, slug: str) -> dict[str, Any]:
    text = f"{found.name}: {message}.\n  Keep long work, exits and forks out of import. [{slug}]"
    return _result(found.name, slug=slug, text=text)


def _result(
    plugin: str, *, version: str | None = None, digest: str | None = None, slug: str = "", text: str,
    warnings: tuple[str, ...] = (), skipped: str | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Return what became of one version; without a slug it loads, skipped it was not tried."""
    return {
        "plugin": plugin,
        "ok": None if skipped else not slug,
        "skipped": skipped,
        "version": version,
        "digest": digest,
        "slug": slug,
        "text": text,
        "warnings": list(warnings),
    }


def _child() -> int:
    """Load what the order on stdin names, and print the result as the last line of stdout."""
    from pytest_hotplug.default import PluginManager
    from pytest_hotplug.reloader.errors import HotplugError, PluginLoadError, visible

    order = json.loads(sys.stdin.readline())
    _end_with_the_parent()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what plugins print is not our answer
    project = read_settings()
    sys.path[:0] = [str((project.root / path).resolve()) for path in project.settings.pythonpath]
    name = order["plugin"]
    manager = PluginManager.from_settings(project.settings, project.root, starts=False)
    manager.discover()
    if order["source"]:
        slot = manager._slot(name)
        slot.found = Found(name, Path(order["source"]), slot.found.layout)
    try:
        generation = manager.load(name)
    except PluginLoadError as error:
        result = _result(name, slug=error.fault.slug, text=str(error))
    except HotplugError as error:
        result = _result(name, slug=str(error).rpartition("[")[2].rstrip("]"), text=str(error))
    else:
        version, digest = generation.version, generation.digest
        text = visible(f"{name}: version {version} loads ({digest[:12]})")
        warnings = generation.manifest.warnings
        result = _result(name, version=version, digest=digest, text=text, warnings=warnings)
    answers.write("\n" + json.dumps(result) + "\n")
    answers.flush()
    os._exit(0)  # a plugin's threads must not keep the child


def _end_with_the_parent() -> None:
    """End this session when nobody holds the other end of stdin any more; plugins get an empty stdin."""
    held = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)

    def watch() -> None:
        while os.read(held, 1):
            continue
        if hasattr(os, "killpg"):
            os.killpg(0, signal.SIGKILL)
        os._exit(1)

    threading.Thread(target=watch, name="hotplug-parent", daemon=True).start()


if __name__ == "__main__":
    raise SystemExit(_child())
