"""One plugin of a sandbox, as a test handles it: run it, edit its files, go through its versions.

Every edit is atomic, and is done once its method returns. Knows of the sandbox around it only its manager, its
originals and what it heard.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from pytest_hotplug.default import PluginManager
from pytest_hotplug.reloader.discovery import Found
from pytest_hotplug.reloader.errors import UsageError, did_you_mean
from pytest_hotplug.reloader.generation import Generation
from pytest_hotplug.reloader.outcomes import Outcome
from pytest_hotplug.testing.files import read_tree, replace_text, write_atomic, write_tree
from pytest_hotplug.testing.flat_names import take_back_flat_names
from pytest_hotplug.testing.heard import Heard
from pytest_hotplug.testing.originals import Originals
from pytest_hotplug.testing.versions import files_at

__all__ = ["SandboxedPlugin", "Snapshot", "Step"]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The files of a sandboxed plugin at one moment."""

    files: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class Step:
    """One version that `SandboxedPlugin.versions` went to: its ref, the reload's outcome, the digest that serves."""

    ref: str
    outcome: Outcome
    digest: str


class SandboxedPlugin:
    """One plugin in a sandbox: edit it, run it, see what happens."""

    def __init__(
        self, name: str, path: Path, original: Found | None, manager: PluginManager, originals: Originals, heard: Heard
    ) -> None:
        self._manager = manager
        self._original = original
        self._originals = originals
        self._heard = heard
        self.name = name
        self.path = path
        self._pristine = self._remembered = Snapshot(read_tree(path))

    def __repr__(self) -> str:
        return f"<sandboxed plugin {self.name}>"

    # -- run ------------------------------------------------------------------------------------

    def execute(self, **kwargs: Any) -> Any:
        """Execute the entry on the newest good code; see PluginManager.execute."""
        __tracebackhide__ = True
        return self._originals.told_briefly(lambda: self._manager.execute(self.name, **kwargs))

    def call(self, function: str, *args: Any, **kwargs: Any) -> Any:
        """Call any function of the plugin; see PluginManager.call."""
        __tracebackhide__ = True
        return self._originals.told_briefly(lambda: self._manager.call(self.name, function, *args, **kwargs))

    async def aexecute(self, **kwargs: Any) -> Any:
        """Execute from a running event loop."""
        return await self._manager.aexecute(self.name, **kwargs)

    async def acall(self, function: str, *args: Any, **kwargs: Any) -> Any:
        """Call from a running event loop."""
        return await self._manager.acall(self.name, function, *args, **kwargs)

    def reload(self) -> Outcome:
        """Reload if the content changed; see PluginManager.reload."""
        outcome = self._manager.reload(self.name)
        return outcome if outcome.error is None else replace(outcome, error=self._originals.blame(outcome.error))

    @property
    def info(self) -> dict[str, Any]:
        """Return what is known of the plugin; see PluginManager.get_plugin_hot_info."""
        info = self._manager.get_plugin_hot_info(self.name)
        refusal = self._manager._slot(self.name).refusal
        return {**info, "error": str(self._originals.blame(refusal.fault))} if info["error"] and refusal else info

    @property
    def generation(self) -> Generation:
        """Return the generation that serves, loading the plugin if none does."""
        __tracebackhide__ = True
        return self._originals.told_briefly(lambda: self._manager.load(self.name))

    def module(self, sub: str = "") -> ModuleType:
        """Return a module of the current generation ("" is the package itself); checks nothing."""
        __tracebackhide__ = True
        return self._originals.told_briefly(lambda: self._manager.module(self.name, sub))

    # -- edit -----------------------------------------------------------------------------------

    def edit(self, file: str, old: str, new: str) -> None:
        """Replace every occurrence of an exact text; raises ValueError when it is empty or isn't there."""
        sys.audit("hotplug.edit", str(self._place(file)))
        replace_text(self._place(file), old, new)
        self._edited()

    def write(self, file: str, content: str | bytes) -> None:
        """Write a file, new or not; raises ValueError for a directory."""
        write_atomic(self._file(file), content)
        self._edited()

    def delete(self, file: str) -> None:
        """Delete a file; raises FileNotFoundError."""
        self._place(file).unlink()
        self._edited()

    def rename(self, old: str, new: str) -> None:
        """Rename a file inside the plugin; raises FileNotFoundError, FileExistsError."""
        source, target = self._place(old), self._place(new)
        if not source.exists():
            raise FileNotFoundError(f"the plugin has no {old!r}")
        if target.exists() and not (source.samefile(target) and source != target):
            raise FileExistsError(f"the plugin has a {new!r} already; delete it first")
        target.parent.mkdir(parents=True, exist_ok=True)
        source.rename(target)
        self._edited()

    def touch(self, file: str = "main.py") -> None:
        """Give a file a new time and the same content; raises FileNotFoundError."""
        os.utime(self._place(file))
        self._edited()

    def break_syntax(self, file: str = "main.py") -> None:
        """Make a file that no Python can compile."""
        path = self._place(file)
        sys.audit("hotplug.edit", str(path))
        write_atomic(path, path.read_bytes() + b"\ndef broken(:\n")
        self._edited()

    def snapshot(self) -> Snapshot:
        """Remember the files as they are now, for `restore`."""
        self._remembered = Snapshot(read_tree(self.path))
        return self._remembered

    def restore(self, what: Snapshot | str | None = None) -> None:
        """Put all files back to a snapshot (default: the last one, else as they came), or one named file.

        Raises LookupError for a file that the snapshot doesn't hold, TypeError for anything else.
        """
        if isinstance(what, str):
            files = self._remembered.files
            if what not in files:
                raise LookupError(f"the snapshot holds no {what!r}{did_you_mean(what, files)}")
            self.write(what, files[what])
            return
        if not isinstance(what, Snapshot | None):
            raise TypeError(f"restore takes what snapshot() returned, or a file's name, not {type(what).__name__}")
        self._write_all((what or self._remembered).files)

    def versions(self, *refs: str) -> Iterator[Step]:
        """Go through versions of the plugin: git refs, "." for the work tree, or directories.

        Each is put in place in one batch and reloaded. Raises UsageError `[unknown-ref]`.
        """
        if self._original is None:
            raise UsageError(f"{self.name} was made in the sandbox, it has no versions", "unknown-ref")
        sys.audit("hotplug.history")
        for ref in refs:
            self._write_all(files_at(ref, self._original.path))
            outcome = self.reload()
            yield Step(ref, outcome, str(self.info["digest"] or ""))

    def _write_all(self, files: Mapping[str, bytes]) -> None:
        """Change several files at once as far as this sandbox's manager can see."""
        slot = self._manager._slot(self.name)
        with slot.turn:  # no reload begins while the files are mixed
            write_tree(self.path, files)
        self._edited()

    def _place(self, file: str) -> Path:
        path = (self.path / file).resolve()
        if not path.is_relative_to(self.path.resolve()):
            raise ValueError(f"{file!r} lies outside the plugin")
        if path == self.path.resolve():
            raise ValueError(f"{file!r} is the plugin's directory; name a file in it")
        return path

    def _file(self, file: str) -> Path:
        path = self._place(file)
        if path.is_dir():
            raise ValueError(f"{file!r} is a directory; name a file in it")
        return path

    def _edited(self) -> None:
        """Let whatever is awaited from now on be newer than this edit."""
        take_back_flat_names()
        self._heard.edited()

    def _forget_edits(self) -> None:
        self._pristine = self._remembered = Snapshot(read_tree(self.path))
