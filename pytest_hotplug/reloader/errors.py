"""What can go wrong, told to the one who can mend it.

A `Fault` is a frozen fact for the author of a plugin: which plugin, which file and line, what
to do, and a slug with an entry in docs/messages.md. The exceptions are for callers of the API.
Nobody keeps exception objects: they hold frames, and frames hold old generations alive.
Everybody may import this module; it imports nothing of the package.
"""

from __future__ import annotations

import difflib
import linecache
import os
import traceback
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

__all__ = [
    "Fault",
    "HotplugError",
    "InvalidPluginName",
    "ParameterError",
    "PluginDisabled",
    "PluginFault",
    "PluginLoadError",
    "UnknownPlugin",
    "UsageError",
    "did_you_mean",
    "fault_from",
    "forget_sources",
    "not_among",
    "syntax_fault",
    "visible",
]

_NAME_RULE = "use a-z, 0-9 and _, at most 64, a letter first; no Python keyword, no device's name (nul, con)"
TRY_AGAIN = "Fix the file or restore it; it is tried again on the next change."


def visible(text: str) -> str:
    """Return `text` with control characters escaped, so that no plugin can forge a log line."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `"; did you mean 'x'?"` for the nearest of `known`, or an empty string."""
    by_letters = {name.casefold(): name for name in known}
    near = difflib.get_close_matches(word.casefold(), by_letters, n=1, cutoff=0.6)
    return f"; did you mean '{by_letters[near[0]]}'?" if near else ""


def not_among(word: str, allowed: Collection[str]) -> str:
    """Say what a value may be that is none of `allowed`, and which it nearly is."""
    return f"expected one of {', '.join(map(repr, allowed))}, got {visible(repr(word))}{did_you_mean(word, allowed)}"


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a version of a plugin can't be served.

    `slug` names the entry in docs/messages.md; `own_bytes` tells that only new content can
    help (a syntax error), in contrast to a fault from outside (a permission, a missing package);
    `needs` are the distributions that are missing, `rests_on` files outside of the plugin, each with its
    signature at the time, `more` the other faults found at the same time.
    """

    plugin: str
    slug: str
    message: str
    path: Path | None = None
    line: int | None = None
    source: str = ""
    remedy: str = TRY_AGAIN
    own_bytes: bool = True
    needs: tuple[str, ...] = ()
    rests_on: tuple[tuple[str, tuple[int, int, int, int] | None], ...] = ()
    more: tuple[Fault, ...] = ()

    @property
    def all_needs(self) -> tuple[str, ...]:
        """Return the missing distributions of this fault and of those that came with it."""
        return (*self.needs, *(name for other in self.more for name in other.needs))

    @property
    def place(self) -> str:
        """Return `file:line` relative to the working directory, or an empty string."""
        if self.path is None:
            return ""
        shown = visible(near(self.path))
        return f"{shown}:{self.line}" if self.line else shown

    def __str__(self) -> str:
        own = f"{self.place}  {visible(self.message)} [{self.slug}]".strip()
        return "; ".join((own, *map(str, self.more)))

    def render(self, headline: str) -> str:
        """Return the whole message: headline, place, offending line, remedy and slug."""
        lines = [line for fault in (self, *self.more) for line in fault._said()]
        remedies = dict.fromkeys(f"  {fault.remedy} [{fault.slug}]" for fault in (self, *self.more))
        return "\n".join([headline, *lines, *remedies])

    def _said(self) -> list[str]:
        place = f"{self.place}  " if self.place else ""
        source = self.source.strip()
        return [f"  {place}{visible(self.message)}", *([f"      {visible(source)}"] if source else [])]


def near(path: str | Path) -> str:
    """Return `path` relative to the working directory when it lies below it."""
    try:
        return str(Path(path).relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(path)


class HotplugError(Exception):
    """The root of every error that this package raises."""


class PluginFault(HotplugError):
    """Carry one or more faults up through a load; never leaves the reloader."""

    def __init__(self, *faults: Fault) -> None:
        super().__init__("; ".join(map(str, faults)))
        self.faults = faults

    @property
    def fault(self) -> Fault:
        """Return the faults as one: the first, which carries the others; mended only when all are."""
        first, *others = self.faults
        if not others:
            return first
        return replace(first, more=tuple(others), own_bytes=any(fault.own_bytes for fault in self.faults))


class UnknownPlugin(HotplugError, LookupError):
    """No plugin has this name; the text offers the nearest one."""

    def __init__(self, name: str, known: Iterable[str] = ()) -> None:
        known = sorted(known)
        listed = f" Known plugins: {', '.join(known)}." if known else " No plugins were found."
        near = did_you_mean(name, known)
        super().__init__(f"no plugin is named {visible(name)!r}{near or '.'}{'' if near else listed} [unknown-plugin]")
        self.name = name
        self.near = difflib.get_close_matches(name, known, n=3, cutoff=0.6)


class InvalidPluginName(UnknownPlugin, ValueError):
    """The name could never be a plugin's: it must match `[a-z][a-z0-9_]{0,63}`."""

    def __init__(self, name: object, known: Iterable[str] = ()) -> None:
        super().__init__(str(name), known)
        self.args = (f"{name!r} can't name a plugin: {_NAME_RULE}. [invalid-name]",)


