"""The logs of a worker: what is logged anywhere in the process goes into its files, in one format.

Knows the settings; how a line looks and how it gets into a file stands in the two modules below.
"""

from __future__ import annotations

import logging
from pathlib import Path

from pytest_hotplug.reloader.settings import Settings
from pytest_hotplug.worker.log_files import LogFiles
from pytest_hotplug.worker.log_lines import lines_of

__all__ = ["Logs", "set_up"]

LOG = logging.getLogger("hotplug")
STDERR = "-"


class Logs:
    """Holds the process's root logger and the logger `hotplug`, from `set_up` until `close`."""

    def __init__(self, settings: Settings, root: Path, worker: str, handler: LogFiles) -> None:
        self._root = root
        self._worker = worker
        self._handler = handler
        self._levels = {logger: logger.level for logger in (logging.getLogger(), LOG)}
        self._level = logging.NOTSET
        self.reread(settings)
        logging.getLogger().addHandler(handler)

    @property
    def problem(self) -> str:
        """Return why logs don't go where they should, "" while all is well.

        What could not be written is tried again when its time has come, and what code in this process took away
        (`logging.basicConfig(force=True)`, `logging.config.dictConfig`) is put back.
        """
        self._hold()
        return self._handler.problem

    def reread(self, settings: Settings) -> None:
        """Apply `log_dir`, `log_format` and `log_level` anew; files are opened again, as after a SIGHUP."""
        directory = None if settings.log_dir == STDERR else self._root / Path(settings.log_dir).expanduser()
        self._level = logging.getLevelNamesMapping()[settings.log_level.upper()]
        self._handler.configure(directory, lines_of(settings.log_format, self._worker), self._level)
        for logger in self._levels:
            logger.setLevel(self._level)

    def close(self) -> None:
        """Leave logging as it was before `set_up`, and the files closed."""
        logging.getLogger().removeHandler(self._handler)
        for logger, level in self._levels.items():
            logger.setLevel(level)
        self._handler.close()

    def _hold(self) -> None:
        """Put back what was taken from the loggers; plugins configure logging as if the process were theirs."""
        top = logging.getLogger()
        taken = self._handler not in top.handlers or LOG.disabled or not LOG.propagate
        if not taken and all(logger.level == self._level for logger in self._levels) and not top.manager.disable:
            return
        if self._handler not in top.handlers:
            top.addHandler(self._handler)
        LOG.disabled, LOG.propagate = False, True
        for logger in self._levels:
            logger.setLevel(self._level)
        logging.disable(logging.NOTSET)
        text = "code in this process configured logging anew, and took the log files away; they are back"
        LOG.warning("hotplug.log_put_back", extra={"text": text})


def set_up(settings: Settings, root: Path, worker: str) -> Logs:
    """Send all that is logged in this process where the settings say; paths count from `root`.

    `worker` is the name that each line carries. Files that can't be written are no error: see `Logs.problem`.
    """
    return Logs(settings, root, worker, LogFiles())
