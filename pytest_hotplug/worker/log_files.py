"""Files that many processes append to: a line is one write, and rotation is one process's turn.

No lock is held to write a line, so that no stopped or dying process can keep others waiting: the system appends each
write as a whole. Whoever finds the file full renames it under a lock that nobody waits for; the others notice by its
inode. When a file can't be written its lines go to stderr, and it is tried again after a while. Knows no format and
no settings; for the worker's logs only.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pytest_hotplug.reloader.errors import visible
from pytest_hotplug.reloader.file_lock import file_lock
from pytest_hotplug.worker.streams import push

__all__ = ["KEEP", "MAX_BYTES", "LogFile", "LogFiles"]

MAX_BYTES = 10 * 1024 * 1024  # of a file; the line that reaches it is its last
KEEP = 5  # older files beside it: app.log.1 is the newest
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0  # seconds between two attempts to write a file that can't be written
_ROTATION_PAUSE = 1.0  # seconds until a rotation that failed is tried again
_IN_PROGRESS = 0.001  # seconds between two looks at a line without an end
_LOOKS = 50  # after so many it is nobody's who still writes
_STDERR_PATIENCE = 0.1  # seconds for stderr to take a line; a log must not hold up those who log
_COMMON = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
# A named pipe without a reader is a fault, and no wait for ever.
_AT_ONCE = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
_APPENDING = os.O_WRONLY | os.O_APPEND | os.O_CREAT | _AT_ONCE | _COMMON
_READING = os.O_RDONLY | _COMMON


class LogFile:
    """One file, appended to by any number of processes; raises OSError when it can't be written."""

    def __init__(self, path: Path, max_bytes: int = MAX_BYTES, keep: int = KEEP) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._keep = keep
        self.rotation_problem = ""  # why a full file grows on, or ""
        self._fd = self._reader = -1
        self._inode = (0, 0)
        self._rotates = False  # a device or a pipe does not
        self._not_before = 0.0

    def open(self) -> None:
        """Open the file that has the name now, and its directory if need be."""
        for _ in range(_LOOKS):
            if self._opens():  # else it was rotated between two steps
                return
        raise OSError(errno.EAGAIN, "it is another file at each look", str(self.path))

    def _opens(self) -> bool:
        """Open the file for appending and, if that can be, for reading; False where those would be two files."""
        self.close()
        try:
            self._fd = os.open(self.path, _APPENDING, 0o640)
        except FileNotFoundError:
            self.path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            self._fd = os.open(self.path, _APPENDING, 0o640)
        status = os.fstat(self._fd)
        self._inode = (status.st_dev, status.st_ino)
        self._rotates = stat.S_ISREG(status.st_mode)
        if not self._rotates:
            return True
        try:
            self._reader = os.open(self.path, _READING)
        except PermissionError:  # it may be written and not read: then nobody sees how it ends
            return True
        except FileNotFoundError:
            return False
        read = os.fstat(self._reader)
        return (read.st_dev, read.st_ino) == self._inode

    def write(self, line: str) -> None:
        """Append one line; `line` is without its end."""
        data = f"{line}\n".encode("utf-8", "backslashreplace")
        while True:
            if self._fd < 0 or not self._has_the_name():
                self.open()
            self._append(data)
            if not self._rotates:
                return
            status = os.fstat(self._fd)
            if status.st_nlink:
                break
            # Between our look and the write it was deleted, or rotated away more often than files are kept.
        if status.st_size >= self._max_bytes:
            self._rotate()

    def close(self) -> None:
        """Let go of the file."""
        fds, self._fd, self._reader = (self._fd, self._reader), -1, -1
        for fd in fds:
            if fd >= 0:
                os.close(fd)

    def _has_the_name(self) -> bool:
        try:
            status = os.stat(self.path)
        except FileNotFoundError:
            return False
        return (status.st_dev, status.st_ino) == self._inode

    def _append(self, data: bytes) -> None:
        if self._is_torn():
            data = b"\n" + data
        written = os.write(self._fd, data)
        if written < len(data):  # the rest could only follow behind another process's line
            raise OSError(errno.ENOSPC, f"only {written} of {len(data)} bytes were written", str(self.path))

    def _is_torn(self) -> bool:
        """Tell whether somebody's last line has no end: killed in the middle of it, or out of room."""
        for _ in range(_LOOKS):
            if not self._lacks_end():
                return False
            time.sleep(_IN_PROGRESS)
        return True

    def _lacks_end(self) -> bool:
        if self._reader < 0 or not os.lseek(self._reader, 0, os.SEEK_END):
            return False
        os.lseek(self._reader, -1, os.SEEK_END)
        return os.read(self._reader, 1) not in (b"\n", b"")

    def _rotate(self) -> None:
        """Rename the full file, unless another process does; what fails is tried again with a later line."""
        if time.monotonic() < self._not_before:
            return
        try:
            with file_lock(self.path.with_name(".rotation.lock"), timeout=0.0):
                if self._has_the_name():
                    self._make_room()
                    os.replace(self.path, self._older(1))
        except TimeoutError:
            return  # it is being done
        except OSError as error:
            self._not_before = time.monotonic() + _ROTATION_PAUSE  # the file grows on: no line is lost for that
            self.rotation_problem = f"{visible(str(self.path))} can't be rotated and grows on: {error.strerror}"
            return
        self.rotation_problem = ""
        self.close()

    def _make_room(self) -> None:
        """Free the name of the newest older file: up to the first gap all move on, without a gap the oldest goes."""
        free = next((n for n in range(1, self._keep + 1) if not self._older(n).exists()), self._keep)
        for number in range(free, 1, -1):
            os.replace(self._older(number - 1), self._older(number))

    def _older(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")


class _Outlet:
    """A file with a memory of why it can't be written, of what it missed, and of when to try again."""

    def __init__(self, file: LogFile, level: int, clock: Callable[[], float]) -> None:
        self.file = file
        self.level = level
        self.fault = ""  # why it can't be written, or ""
        self.missed = 0  # lines since then
        self._clock = clock
        self._pause = _FIRST_PAUSE
        self._not_before = 0.0

    @property
    def is_due(self) -> bool:
        """Tell whether a file that could not be written is to be tried again."""
        return bool(self.fault) and self._clock() >= self._not_before

    def take(self, *lines: str) -> bool:
        """Write the lines (none: open the file), or remember why that can't be done."""
        try:
            if not lines:
                self.file.open()
            for line in lines:
                self.file.write(line)
        except OSError as error:
            self.fault = f"{visible(str(self.file.path))} can't be written: {visible(error.strerror or str(error))}"
            self._not_before = self._clock() + self._pause
            self._pause = min(2 * self._pause, _LONGEST_PAUSE)
            return False
        self.fault, self.missed, self._pause = "", 0, _FIRST_PAUSE
        return True


class LogFiles(logging.Handler):
    """Sends every record to `app.log`, errors to `error.log` too, and to stderr what `app.log` can't take.

    Never raises for a record, whatever stands in it and whatever happens to the files. `clock` gives seconds that only
    grow. The lock that every logging handler has guards all of it.
    """

    def __init__(
        self, max_bytes: int = MAX_BYTES, keep: int = KEEP, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__()
        self._max_bytes = max_bytes
        self._keep = keep
        self._clock = clock
        self._outlets: tuple[_Outlet, ...] = ()
        self._lost = 0  # lines that could be written nowhere
        self._why_lost = ""
        self._lost_last = False  # then nobody waits for stderr until it takes something again

    def configure(self, directory: Path | None, lines: logging.Formatter, level: int) -> None:
        """Write so from the next record on (None: to stderr alone); files are opened at once."""
        with self._guarded():
            self._release()
            self.setFormatter(lines)
            self.setLevel(level)
            wanted = () if directory is None else ((directory / "app.log", 0), (directory / "error.log", logging.ERROR))
            self._outlets = tuple(
                _Outlet(LogFile(path, self._max_bytes, self._keep), least, self._clock) for path, least in wanted
            )
            for outlet in self._outlets:
                if not outlet.fault and not outlet.take():  # it may have failed at the word about another
                    self._tell_unwritable(outlet)

    @property
    def problem(self) -> str:
        """Return why records don't all go where they should, or ""; what is due is tried again first."""
        with self._guarded():
            for outlet in self._outlets:
                if outlet.is_due:
                    self._is_taken(outlet)
            faults = [outlet.fault or outlet.file.rotation_problem for outlet in self._outlets]
            lost = f"{self._lost} lines could be written nowhere: {self._why_lost}" if self._lost else ""
            return "; ".join(filter(None, (*faults, lost)))

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        try:
            line = self.format(record)
            taken = [self._is_taken(outlet, line) for outlet in self._outlets if record.levelno >= outlet.level]
            if not any(taken[:1]):
                self._to_stderr(line)
        except Exception as error:  # noqa: BLE001  # a log must not end a call or a reload
            self._lose(error)

    def close(self) -> None:
        """Let go of the files; a record that comes later opens them again."""
        with self._guarded():
            self._release()
        super().close()

    def _is_taken(self, outlet: _Outlet, *lines: str) -> bool:
        """Write into a file, first that it can be written again if it could not; tell it when it no longer can."""
        could_not = bool(outlet.fault)
        if could_not and not outlet.is_due:
            outlet.missed += len(lines)
            return False
        missed = outlet.missed
        if outlet.take(*((self._writable_again(outlet), *lines) if could_not else lines)):
            if could_not and outlet is self._outlets[0]:
                self._lost = 0  # the file tells of them now
            return True
        outlet.missed = missed + len(lines)
        if not could_not:
            self._tell_unwritable(outlet)
        return False

    def _writable_again(self, outlet: _Outlet) -> str:
        lost = f"; {self._lost} could be written nowhere" if self._lost else ""
        text = f"it can be written again; {outlet.missed} lines are missing here, see stderr{lost}"
        return self._own_line("hotplug.log_writable", logging.WARNING, path=outlet.file.path, text=text)

    def _tell_unwritable(self, outlet: _Outlet) -> None:
        text = f"{outlet.fault}; what belongs there goes to stderr until it can [log-unwritable]"
        line = self._own_line("hotplug.log_unwritable", logging.ERROR, slug="log-unwritable", text=text)
        self._to_stderr(line)
        for other in self._outlets:
            if other is not outlet and not other.fault:
                self._is_taken(other, line)

    def _own_line(self, event: str, level: int, **fields: object) -> str:
        record = logging.LogRecord("hotplug", level, __file__, 0, event, None, None)
        record.__dict__.update(fields)
        return self.format(record)

    def _to_stderr(self, line: str) -> None:
        stream = sys.__stderr__  # the process's own: what stands in for it may be a plugin's, and may log
        try:
            if stream is None:
                raise OSError(errno.EBADF, "the process has no stderr")
            push(stream, f"{line}\n", 0.0 if self._lost_last else _STDERR_PATIENCE)
            self._lost_last = False
        except (OSError, ValueError) as error:  # ValueError: it was closed
            self._lose(error)

    def _lose(self, error: Exception) -> None:
        self._lost += 1
        self._lost_last = True
        self._why_lost = visible(getattr(error, "strerror", None) or f"{type(error).__name__}: {error}")

    def _release(self) -> None:
        for outlet in self._outlets:
            outlet.file.close()

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        self.acquire()
        try:
            yield
        finally:
            self.release()
