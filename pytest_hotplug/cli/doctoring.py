"""`hotplug doctor`: would a change here be noticed, trusted, loaded and kept? A line per check."""

from __future__ import annotations

from collections.abc import Iterator

import click

from pytest_hotplug.cli.diagnosis import Finding, problem_from
from pytest_hotplug.cli.output import directory_option, emit_json, json_option, say, shortened
from pytest_hotplug.cli.statedir import state_dir
from pytest_hotplug.reloader.errors import UsageError
from pytest_hotplug.reloader.settings import layouts, read_settings

__all__ = ["doctor"]


@click.command()
@directory_option
@json_option
def doctor(as_json: bool) -> int:
    """Examine this machine and project: a line per check, with what to do; exit code 1 for a problem.

    Loads no plugin. Writes one file, in a hidden directory of its own beside the plugins, to see whether an
    event tells of it, and removes both.

    \b
    Examples:
      hotplug doctor
      hotplug doctor --json
    """
    findings = list(_examined())
    problems = sum(finding.level == "problem" for finding in findings)
    if as_json:
        emit_json({"source": "disk", "ok": not problems, "checks": [finding.facts() for finding in findings]})
    else:
        for finding in findings:
            say(shortened(finding.render()))
        notes = sum(finding.level == "note" for finding in findings)
        say(f"{problems} problem{'s' * (problems != 1)}, {notes} note{'s' * (notes != 1)} (read from disk)")
    return 1 if problems else 0


def _examined() -> Iterator[Finding]:
    from pytest_hotplug.cli import examining_process, examining_project, examining_watch

    yield from examining_process.versions()
    yield from examining_process.privileges()
    try:
        project = read_settings()
        plugin_dirs = [layout.path for layout in layouts(project.settings, project.root)]
    except UsageError as error:
        yield problem_from("settings", error, error.slug)
        return
    yield from examining_project.settings_in_force(project)
    found, said = examining_project.found_plugins(project)
    yield from said
    yield from examining_project.permissions(found, project)
    yield from examining_project.stale_bytecode(found)
    yield from examining_project.writable_places(project)
    yield from examining_watch.file_systems(plugin_dirs, state_dir(project))
    yield from examining_watch.inotify_limits(plugin_dirs)
    yield from examining_watch.backend(plugin_dirs, project.settings)
    for place in plugin_dirs:
        yield from examining_watch.event_probe(place, state_dir(project))
    yield from examining_process.running_workers()
