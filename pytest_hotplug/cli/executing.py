"""`hotplug test-plugin NAME --key value`: execute a plugin's entry on its newest code."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import click
import msgspec

from pytest_hotplug.cli.across import across, workers_or_none
from pytest_hotplug.cli.ondisk import PluginOnDisk, complete_plugin, plugins_on_disk
from pytest_hotplug.cli.output import SHORT, as_text, directory_option, json_line, jsonable, say, shortened
from pytest_hotplug.cli.serving import manager_of_project
from pytest_hotplug.cli.supervised import FORKS, Interrupted, supervised
from pytest_hotplug.cli.verdict import Told
from pytest_hotplug.reloader.errors import HotplugError, UsageError, fault_from, visible
from pytest_hotplug.reloader.manifest import Parameter

if TYPE_CHECKING:
    from pytest_hotplug.worker.client import Client, Reply

__all__ = ["test_plugin"]


def _complete(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Offer plugins for the first word; what follows are the plugin's own parameters."""
    before = [word for word in ctx.params.get("arguments") or () if word != "--json"]
    return [] if before else complete_plugin(ctx, parameter, incomplete)


@click.command(
    "test-plugin",
    context_settings={"ignore_unknown_options": True, "help_option_names": []},
    add_help_option=False,
)
@click.argument(
    "arguments", nargs=-1, type=click.UNPROCESSED, metavar="NAME [--KEY VALUE]...", shell_complete=_complete
)
@directory_option
@click.pass_context
def test_plugin(ctx: click.Context, arguments: tuple[str, ...]) -> int:
    """Execute a plugin with any --key value (JSON where it parses) and print the result as JSON.

    A worker that runs executes it, after it has taken up an edit that lies on disk; several do one after the
    other. Without one it runs in a child process, and what the plugin prints goes to stderr.
    With --json the result is wrapped in an object; `hotplug run NAME --help` shows the parameters;
    --worker and --local go before NAME.

    \b
    Examples:
      hotplug test-plugin my_plugin --message "hello" --count 3
      hotplug run greeter --name Ada --language fr
      hotplug run --worker blue greeter
    """
    rest = list(arguments)
    as_json, local, workers = _options(rest)
    name = rest.pop(0) if rest and not rest[0].startswith("-") else ""
    wants_help = bool({"-h", "--help"} & set(rest))
    if not name:
        if not wants_help:
            raise click.UsageError("Missing argument 'NAME'. 'hotplug list' shows the plugins.", ctx)
        say(ctx.get_help())
        return 0
    clients = [] if wants_help else workers_or_none(workers, local=local)
    known = [plugin for plugin in plugins_on_disk() if plugin.name == name] if clients else plugins_on_disk([name])
    if wants_help:
        say(ctx.get_help())
        say(_parameters(known[0]))
        return 0
    declared = known[0].manifest.parameters if known else {}
    if "--json" in rest and "json" not in declared:
        as_json = True
        rest.remove("--json")
    given = parse_arguments(rest, declared)
    if clients:
        return _in_workers(clients, name, given, as_json)
    with supervised(name, partial(_execute, name, given, as_json=as_json)) as text:
        say(text)
    return 0


def _options(rest: list[str]) -> tuple[bool, bool, list[str]]:
    """Take our own options off the front: what follows the plugin's name is the plugin's."""
    as_json, local, workers = False, False, []
    while rest and rest[0].startswith("--"):
        word, has_value, value = rest[0].partition("=")
        if word == "--json" and not has_value:
            as_json = True
        elif word == "--local" and not has_value:
            local = True
        elif word == "--worker":
            if not has_value and len(rest) < 2:
                raise click.UsageError("Option '--worker' requires an argument.")
            workers.append(value if has_value else rest.pop(1))
        else:
            break
        del rest[0]
    return as_json, local, workers


def _in_workers(clients: Sequence[Client], name: str, given: dict[str, Any], as_json: bool) -> int:
    """Let each worker execute it on its newest code; a result a worker."""

    def ask(client: Client) -> Reply:
        return client.post("/plugins/{plugin}/execute", {"parameters": jsonable(given), "newest": True}, plugin=name)

    def tell(facts: Mapping[str, Any]) -> None:
        say(as_text(facts["result"]))
        if facts["refused"]:
            _tell_refused(name, facts["version"], facts["digest"], facts["refused"])

    return across(clients, ask, tell, as_json=as_json)


def _tell_refused(name: str, version: str, digest: str, why: str) -> None:
    """Say that a version from before has answered, and why."""
    answered = f"version {version} ({digest[:SHORT]}) answered"
    say(shortened(visible(f"hotplug: {name}: {answered}; what lies on disk was refused: {why}")), err=True)


def _execute(name: str, arguments: dict[str, Any], *, as_json: bool) -> str:
    """Execute the entry and return the text to print."""
    with manager_of_project(keeps="read-only", on_change="all-wait") as manager:
        generation = manager.load(name)
        try:
            result = manager.execute(name, **arguments)
        except (HotplugError, Interrupted):
            raise
        except BaseException as error:  # whatever the entry raises is told to its author
            if isinstance(error, KeyboardInterrupt) and not FORKS:
                raise
            root, files = generation.namespace.path, generation.snapshot.files
            fault = fault_from(error, plugin=name, root=root, files=files, doing="execution")
            raise Told(fault.render(f"{name}: the entry raised.")) from None
        serving = manager.get_plugin_hot_info(name)
        version, digest, refused = serving["version"], serving["digest"], serving["error"]
        if as_json:
            facts = {"source": "disk", "plugin": name, "version": version, "digest": digest, "refused": refused}
            return json_line({**facts, "result": jsonable(result)})
        if refused:
            _tell_refused(name, version, digest, refused)
        return as_text(result)


def parse_arguments(given: list[str], declared: Mapping[str, Parameter]) -> dict[str, Any]:
    """Read `--key value`, `--key=value` and `--flag`; text stays text where the manifest says so.

    Raises UsageError `[bad-argument]`.
    """
    found: dict[str, Any] = {}
    rest = list(given)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--") or word == "--":
            raise UsageError(f"expected --key, got {word!r}", "bad-argument")
        key, has_value, value = word[2:].partition("=")
        if not has_value:
            value = rest.pop(0) if rest and not rest[0].startswith("--") else "true"
        key = key if key in declared else key.replace("-", "_")
        text = key in declared and declared[key].type in ("string", "str")
        found[key] = value if text else _typed(value)
    return found


def _typed(value: str) -> Any:
    try:
        return json.loads(value)
    except (ValueError, RecursionError):  # the latter for brackets without end
        return value


def _parameters(plugin: PluginOnDisk) -> str:
    lines = [f"\nParameters of {plugin.name} {visible(plugin.version)}:"]
    for name, parameter in plugin.manifest.parameters.items():
        facts = [str(parameter.type)]
        if parameter.required:
            facts.append("required")
        if parameter.default is not msgspec.UNSET:
            facts.append(f"default {json.dumps(parameter.default)}")
        if parameter.options:
            facts.append("one of " + ", ".join(map(json.dumps, parameter.options)))
        lines.append(visible(f"  --{name:<18} {parameter.description} ({'; '.join(facts)})"))
    return "\n".join(lines if len(lines) > 1 else [f"\n{plugin.name} declares no parameters."])
