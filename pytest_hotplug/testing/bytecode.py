"""Drop the .pyc files that would let Python run an older source than the one on disk.

Python, and older pytests for what they rewrite, take a .pyc for fresh if it tells the source's size and
its time in whole seconds (PEP 3147): an edit of the same size within the second in which the .pyc was
written goes unseen for ever. Plugins need none of this: the reloader compiles what it hashed.
Removes caches alone, which Python writes anew.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterable, Iterator
from importlib.util import cache_from_source

__all__ = ["drop_bytecode", "drop_racy_bytecode"]

LOG = logging.getLogger("hotplug")


def drop_bytecode(sources: Iterable[str]) -> None:
    """Drop what was compiled of these sources, given by their absolute paths; others than `.py` have none."""
    for source, pyc in _compiled(sources):
        _remove(pyc, source)


def drop_racy_bytecode(sources: Iterable[str]) -> None:
    """Drop what was compiled within the second in which a source was written, as another edit may have followed."""
    for source, pyc in _compiled(sources):
        try:
            racy = int(pyc.stat().st_mtime) <= int(os.stat(source).st_mtime)
        except OSError:
            continue  # one of them has gone meanwhile, or nobody here can read it: so nor can Python
        if racy:
            _remove(pyc, source)


def _compiled(sources: Iterable[str]) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Yield each source with each .pyc of it, whichever Python or pytest wrote it."""
    caches: dict[str, dict[str, str]] = {}  # directory of .pyc files -> stem -> source
    for source in sources:
        if source.endswith(".py") and sys.implementation.cache_tag is not None:
            cache = os.path.dirname(cache_from_source(source))
            caches.setdefault(cache, {})[os.path.basename(source)[:-3]] = source
    for cache, stems in caches.items():
        try:
            with os.scandir(cache) as entries:
                found = list(entries)
        except OSError:
            continue  # nothing was compiled there, or nothing that Python could read
        for pyc in found:
            words = pyc.name.split(".")
            for stem in (".".join(words[:number]) for number in range(1, len(words) - 1)):  # names may have dots
                if stem in stems and words[-1] == "pyc":
                    yield stems[stem], pyc


def _remove(pyc: os.DirEntry[str], source: str) -> None:
    try:
        os.unlink(pyc.path)
    except FileNotFoundError:
        pass  # somebody else was faster
    except OSError as error:
        LOG.warning("%s may be older than %s and can't be removed: %s", pyc.path, source, error.strerror)
