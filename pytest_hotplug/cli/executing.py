"""`hotplug test-plugin NAME --key value`: execute a plugin's entry on its newest code."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Mapping
from typing import Any

import click
import msgspec

from pytest_hotplug.cli.ondisk import PluginOnDisk, plugins_on_disk
from pytest_hotplug.cli.output import as_text, directory_option, emit_json, jsonable
from pytest_hotplug.reloader.errors import HotplugError, UsageError, fault_from
from pytest_hotplug.reloader.manifest import Parameter
from pytest_hotplug.reloader.settings import read_settings

__all__ = ["test_plugin"]


@click.command(
    "test-plugin",
    context_settings={"ignore_unknown_options": True, "help_option_names": []},
    add_help_option=False,
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="NAME [--KEY VALUE]...")
@directory_option
@click.pass_context
def test_plugin(ctx: click.Context, arguments: tuple[str, ...]) -> int:
    """Execute a plugin with any --key value (JSON where it parses) and print the result as JSON.

    With --json the result is wrapped in an object; `hotplug run NAME --help` shows the parameters.
    What the plugin itself prints goes to stderr.

    \b
    Examples:
      hotplug test-plugin my_plugin --message "hello" --count 3
      hotplug run greeter --name Ada --language fr
    """
    rest = list(arguments)
    name = rest.pop(0) if rest and not rest[0].startswith("-") else ""
    wants_help = bool({"-h", "--help"} & set(rest))
    if not name:
        if not wants_help:
            raise click.UsageError("Missing argument 'NAME'. 'hotplug list' shows the plugins.", ctx)
        click.echo(ctx.get_help())
        return 0
    plugin = plugins_on_disk([name])[0]
    if wants_help:
        click.echo(ctx.get_help())
        click.echo(_parameters(plugin))
        return 0
    as_json = "--json" in rest and "json" not in plugin.manifest.parameters
    if as_json:
        rest.remove("--json")
    result = _execute(name, parse_arguments(rest, plugin.manifest.parameters))
    if as_json:
        emit_json({"source": "disk", "plugin": name, "result": jsonable(result)})
    else:
        click.echo(as_text(result))
    return 0


def _execute(name: str, arguments: dict[str, Any]) -> Any:
    from pytest_hotplug.default import PluginManager

    project = read_settings()
    sys.path[:0] = [str((project.root / path).resolve()) for path in project.settings.pythonpath]
    settings = msgspec.structs.replace(project.settings, on_change="all-wait")
    with (
        contextlib.redirect_stdout(sys.stderr),  # stdout is for the result alone
        PluginManager.from_settings(settings, project.root, keeps="read-only") as manager,
    ):
        generation = manager.load(name)
        try:
            return manager.execute(name, **arguments)
        except HotplugError:
            raise
        except (Exception, SystemExit) as error:  # noqa: BLE001  # whatever the entry raises is told to its author
            root, files = generation.namespace.path, generation.snapshot.files
            fault = fault_from(error, plugin=name, root=root, files=files, doing="execution")
            raise _EntryFailed(fault.render(f"{name}: the entry raised.")) from None


class _EntryFailed(click.ClickException):
    """The plugin's own exception, told without our traceback."""

    exit_code = 1


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
    except ValueError:
        return value


def _parameters(plugin: PluginOnDisk) -> str:
    lines = [f"\nParameters of {plugin.name} {plugin.version}:"]
    for name, parameter in plugin.manifest.parameters.items():
        facts = [str(parameter.type)]
        if parameter.required:
            facts.append("required")
        if parameter.default is not msgspec.UNSET:
            facts.append(f"default {json.dumps(parameter.default)}")
        if parameter.options:
            facts.append("one of " + ", ".join(map(json.dumps, parameter.options)))
        lines.append(f"  --{name:<18} {parameter.description} ({'; '.join(facts)})")
    return "\n".join(lines if len(lines) > 1 else [f"\n{plugin.name} declares no parameters."])
