"""Lay down versions that must not serve, and see whether what serves goes on as if nothing were."""

from __future__ import annotations

from collections.abc import Mapping

from pytest_hotplug.reloader.manifest import parse_entry
from pytest_hotplug.safety.finding import Finding
from pytest_hotplug.safety.stage import CannotPlay, Stage

__all__ = ["Edit", "does_not_serve", "failing_hook", "refused"]

Edit = Mapping[str, bytes | None]  # relative name -> new content, None: the file is gone
_SERVES = "the broken version serves all the same"


def refused(stage: Stage, what: str, edit: Edit, *, use: bool = True) -> Finding | None:
    """Lay a broken version down; tell what is wrong unless it is refused, once, and what served goes on.

    What is found is followed by the plugin as it was, so that the next attempt begins with a good one. What
    serves is called, unless its `use` would disturb what is looked at.
    """
    before, told = stage.serving.digest, stage.errors()
    stage.files.lay_down(edit)
    wrong = does_not_serve(stage, before, use=False)
    if not wrong:
        stage.look()  # a second look at the same bytes, before time goes by: later it may be tried again
        times = stage.errors() - told
        wrong = "" if times <= 1 else f"its fault is told {times} times"
    if not wrong and use:
        wrong = _fails(stage) or ("" if stage.serving.digest == before else _SERVES)
    if not wrong and not stage.files.holds(edit):
        wrong = "the plugin itself wrote over the edited file"
    if not wrong:
        return None
    stage.restore()
    return Finding(message=f"{what}: {wrong}", path=next(iter(edit)))


def does_not_serve(stage: Stage, digest: str, *, use: bool = True) -> str:
    """Say in which way the version of a digest does not go on serving, "" when it does; stop-first, it came back."""
    try:
        if stage.look().digest != digest:
            return _SERVES
    except CannotPlay as error:
        return f"nothing serves any more ({error})"
    return _fails(stage) if use else ""


def _fails(stage: Stage) -> str:
    return stage.failure("what serves fails meanwhile")


def failing_hook(stage: Stage, hook: str, *, first: str = "pass", last: str = "pass") -> tuple[str, bytes] | None:
    """Return the file that holds a hook, and its text with a hook that does what it did between `first` and `last`.

    None when the layout sets it to a module that has no file.
    """
    layout = stage.layout
    setting = layout.on_load if hook == "on_load" else layout.on_unload
    if setting:
        point = parse_entry(setting, plugin=stage.name, path=stage.directory)
        assert point is not None, "a setting that is not empty names a function"
        file, name = stage.file_of(point.module), point.attribute
    else:
        file, name = stage.entry_file, hook
    return (
        None
        if file is None
        else (file, stage.files.original[file] + _HOOK.format(name=name, first=first, last=last).encode())
    )


_HOOK = """

import functools as _hotplug_functools
_hotplug_hook = globals().get("{name}")
def _hotplug_fails(*args, **kwargs):
    {first}
    if _hotplug_hook is not None:
        _hotplug_hook(*args, **kwargs)
    {last}
{name} = _hotplug_functools.wraps(_hotplug_hook)(_hotplug_fails) if _hotplug_hook else _hotplug_fails
"""
