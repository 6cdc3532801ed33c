"""Say "look again": which paths below some directories may have changed.

Native events or our own sweep, debounced into batches. Knows nothing of plugins, compares no
content for others, and is the only part of the package that imports watchfiles, when a watch
begins. May be imported by the worker, the test side and the command line.
"""

from pytest_hotplug.watcher.batch import Batch
from pytest_hotplug.watcher.watching import Watching, watch

__all__ = ["Batch", "Watching", "watch"]
