"""`hotplug deploy` and `remove`: a new version into place, a plugin out of it."""

from __future__ import annotations

import errno
import fnmatch
import os
import re
import shutil
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pytest_hotplug.cli.across import across, local_option, worker_option, workers_or_none
from pytest_hotplug.cli.ondisk import PluginOnDisk, find_on_disk, plugin_argument, plugins_on_disk, read_plugin
from pytest_hotplug.cli.output import SHORT, directory_option, emit_json, json_option, say, shortened
from pytest_hotplug.cli.statedir import no_worker, opened_store, state_dir
from pytest_hotplug.cli.trying import try_version
from pytest_hotplug.cli.verdict import Told
from pytest_hotplug.reloader import deployment
from pytest_hotplug.reloader.discovery import Found, is_plugin_dir, signs_of_a_plugin
from pytest_hotplug.reloader.errors import (
    TRY_AGAIN,
    HotplugError,
    InvalidPluginName,
    PluginFault,
    UsageError,
    near,
    visible,
)
from pytest_hotplug.reloader.names import is_plugin_name
from pytest_hotplug.reloader.preflight import Tried, fault_of
from pytest_hotplug.reloader.settings import Layout, Project, layouts, read_settings

if TYPE_CHECKING:
    from pytest_hotplug.worker.client import Client, Reply

__all__ = ["deploy", "remove"]

FULL = (errno.ENOSPC, errno.EDQUOT)
ENDING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
NOT_BY_USE = ("deploy-running", "no-exchange")  # nothing that was typed is wrong
by_itself = local_option("Do it in this process; running managers see it when they look.")


# -- deploy -------------------------------------------------------------------------------------


@click.command()
@plugin_argument("name")
@click.option(
    "--from",
    "source",
    required=True,
    metavar="DIR",
    type=click.Path(exists=True, file_okay=False),
    help="The directory that holds the new version; it is copied.",
)
@click.option("--dry-run", is_flag=True, help="Copy and try the version, and say what would become of it.")
@click.option(
    "--plugin-dir",
    metavar="DIR",
    type=click.Path(file_okay=False),
    help="Where a plugin goes that isn't there yet (default: the first plugin dir).",
)
@by_itself
@worker_option
@directory_option
@json_option
def deploy(
    name: str, source: str, dry_run: bool, plugin_dir: str | None, local: bool, workers: tuple[str, ...],
    as_json: bool,
) -> int:  # fmt: skip
    """Put a new version of a plugin in place in one step, once a child process could import it.

    The workers load it then; where one refuses it, the version before is put back. A version that is
    refused, and a deployment that is ended, change nothing.

    \b
    Examples:
      hotplug deploy greeter --from /srv/releases/greeter-2.0
      hotplug deploy greeter --from build/greeter --dry-run --local
    """
    project = read_settings()
    found = _target(project, name, plugin_dir)
    release = Path(os.path.abspath(source))
    _check_source(found, release, project)
    clients = workers_or_none(workers, local=local)
    if not clients and not local:
        raise no_worker()
    with _words(found, release, "not deployed, nothing changed"), ExitStack() as stack:
        facts = _deploy(project, found, release, dry_run, clients, stack)
        if as_json:
            emit_json(facts)
        else:
            _say_deployed(facts)
    return 0


def _target(project: Project, name: str, plugin_dir: str | None) -> Found:
    """Return where the plugin lies or would lie; raises InvalidPluginName and UsageError."""
    if not is_plugin_name(name):
        raise InvalidPluginName(name)
    there = find_on_disk(project).get(name)
    wanted = Path(os.path.abspath(plugin_dir)) if plugin_dir else None
    if there is not None:
        if wanted not in (None, there.layout.path):
            raise UsageError(f"{name} lies in {_shown(there.layout.path)} already; leave out --plugin-dir", "usage")
        return there
    layout = _layout(project, wanted)
    if any(fnmatch.fnmatchcase(name, pattern) for pattern in project.settings.exclude):
        raise UsageError(f"the setting 'exclude' leaves out {name!r}: nobody would find it", "usage")
    found = Found(name, layout.path / name, layout)
    if os.path.lexists(found.path):
        what = f"{_shown(found.path)} exists and is no plugin"
        raise UsageError(f"{what}; remove it, or choose another name", "already-exists")
    return found


