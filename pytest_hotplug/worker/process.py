"""The long-running process: from start to the last call's end.

One thread, the main one, decides: it hears signals and requests to stop, one after the other, and does
what they ask. Plugins load, calls run and the socket is served on others. Nothing that was accepted is
dropped, unless the time to stop is over or somebody asks twice; then what is left is named.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import queue
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, Literal

import msgspec

from pytest_hotplug.default import PluginManager
from pytest_hotplug.reloader.asking import asking
from pytest_hotplug.reloader.errors import HotplugError
from pytest_hotplug.reloader.settings import Project, Settings, read_settings
from pytest_hotplug.reloader.store import DiskStore
from pytest_hotplug.worker import listening, logs, notify, page
from pytest_hotplug.worker.app import Parts, make_app
from pytest_hotplug.worker.calls import Calls
from pytest_hotplug.worker.forks import ordinary_children
from pytest_hotplug.worker.journal import Feed
from pytest_hotplug.worker.lookout import Lookout
from pytest_hotplug.worker.metrics import Metrics
from pytest_hotplug.worker.page import Page
from pytest_hotplug.worker.run_dir import RunDir, worker_name
from pytest_hotplug.worker.server import Server
from pytest_hotplug.worker.service import Service

__all__ = ["Options", "run_worker", "settings_of_a_worker"]

LOG = logging.getLogger("hotplug")
ENDING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM") if hasattr(signal, name))
LOOK = 5.0  # seconds between looks whether the watch still lives
UNLOADING = 2.0  # seconds that plugins have to end, however little time was given to their calls
MOST_PAGES = 64  # connections of browsers at once: whoever is on this machine can open some
MOST_CALLS = 1000  # accepted at once
CONTROL_THREADS = 8  # that answer what is asked over the socket, whatever calls do
Facts = dict[str, Any]
Event = Literal["listening", "serving", "failed", "settings", "watching", "stopping", "left", "stopped"]
Say = Callable[[Facts], None]


@dataclass(frozen=True)
class Options:
    """How one worker is started; `timeout` is how long running calls may take when a signal ends it."""

    require_all: bool = False
    threads: int = 16
    timeout: float = 30.0
    page: int | None = None


class _Leave(BaseException):
    """Somebody asked a second time."""


def settings_of_a_worker(project: Project) -> Settings:
    """Return the project's settings, with a worker's own defaults where nobody has said anything else."""
    own: dict[str, Any] = {"on_change": "serve-current", "debounce": 0.5, "settle_max": 5.0}
    return msgspec.structs.replace(project.settings, **{k: v for k, v in own.items() if k not in project.origins})


def run_worker(project: Project, options: Options, say: Say) -> int:
    """Serve the project's plugins until somebody ends it; return the exit code.

    `say` is called with facts that have an "event" and a "text". Raises HotplugError `[already-running]`,
    and what `listening.listen` raises.
    """
    settings = settings_of_a_worker(project)
    name = worker_name(settings.worker_name)
    state_dir = project.root / Path(settings.state_dir).expanduser()
    with DiskStore(state_dir, settings.keep_versions).writing():
        run_dir = RunDir(state_dir)  # the store has made its directory as it should be
    with run_dir.held(name):
        worker = _Worker(project, settings, name, options, say)
        try:
            return worker.run(run_dir.socket(name))
        finally:
            if worker.left:  # their threads can't be ended, and would keep the process
                _leave(run_dir, name)


class _Worker:
    """One worker from its start to its end."""

    def __init__(self, project: Project, settings: Settings, name: str, options: Options, say: Say) -> None:
        self._project = project
        self._settings = settings
        self._name = name
        self._options = options
        self._say = say
        self._asked: queue.SimpleQueue[Callable[[], int | None]] = queue.SimpleQueue()
        self._answers: list[Future[Facts]] = []
        self.left: list[str] = []  # what still ran when it left

    # -- start ----------------------------------------------------------------------------------

    def run(self, path: Path) -> int:
        with ExitStack() as stack:
            if self._options.page is not None:
                self._page_socket = stack.enter_context(page.listen(self._options.page))
            self._logs = logs.set_up(self._settings, self._project.root, self._name)
            stack.callback(self._logs.close)
            ours = listening.listen(path)
            stack.callback(listening.close, ours, path, os.lstat(path).st_ino)
            sys.path[:0] = [str((self._project.root / place).resolve()) for place in self._settings.pythonpath]
            self._manager = PluginManager.from_settings(
                self._settings, self._project.root, keeps="on-disk", worker=self._name
            )
            self._metrics = Metrics(self._manager)
            self._calls = Calls(self._manager, self._metrics, threads=self._options.threads, most=MOST_CALLS)
            self._feed = Feed(self._manager, self._name)
            self._service = Service(self._manager, self._name, log_problem=lambda: self._logs.problem)
            self._lookout = Lookout(self._manager, self._service, self._say)
            control = ThreadPoolExecutor(CONTROL_THREADS, thread_name_prefix="hotplug-control")
            app = make_app(Parts(self._service, self._calls, self._feed, self._metrics, control, self._stop_asked))
            self._server = Server(app, ours, "hotplug-server")
            self._open_page(path)
            with self._hearing_signals(), ordinary_children(self._sockets):
                self._server.start()
                LOG.info("hotplug.started", extra={"text": f"worker {self._name} (pid {os.getpid()})"})
                self._say(self._facts("listening", f"worker {self._name} (pid {os.getpid()}) listens at {path}"))
                self._beside(self._load)
                code = self._obey()
            control.shutdown(wait=False, cancel_futures=True)
            return code

    def _beside(self, work: Callable[[], None]) -> None:
        """Do what may take long on a thread, so that a signal needn't wait for it."""
        threading.Thread(target=work, name=f"hotplug{work.__name__.replace('_', '-')}", daemon=True).start()

    def _open_page(self, path: Path) -> None:
        """Serve the status page, where one was asked for; its key lies beside the socket at `path`."""
        if self._page_socket is not None:
            self._page = Page(self._service, self._feed, self._page_socket, path.with_suffix(".page"))
            self._page_server = Server(self._page.app, self._page_socket, "hotplug-page-server", most=MOST_PAGES)
            self._page_server.start()
            self._service.page = self._page.address

    def _sockets(self) -> list[int]:
        return [*self._server.sockets(), *(self._page_server.sockets() if self._page_server is not None else [])]

    _page_socket: socket.socket | None = None
    _page: Page | None = None
    _page_server: Server | None = None

    def _load(self) -> None:
        """Load everything, then watch."""
        try:
            with asking("start"):
                loaded = self._service.load_all()
            for facts in loaded:
                self._say({"event": "loaded" if facts["ok"] else "refused", **facts})
            self._lookout.begin()
        except HotplugError as error:
            text = str(error)
            self._asked.put(lambda: self._give_up(text))
            return
        except Exception:
            if self._manager._registry.closed:
                return  # it is being stopped
            LOG.exception("hotplug.start_failed")
            self._asked.put(lambda: self._give_up("the worker could not start; see its log [internal]"))
            return
        self._asked.put(lambda: self._serve(loaded))

    def _serve(self, loaded: Sequence[Facts]) -> int | None:
        """Say that the worker serves; end it where every plugin was required and what lies there of one is refused."""
        refused = [facts["plugin"] for facts in loaded if not facts["ok"]]
        if refused and self._options.require_all:
            return self._give_up(f"not every plugin could be loaded: {', '.join(refused)} [not-loaded]")
        if self._service.phase == "starting":
            self._service.phase = "serving"
            off = "" if self._manager.hot_reload_enabled else "; hot reload is disabled ('hotplug enable')"
            text = f"{_counted(loaded)}{off}"
            _notify(partial(notify.ready, text))
            LOG.info("hotplug.serving", extra={"text": text})
            if hasattr(os, "geteuid") and os.geteuid() == 0:
                LOG.warning("hotplug.privileged", extra={"text": "runs as root: who can write a plugin is root"})
            # Told, and never logged; on a line of its own, which a terminal lets people copy whole.
            shown = f"\nstatus page:\n{self._service.page}" if self._service.page else ""
            facts = self._facts("serving", f"worker {self._name} serves {text}{shown}")
            self._say({**facts, "page": self._service.page or None})
        return None

    def _give_up(self, text: str) -> int:
        self._say(self._facts("failed", f"worker {self._name}: {text}"))
        return self._stop(self._options.timeout, code=1)

    # -- the one thread that decides ------------------------------------------------------------

    @contextlib.contextmanager
    def _hearing_signals(self) -> Iterator[None]:
        before = {number: signal.getsignal(number) for number in ENDING}
        for number in ENDING:
            signal.signal(number, self._heard)
        hangup = getattr(signal, "SIGHUP", None)
        if hangup is not None:
            before[hangup] = signal.signal(hangup, lambda number, frame: self._asked.put(self._reread))
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _heard(self, number: int, frame: FrameType | None) -> None:
        if self._service.phase == "stopping":
            raise _Leave
        self._service.phase = "stopping"  # at once: the next signal finds it so, whatever is at work
        self._asked.put(lambda: self._stop(self._options.timeout))

    def _obey(self) -> int:
        """Do what is asked, one thing after the other, until one of them gives an exit code."""
        while True:
            try:
                do = self._asked.get(timeout=LOOK)
                code = do()
            except queue.Empty:
                self._look_after_watch()
                continue
            except _Leave:
                code = self._stop(0.0)
            if code is not None:
                return code

    def _look_after_watch(self) -> None:
        """Start the watch again if it has ended (calls check for themselves meanwhile), and put the logs back."""
        _ = self._logs.problem  # looking does it: plugins take logging away, and full disks get room again
        if self._service.phase == "serving" and self._lookout.has_ended:
            text = "the watcher has ended; it is started again"
            LOG.error("hotplug.watcher_down", extra={"text": text})
            self._beside(self._lookout.begin_anew)
            self._say(self._facts("watching", f"worker {self._name}: {text}"))

    def _reread(self) -> None:
        """Take over settings that can change while plugins serve, and name those that can't."""
        _notify(notify.reloading)
        try:
            project = read_settings(self._project.root, _overrides(self._project))
            settings = settings_of_a_worker(project)
            self._logs.reread(settings)
        except HotplugError as error:
            LOG.error("hotplug.settings_refused", extra={"text": str(error)})
            self._say(self._facts("settings", f"settings are as before: {error}"))
        else:
            self._take(settings)
        _notify(partial(notify.ready, f"worker {self._name} serves"))

    def _take(self, settings: Settings) -> None:
        now, later = self._manager.take_over(settings)
        if self._service.phase == "serving" and not _OF_THE_WATCH.isdisjoint(now):
            self._beside(self._lookout.begin_anew)
        said = [f"took over {', '.join(now)}"] if now else []
        said += [f"a restart is needed for {', '.join(later)}"] if later else []
        text = "settings read again: " + ("; ".join(said) or "nothing has changed")
        LOG.info("hotplug.settings", extra={"text": text})
        self._say(self._facts("settings", text))

    # -- stop -----------------------------------------------------------------------------------

    async def _stop_asked(self, limit: float) -> Facts:
        """Answer a request to stop once everything has ended, or what was left is known."""
        answer: Future[Facts] = Future()
        self._answers.append(answer)  # also when it stops already: whoever asks hears of that end
        self._service.phase = "stopping"
        self._asked.put(lambda: self._stop(limit))
        return await asyncio.wrap_future(answer)

    def _stop(self, timeout: float, code: int = 0) -> int:
        """Let accepted calls end, unload, and end the server; what is over time is named and left."""
        deadline = time.monotonic() + timeout
        self._service.phase = "stopping"
        self._calls.take_no_more()
        running = self._calls.running()
        text = f"stopping; {len(running)} call{'s' * (len(running) != 1)} still run" if running else "stopping"
        with contextlib.suppress(_Leave):
            _notify(partial(notify.stopping, text))
            LOG.info("hotplug.stopping", extra={"text": text})
            self._say(self._facts("stopping", f"worker {self._name}: {text}"))
            self._calls.wait_until_ended(timeout)
            self._unload(deadline)
        for number in ENDING:
            signal.signal(number, signal.SIG_IGN)  # the end is decided; nothing more can be asked for
        self.left = self._still_running()
        self._end()
        return 1 if self.left else code

    def _unload(self, deadline: float) -> None:
        """Close the manager, as far as plugins let go in time; on a thread, for they may hang."""
        if self._calls.running():
            return
        deadline = max(deadline, time.monotonic() + UNLOADING)
        closing = threading.Thread(target=self._manager.close, name="hotplug-close", daemon=True)
        closing.start()
        while closing.is_alive() and (left := deadline - time.monotonic()) > 0:
            closing.join(min(left, 1.0))
        self._closed = not closing.is_alive()

    _closed = False

    def _still_running(self) -> list[str]:
        """Name what can't be waited for any longer."""
        now = time.time()
        left = [f"{call.plugin}: a call that runs since {now - call.since:.1f} s" for call in self._calls.running()]
        if not left and not self._closed:
            left.append("a plugin's on_unload, or a thread of its own, does not end")
        return left

    def _end(self) -> None:
        facts: Facts = {"stopped": not self.left, "left": self.left, "phase": "stopping"}
        while self._answers:
            self._answers.pop().set_result(facts)
        self._feed.close()
        self._calls.close()
        if self._page is not None and self._page_server is not None:
            self._page.close()
            self._page_server.stop()
            self._page.end()
        self._server.stop()
        if self.left:
            text = "left while these still ran:\n  " + "\n  ".join(self.left) + "\n  [calls-left]"
            LOG.error("hotplug.left", extra={"text": text})
            self._say(self._facts("left", f"worker {self._name}: {text}"))
        else:
            LOG.info("hotplug.stopped", extra={"text": f"worker {self._name}"})
            self._say(self._facts("stopped", f"worker {self._name} has stopped"))

    def _facts(self, event: Event,
               text: str) -> Facts:  # fmt: skip
        return {"event": event, "worker": self._name, "pid": os.getpid(), "text": text}


