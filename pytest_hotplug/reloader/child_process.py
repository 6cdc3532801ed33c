"""Run a child process of which nothing is left: what a plugin does to a process it does there.

The child leads a session of its own: whatever a plugin starts ends with it, and it ends with us, however
we end. Both sides stand here; what is asked and answered is for others. Knows nothing of plugins.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from pytest_hotplug.reloader.kin import alike

__all__ = ["answering", "end_with_the_parent", "last_line", "run_child", "say"]

_TICK = 0.1  # seconds between looks at whether it took too long


# -- our side -----------------------------------------------------------------------------------


def run_child(
    name: str,
    code: str,
    order: bytes,
    answers: IO[bytes],
    errors: IO[bytes],
    is_over: Callable[[], bool],
    *,
    options: Sequence[str] = ("-P",),
    directory: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> int | None:
    """Run `code` in a child to its end and return its exit code, None when `is_over` said so before; nothing is left.

    `order` is the first of its stdin. Raises OSError when no child can be started.
    """
    if not sys.executable:
        raise FileNotFoundError("this process does not know its interpreter (sys.executable is empty)")
    # The last argument is for nobody to read: by it alone the forks of this very child are found.
    command = [sys.executable, *options, "-c", code, f"{name}-{uuid.uuid4().hex}"]
    reader, writer = os.pipe()
    process = None
    try:
        try:
            process = subprocess.Popen(
                command,
                stdin=reader, stdout=answers, stderr=errors, start_new_session=True, cwd=directory, env=environment,
            )  # fmt: skip
        finally:
            os.close(reader)
        with suppress(BrokenPipeError), open(writer, "wb", closefd=False) as stdin:  # it died at once: the code says so
            stdin.write(order)
        while not is_over():
            with suppress(subprocess.TimeoutExpired):
                return process.wait(_TICK)
        return None
    finally:
        os.close(writer)  # this alone tells the child that we are gone: a Ctrl-C may have come before we knew it
        if process is not None:
            _end(process, command)


def _end(process: subprocess.Popen[bytes], command: Sequence[str]) -> None:
    """End the child, what the plugin started in its session, and forks that left it."""
    if hasattr(os, "killpg"):
        with suppress(ProcessLookupError, PermissionError):  # macOS says the latter of a group that has ended
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()
    for pid in alike(command):
        with suppress(ProcessLookupError):  # it ended meanwhile
            os.kill(pid, signal.SIGKILL)


def last_line(file: IO[bytes], most: int | None = None) -> str:
    """Return the last line of a file, looked for in its last `most` bytes."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0 if most is None else max(0, size - most))
    lines = file.read().decode("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else ""


# -- the child's side ---------------------------------------------------------------------------


def end_with_the_parent() -> None:
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


def answering() -> IO[str]:
    """Return where the parent reads our answers; what plugins print goes to stderr from now on."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers


def say(answers: IO[str], line: str) -> None:
    """Give an answer; the last one counts."""
    answers.write(f"\n{line}\n")
    answers.flush()