def _layout(project: Project, wanted: Path | None) -> Layout:
    known = layouts(project.settings, project.root)
    if not known:
        raise UsageError("no plugin dir is configured: 'plugin_dirs' is empty", "no-plugins")
    if wanted is None:
        return known[0]
    for layout in known:
        if layout.path == wanted:
            return layout
    places = ", ".join(_shown(layout.path) for layout in known)
    raise UsageError(f"{_shown(wanted)} is no plugin dir of this project; those are: {places}", "no-plugins")


def _check_source(found: Found, release: Path, project: Project) -> None:
    """Refuse a directory that can't be copied into place, or holds no plugin."""
    real, target, home = (Path(os.path.realpath(path)) for path in (release, found.path, found.layout.path))
    shown = _shown(release)
    if real == target:
        raise UsageError(f"{shown} is what lies in place already; name the directory of the new version", "usage")
    if target in real.parents:
        raise UsageError(f"{shown} lies inside of {_shown(found.path)}, which it would replace", "usage")
    if real == home or real in home.parents:
        raise UsageError(f"{shown} holds the plugin dir itself; name the directory of the new version", "usage")
    for layout in layouts(project.settings, project.root):
        if real.parent == Path(os.path.realpath(layout.path)):
            why = "what lies there is a plugin of its own; keep releases elsewhere"
            raise UsageError(f"{shown} lies in the plugin dir {_shown(layout.path)}: {why}", "usage")
    if not is_plugin_dir(release, found.layout):
        signs = " nor ".join(dict.fromkeys(signs_of_a_plugin(found.layout)))
        inside = release / found.name
        hint = f"; did you mean {_shown(inside)}?" if is_plugin_dir(inside, found.layout) else ""
        raise UsageError(f"{shown} holds no plugin: neither {signs}{hint}", "no-manifest")


def _deploy(
    project: Project, found: Found, release: Path, dry_run: bool, clients: Sequence[Client], stack: ExitStack
) -> dict[str, Any]:
    """Deploy, and return what is to be said.

    From the exchange on, until it is said, signals come too late; but not while workers are waited for.
    """
    new = PluginOnDisk(found)
    tried = Tried()
    calm = stack.enter_context(ExitStack())
    asked: list[Client] = []
    loaded: list[dict[str, Any]] = []
    before = read_plugin(found).digest if found.path.exists() else ""

    def check(staged: Path) -> None:
        nonlocal new, tried
        new = read_plugin(replace(found, path=staged))
        if new.problem:
            raise Told(new.problem)
        if project.settings.preflight != "off" and new.manifest.enabled:
            tried = try_version(found, staged)
            if (fault := fault_of(tried, found)) is not None:
                raise fault
        if not dry_run:
            calm.enter_context(_undisturbed())

    def confirm() -> None:
        calm.close()
        try:
            for client in clients:
                asked.append(client)
                loaded.append(_loaded_by(client, found, release, project))
        finally:
            calm.enter_context(_undisturbed())

    lock = _lock(project, found)
    try:
        with _place_for(found):
            deployed = deployment.deploy(found, release, lock=lock, check=check, confirm=confirm, dry_run=dry_run)
    except BaseException:
        for client in asked:  # what lay there before lies there again
            _refresh(client, found.name)
        raise
    outcome = "unchanged" if not deployed.changed else "would-deploy" if dry_run else "deployed"
    return {
        "source": "worker" if clients else "local",
        "plugin": found.name,
        "outcome": outcome,
        "version": new.version,
        "before": before or None,
        "digest": new.digest,
        "tried": bool(tried.digest),
        "enabled": new.manifest.enabled,
        "path": str(found.path),
        "warnings": list(new.manifest.warnings),
        "workers": loaded,
    }


def _refresh(client: Client, plugin: str) -> None:
    """Have a worker look again after a deployment that failed; that it has gone is said, and is not what failed."""
    try:
        client.post("/plugins/{plugin}/refresh", plugin=plugin)
    except HotplugError as error:
        say(f"hotplug: {error}", err=True)


def _loaded_by(client: Client, found: Found, release: Path, project: Project) -> dict[str, Any]:
    """Let a worker load what lies in place now; raises Told when it refuses, which names the files of `release`."""
    reply = client.post("/plugins/{plugin}/refresh", plugin=found.name)
    if not reply.ok:
        text = _placed_as(release, found, project, reply.text)
        raise Told(f"worker {client.name}: {text}", reply.code)
    return {key: reply.facts[key] for key in ("worker", "outcome", "serving", "version", "digest")}