_OF_THE_WATCH = frozenset(("debounce", "settle_max", "poll_interval", "force_polling"))


def _overrides(project: Project) -> dict[str, Any]:
    """Return what the command line had said, which still holds when files are read again."""
    return {n: getattr(project.settings, n) for n, origin in project.origins.items() if origin == "command line"}


def _counted(loaded: Sequence[Facts]) -> str:
    """Say how many plugins there are, how many serve a version from before, and of how many nothing serves."""
    failed = sum(facts["serving"] is None for facts in loaded)
    degraded = sum(not facts["ok"] for facts in loaded) - failed
    ill = "".join(f", {number} {what}" for number, what in ((degraded, "degraded"), (failed, "failed")) if number)
    return f"{len(loaded)} plugin{'s' * (len(loaded) != 1)}{ill}"


def _notify(tell: Callable[[], None]) -> None:
    try:
        tell()
    except OSError as error:
        LOG.warning("hotplug.notify_failed", extra={"text": f"systemd could not be told: {error}"})


def _leave(run_dir: RunDir, name: str) -> None:
    """End the process at once, with nothing of it left in the state directory."""
    with contextlib.suppress(OSError):  # the directory may be gone, and a successor's files lie there
        if (run_dir.path / f"{name}.pid").read_text("ascii", "replace") == f"{os.getpid()}\n":
            for path in (run_dir.socket(name), run_dir.path / f"{name}.pid"):
                path.unlink(missing_ok=True)
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(1)
