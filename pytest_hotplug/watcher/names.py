"""Which file names are noise: written by editors and interpreters, never by a plugin's author.

Judges the name alone and touches no file, so that an unreadable swap file can hurt nobody. Does not
decide what counts as a change of a plugin. For the watcher only.
"""

from __future__ import annotations

_SUFFIXES = ("~", ".swp", ".swx", ".tmp", "___jb_tmp___", "___jb_old___")

# vim creates and deletes a file of this name to learn whether it may write into the directory.
_VIM_PROBE = "4913"


def is_noise(name: str) -> bool:
    """Tell whether a file or directory of this name never gives a hint."""
    return (
        name.startswith(".")
        or name.endswith(_SUFFIXES)
        or name in (_VIM_PROBE, "__pycache__")
        or (name.startswith("#") and name.endswith("#"))
    )