def _say_deployed(facts: dict[str, Any]) -> None:
    before, digest = (facts["before"] or "")[:SHORT], facts["digest"][:SHORT]
    version = f"{facts['plugin']}: version {facts['version']}"
    if facts["outcome"] == "unchanged":
        say(visible(f"{version} lies there already ({digest}), nothing was done"))
    else:
        what = "deployed" if facts["outcome"] == "deployed" else "would be deployed"
        step = (
            f"{before} -> {digest}" if before not in ("", digest) else f"{digest}, {'as before' if before else 'new'}"
        )
        say(visible(f"{version} {what} ({step})"))
    if not facts["enabled"]:
        say(f"{facts['plugin']}: it is disabled, and was not tried")
    for warning in facts["warnings"]:
        say(f"{facts['plugin']}: warning: {visible(warning)}", err=True)
    for worker in facts["workers"]:
        say(f"{worker['worker']}: {_serving(worker)}")
    if facts["outcome"] == "deployed" and not facts["workers"]:
        say("(a running manager sees it at its next check)")


def _serving(worker: Mapping[str, Any]) -> str:
    serves = worker["serving"] is not None
    return (
        visible(f"generation {worker['serving']} serves, version {worker['version']}") if serves else "nothing serves"
    )


@contextmanager
def _place_for(found: Found) -> Iterator[None]:
    """Make the plugin dir if there is none yet; it goes again when nothing came into it."""
    home = found.layout.path
    missing = [place for place in (home, *home.parents) if not place.exists()]
    home.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        with suppress(OSError):  # somebody else put something there
            for place in missing if not os.path.lexists(found.path) else ():
                place.rmdir()


# -- remove -------------------------------------------------------------------------------------


@click.command()
@plugin_argument("name")
@click.option("--yes", is_flag=True, help="Don't ask.")
@click.option("--force", is_flag=True, help="Also where other plugins depend on it, which end with it.")
@by_itself
@worker_option
@directory_option
@json_option
def remove(name: str, yes: bool, force: bool, local: bool, workers: tuple[str, ...], as_json: bool) -> int:
    """Take a plugin's directory away in one step, and out of the workers. Kept versions stay in the state directory.

    \b
    Examples:
      hotplug remove greeter
      hotplug remove greeter --local --yes
      hotplug remove library --yes --force
    """
    project = read_settings()
    clients = workers_or_none(workers, local=local)
    if clients and name not in find_on_disk(project):
        return _remove_from_memory(name, clients, as_json)
    plugin = plugins_on_disk([name])[0]
    users = [other.name for other in plugins_on_disk() if name in other.manifest.depends_on]
    if not clients and not local:
        raise no_worker()
    if users and not force:
        depend = f"{', '.join(users)} depend{'s' * (len(users) == 1)} on it, and would end with it"
        remedy = "remove what depends on it first, or repeat with --force"
        raise Told(f"{name}: not removed, nothing changed: {depend}; {remedy} [still-needed]")
    _confirm(plugin, users, yes)
    with _words(plugin.found, plugin.found.path, "not removed"), _undisturbed():
        deployment.remove(plugin.found, lock=_lock(project, plugin.found))
        replies = [client.post("/plugins/{plugin}/refresh", plugin=name) for client in clients]
        _say_removed(plugin, users, [reply.worker for reply in replies if reply.ok], as_json)
    for reply in replies:
        if not reply.ok:
            raise Told(f"worker {reply.worker}: {reply.text}")
    return 0


def _remove_from_memory(name: str, clients: Sequence[Client], as_json: bool) -> int:
    """Take a plugin whose directory is gone out of the workers that it serves on in."""

    def ask(client: Client) -> Reply:
        return client.post("/plugins/{plugin}/refresh", plugin=name)

    return across(clients, ask, lambda facts: say(facts["text"]), as_json=as_json)