class PluginDisabled(HotplugError):
    """The plugin's manifest says `"enabled": false`."""

    def __init__(self, name: str) -> None:
        super().__init__(f'{name} is disabled: set "enabled": true in its manifest. [disabled]')
        self.name = name


class ParameterError(HotplugError, ValueError):
    """An argument doesn't fit what the manifest or the entry asks for."""


class PluginLoadError(HotplugError):
    """No generation of the plugin can serve: the first version that was tried is broken."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.render(f"{fault.plugin}: could not be loaded, and no earlier version serves."))
        self.fault = fault


class UsageError(HotplugError):
    """The call or the configuration can't work as it stands; the text says what to do."""

    def __init__(self, message: str, slug: str) -> None:
        super().__init__(f"{message} [{slug}]")
        self.slug = slug


def fault_from(error: BaseException, *, plugin: str, root: Path, files: Mapping[str, bytes], doing: str) -> Fault:
    """Turn what a load raised into a `Fault` that points into the plugin.

    `root` is the plugin's directory, `files` its sources by relative path, `doing` the step
    ("import", "on_load"). Keeps no reference to `error`.
    """
    if isinstance(error, PluginFault):
        return error.fault
    path, line = _last_place(error, root, files)
    said = _said(error)
    slug, remedy = _slug_and_remedy(error, doing, files)
    return Fault(plugin, slug, said, path, line, _source_line(path, line, root, files), remedy, own_bytes=False)


def _said(error: BaseException) -> str:
    """Return `Type: message` on one line, whatever the exception's own methods do."""
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error.msg}"
    return traceback.format_exception_only(error)[0].strip()  # behind it stand the exception's notes


def syntax_fault(error: SyntaxError, plugin: str, path: Path) -> Fault:
    """Turn what compiling `path` raised into a `Fault`."""
    said = f"{type(error).__name__}: {error.msg}"
    return Fault(plugin, "syntax-error", said, path, error.lineno, error.text or "")


def _slug_and_remedy(error: BaseException, doing: str, files: Mapping[str, bytes]) -> tuple[str, str]:
    if isinstance(error, SystemExit) and doing == "execution":
        return "execution-error", "Return instead of exiting: the process serves other plugins too."
    if isinstance(error, SystemExit):
        return "exit-at-import", "Remove the exit: a plugin that is loaded must not end its process."
    if isinstance(error, ModuleNotFoundError):
        own = (error.name or "").replace(".", "/")
        if f"{own}.py" in files or f"{own}/__init__.py" in files:
            how = f"an import statement, or importlib.import_module('.{error.name}', __package__)"
            return "missing-module", f"{error.name!r} is the plugin's own module: import it with {how}."
        return "missing-module", f"Install the package that provides {error.name!r}, or mend the import."
    slug = {"import": "import-error", "state": "state-refused"}.get(doing, f"{doing.replace('_', '-')}-error")
    return slug, TRY_AGAIN


def _inside(filename: str, root: Path) -> bool:
    return filename.startswith(f"{root}{os.sep}")


def _last_place(error: BaseException, root: Path, files: Mapping[str, bytes]) -> tuple[Path | None, int | None]:
    """Return file and line of the innermost frame that lies in the plugin."""
    place: tuple[Path | None, int | None] = (None, None)
    for frame, line in traceback.walk_tb(error.__traceback__):
        relative = _relative(frame.f_globals.get("__file__"), root)
        if relative in files:
            place = (root / relative, line)
    return place


def _relative(filename: object, root: Path) -> str:
    if not isinstance(filename, str) or not _inside(filename, root):
        return ""
    return filename[len(str(root)) + 1 :].replace(os.sep, "/")


def _source_line(path: Path | None, line: int | None, root: Path, files: Mapping[str, bytes]) -> str:
    if path is None or not line:
        return ""
    data = files.get(path.relative_to(root).as_posix(), b"")
    lines = data.decode("utf-8", "backslashreplace").splitlines()
    return lines[line - 1] if line <= len(lines) else ""


def forget_sources(filenames: Iterable[str]) -> None:
    """Drop what `linecache` knows of files whose content changed, so that tracebacks show the new lines."""
    for filename in filenames:
        linecache.cache.pop(filename, None)
