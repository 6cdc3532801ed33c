"""`hotplug verify`: are plugins safe to hot-reload? As `pytest --hotplug-verify` asks, without pytest."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import click
import msgspec

from pytest_hotplug import __version__
from pytest_hotplug.cli.ondisk import end_without_plugins, plugin_argument, plugins_on_disk
from pytest_hotplug.cli.output import directory_option, emit_json, json_option, say, shortened
from pytest_hotplug.reloader.discovery import Found
from pytest_hotplug.reloader.errors import UsageError, visible
from pytest_hotplug.reloader.settings import Layout, Project, layouts, read_settings
from pytest_hotplug.safety.changed import plugins_changed_since
from pytest_hotplug.safety.check import Check, Level
from pytest_hotplug.safety.deployed import Deployed, check_digests, deployed_at
from pytest_hotplug.safety.judgements import Judgements
from pytest_hotplug.safety.report.as_text import told
from pytest_hotplug.safety.report.github import tell_github
from pytest_hotplug.safety.report.record import Report, Verified, grouped
from pytest_hotplug.safety.report.recording import report_of
from pytest_hotplug.safety.report.summary import summary
from pytest_hotplug.safety.report.writing import check_suffix, write_report
from pytest_hotplug.safety.runner import Subjects, chosen

__all__ = ["verify"]

Show = Callable[[int, str], None]  # how many checks are done; what is done now


@click.command()
@plugin_argument("names", nargs=-1)
@click.option("--level", type=click.Choice(["fast", "full"]), default="full", help="All checks, or those of seconds.")
@click.option("--strict", is_flag=True, help="Fail what was not proved: without a probe, for lack of a tool.")
@click.option("--ref", metavar="REV|DIR", help="What is deployed: prove the upgrade from it, and the way back.")
@click.option(
    "--ref-digest",
    "digests",
    multiple=True,
    metavar="NAME=DIGEST",
    help="Fail unless this is the version of NAME there.",
)
@click.option("--since", metavar="REV", help="Leave out plugins that nothing concerns that changed since.")
@click.option(
    "--report",
    "reports",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FILE",
    help="Write a report; by suffix: .html .json .md .sarif.",
)
@directory_option
@json_option
def verify(
    names: tuple[str, ...],
    level: Level,
    strict: bool,
    ref: str | None,
    digests: tuple[str, ...],
    since: str | None,
    reports: tuple[Path, ...],
    as_json: bool,
) -> int:
    """Prove or refute that plugins are safe to hot-reload, each in child processes of its own.

    \b
    Examples:
      hotplug verify                            every plugin
      hotplug verify greeter --level fast
      hotplug verify --strict --report safety.html --report safety.sarif
      hotplug verify --ref origin/main --since origin/main
    """
    for file in reports:
        check_suffix(file)
    found: Mapping[str, Found] = {plugin.name: plugin.found for plugin in plugins_on_disk(names)}
    if not found:
        return end_without_plugins(as_json)
    project = read_settings()
    places = layouts(project.settings, project.root)
    subjects = Subjects(project.settings, project.root, places, _deployed(ref, digests, project, places))
    found, unchanged = _concerned(found, since, subjects)
    checks = chosen(subjects, level)
    judgements = Judgements(subjects, found, checks, strict=strict)
    parts = []
    for number, name in enumerate(found, 1):
        with _progress(f"{number} of {len(found)}", len(checks)) as show:
            part = list(_verified(judgements, name, checks, show))
        parts += part
        if not as_json:
            _say(report_of(part, __version__).plugins)
    report = report_of(parts, __version__)
    if unchanged:
        say(f"not verified, unchanged since {since}: {', '.join(unchanged)}", err=as_json)
    _finish(report, reports, project.root, as_json)
    return 1 if any(check.outcome == "failed" for plugin in report.plugins for check in plugin.checks) else 0


def _deployed(ref: str | None, digests: Sequence[str], project: Project, places: Sequence[Layout]) -> Deployed | None:
    """Find out what is deployed, None where nobody asks. Raises UsageError, UnknownPlugin."""
    if ref is None and not digests:
        return None
    if not ref:
        raise UsageError("--ref is empty or not given; name a git revision or a directory", "unknown-ref")
    exclude = project.settings.exclude
    deployed = deployed_at(ref, project.root, places, exclude, Path.cwd())
    check_digests(deployed, digests, places, exclude, project.settings.digest)
    return deployed


def _concerned(
    found: Mapping[str, Found], since: str | None, subjects: Subjects
) -> tuple[Mapping[str, Found], Sequence[str]]:
    """Return the plugins that something concerns which changed since a revision, and the names of the others."""
    if since is None:
        return found, ()
    changed = plugins_changed_since(since, subjects.settings, subjects.root, subjects.layouts)
    return {name: found[name] for name in found if name in changed}, [name for name in found if name not in changed]


def _verified(judgements: Judgements, name: str, checks: Sequence[Check], show: Show) -> Iterator[Verified]:
    for number, check in enumerate(checks):
        show(number, f"{name}, {check.scenario}")
        yield judgements.verified(name, check, partial(_show_step, show, number, f"{name}, {check.scenario}"))


def _show_step(show: Show, done: int, what: str, step: str) -> None:
    show(done, f"{what}: {step}")


def _say(plugins: Sequence[Verified]) -> None:
    for plugin in plugins:
        for alike in grouped(plugin.checks):
            if alike[0].outcome in ("failed", "note"):
                also = "".join(f"\n{plugin.name}: {check.title} [{check.id}]" for check in alike[1:])
                say(shortened(told(plugin.name, alike[0]) + also) + "\n")


def _finish(report: Report, files: Sequence[Path], root: Path, as_json: bool) -> None:
    """Tell what it came to; raises HotplugError when a report can't be written."""
    if as_json:
        emit_json({"source": "disk", **msgspec.to_builtins(report)})
    else:
        say(summary(report))
    for file in files:
        write_report(report, file)
    tell_github(report, root, lambda line: say(line, err=as_json))


@contextmanager
def _progress(which: str, checks: int) -> Iterator[Show]:
    """Give a function that shows on a terminal what is done right now; at the end nothing of it is left."""
    if not sys.stderr.isatty():
        yield lambda done, step: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (BarColumn(20), TimeElapsedColumn(), TextColumn("{task.description}", markup=False))
    # stdout may lead elsewhere: rich must not take it.
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, redirect_stdout=False, redirect_stderr=False) as progress:
        task = progress.add_task(which, total=checks)
        yield lambda done, step: progress.update(task, completed=done, description=visible(f"{which}: {step}"))