def _confirm(plugin: PluginOnDisk, users: Sequence[str], yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError("there is no terminal to ask at; --yes removes without asking")
    depend = f" ({', '.join(users)} depend on it)" if users else ""
    what = visible(f"{plugin.name} {plugin.version}".strip())
    if not click.confirm(f"Remove {what} with all files in {_shown(plugin.found.path)}{depend}?", err=True):
        raise Told(f"{plugin.name}: not removed")


def _say_removed(plugin: PluginOnDisk, users: Sequence[str], workers: Sequence[str], as_json: bool) -> None:
    if as_json:
        facts = {
            "source": "worker" if workers else "local",
            "workers": workers,
            "plugin": plugin.name,
            "outcome": "removed",
            "version": plugin.version or None,
        }
        emit_json({**facts, "before": plugin.digest or None, "path": str(plugin.found.path), "needed_by": users})
        return
    what = f"version {plugin.version} ({plugin.digest[:SHORT]})" if plugin.digest else "what lay there"
    say(visible(f"{plugin.name}: {what} is removed from {_shown(plugin.found.path)}"))
    for user in users:
        say(f"{user}: depends on it, and ended with it", err=True)
    for worker in workers:
        say(f"{worker}: it no longer serves")
    if not workers:
        say("(a process that serves it goes on with it from memory)")


# -- both ---------------------------------------------------------------------------------------


def _lock(project: Project, found: Found) -> Path:
    with opened_store(writes=True) as store, store.writing():
        return state_dir(project) / "deploy" / f"{found.name}.lock"  # the store made its directory as it should be


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Let signals that ask for the end come too late: what is done in one step is said as well."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _words(found: Found, release: Path, failed: str) -> Iterator[None]:
    """Tell what went wrong in terms of what was typed: the staged copy is gone by then."""

    def told(text: str) -> Told:
        text = text.replace(TRY_AGAIN, "Fix the file, then deploy it again.")
        return Told(shortened(_staged_as(release, found, text)))

    try:
        yield
    except PluginFault as fault:
        raise told(fault.fault.render(f"{found.name}: {failed}.")) from None
    except Told as refused:
        raise told(f"{found.name}: {failed}.\n  {refused.message}") from None
    except UsageError as error:
        raise told(str(error)) if error.slug in NOT_BY_USE else error from None
    except shutil.Error as errors:
        place, _, why = errors.args[0][0]
        raise told(_said(found, failed, release, OSError(_number(why), why, place))) from None
    except OSError as error:
        raise told(_said(found, failed, release, error)) from None


def _said(found: Found, failed: str, release: Path, error: OSError) -> str:
    file = Path(os.fsdecode(error.filename)) if error.filename else None
    why = f"{_shown(file)}: {_plainly(error)}" if file else _plainly(error)
    if error.errno in FULL:
        return f"{found.name}: {failed}; the disk is full ({why}) [disk-full]"
    if file is not None and file.is_relative_to(release) and release != found.path:
        return f"{found.name}: {failed}; the new version can't be read ({why}) [source-unreadable]"
    return f"{found.name}: {failed} ({why}); mend the permissions [cannot-write]"


def _plainly(error: OSError) -> str:
    """Return the system's reason alone: shutil hands on whole texts, with number and paths."""
    said = error.strerror or str(error)
    return visible(re.sub(r"^\[Errno \d+\] (.*?)(: .*)?$", r"\1", said))


def _number(text: str) -> int:
    found = re.match(r"\[Errno (\d+)\]", text)
    return int(found[1]) if found else 0


def _staged_as(release: Path, found: Found, text: str) -> str:
    """Name a file of the staged copy as the file of `release` that it is a copy of."""
    home, sep = found.path.parent, re.escape(os.sep)
    before = "|".join(re.escape(f"{place}{os.sep}") for place in (str(home), near(home)))
    return re.sub(rf"(?:{before})?\.{found.name}\.deploy-\w+{sep}{found.name}\b", lambda _: near(release), text)


def _placed_as(release: Path, found: Found, project: Project, text: str) -> str:
    """Name a file that lies in place, where a line begins with it, as the file of `release` that it is a copy of.

    By the time that it is read, the one in place is of the version before. A worker names it from where it was started.
    """
    starts = [place for place in found.path.parents if place.is_relative_to(project.root)]
    names = [str(found.path), near(found.path), *(str(found.path.relative_to(place)) for place in starts)]
    place = "|".join(re.escape(visible(name)) for name in names)
    shown = _shown(release)
    return re.sub(rf"(?m)^(\s*)(?:{place})(?={re.escape(os.sep)})", lambda match: match[1] + shown, text)


def _shown(path: Path) -> str:
    return visible(near(path))
