"""One replaceable thread on which loads run, so that a load that never returns costs one thread.

A Python thread can't be killed: a hung one is left behind, and the next job gets a new one. The
thread ends by itself when it has nothing to do. Knows nothing of plugins.
"""

from __future__ import annotations

import contextvars
import queue
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from pytest_hotplug.reloader.waiting import Latch

__all__ = ["ReloadThread"]

T = TypeVar("T")
IDLE = 1.0  # seconds until an idle thread ends
SLICE = 0.1  # seconds


class _Job:
    """One function to run in its caller's context, and what became of it."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function
        self._context = contextvars.copy_context()
        self.done = Latch()
        self.result: Any = None
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self.result = self._context.run(self._function)
        except BaseException as error:  # noqa: BLE001  # raised again in the thread that waits; one that gave up has said so
            self.error = error
        finally:
            del self._function, self._context  # before anybody goes on: what was built must not live here
            self.done.open()


class ReloadThread:
    """Runs jobs one after the other on a daemon thread, replaced when a job outlives its time."""

    def __init__(self, name: str = "hotplug-reload") -> None:
        self._name = name
        self._lock = threading.Lock()  # guards _jobs: the queue of the thread that takes new jobs
        self._jobs: queue.SimpleQueue[_Job | None] | None = None
        self._thread: threading.Thread | None = None

    def after_fork(self) -> None:
        """Forget, in a child process, the thread of the parent; the next job gets a new one."""
        self._lock = threading.Lock()
        self._jobs = self._thread = None

    def run(self, function: Callable[[], T], timeout: float) -> T:
        """Run `function` and return its result or raise its error; raises TimeoutError after `timeout` seconds.

        Whatever ends the wait early (a time limit, Ctrl-C), the thread that still works is replaced.
        """
        job = _Job(function)
        try:
            self._put(job)
            deadline = time.monotonic() + timeout
            # In slices: a Ctrl-C that comes just before a wait begins is noticed when it ends.
            while not job.done.wait(min(SLICE, max(0.0, deadline - time.monotonic()))):
                if time.monotonic() >= deadline:
                    raise TimeoutError
        except BaseException:
            self._replace()
            raise
        if job.error is not None:
            try:
                raise job.error
            finally:
                job.error = None
        result: T = job.result
        return result

    def stop(self) -> None:
        """Let the thread end, and wait for it unless it hangs."""
        with self._lock:
            jobs, thread, self._jobs, self._thread = self._jobs, self._thread, None, None
        if jobs is not None and thread is not None:
            jobs.put(None)
            if thread is not threading.current_thread():
                thread.join(IDLE)

    def _put(self, job: _Job) -> None:
        with self._lock:
            if self._jobs is None:
                jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
                thread = threading.Thread(target=self._serve, args=(jobs,), name=self._name, daemon=True)
                thread.start()  # first: a queue that no thread serves must not stand here
                self._jobs, self._thread = jobs, thread
            self._jobs.put(job)

    def _replace(self) -> None:
        with self._lock:
            jobs, self._jobs, self._thread = self._jobs, None, None
        if jobs is not None:
            jobs.put(None)

    def _serve(self, jobs: queue.SimpleQueue[_Job | None]) -> None:
        while True:
            try:
                job = jobs.get(timeout=IDLE)
            except queue.Empty:
                if self._retire(jobs):
                    return
                continue
            if job is None:
                return
            job.run()
            del job

    def _retire(self, jobs: queue.SimpleQueue[_Job | None]) -> bool:
        """End this thread, unless a job came in meanwhile."""
        with self._lock:
            if self._jobs is jobs and jobs.empty():
                self._jobs = self._thread = None
                return True
            return self._jobs is not jobs and jobs.empty()
