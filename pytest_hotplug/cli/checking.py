"""`hotplug check`: would this version load? Tried in a child process; changes nothing."""

from __future__ import annotations

import click

from pytest_hotplug.cli.ondisk import misnamed, nothing_found, plugin_argument, plugins_on_disk
from pytest_hotplug.cli.output import directory_option, emit_json, json_option
from pytest_hotplug.cli.preflight import preflight

__all__ = ["check"]


@click.command()
@plugin_argument("names", nargs=-1)
@click.option(
    "--from",
    "source",
    type=click.Path(exists=True, file_okay=False),
    help="Check the version that lies in DIR.",
)
@directory_option
@json_option
def check(names: tuple[str, ...], source: str | None, as_json: bool) -> int:
    """Check manifests and load plugins in a child process, without starting them.

    \b
    Examples:
      hotplug check                        every enabled plugin
      hotplug check greeter
      hotplug check greeter --from /tmp/greeter-2.0
    """
    if source and len(names) != 1:
        raise click.UsageError("--from needs the name of exactly one plugin")
    found = [p for p in plugins_on_disk(names) if names or p.manifest.enabled or p.problem]
    for line in () if names else misnamed():
        click.echo(f"hotplug: {line}", err=True)
    good = True
    for plugin in found:
        result = preflight(plugin.found, source, plugin.manifest.load_timeout)
        good &= result["ok"]
        if as_json:
            emit_json(result)
        else:
            click.echo(result["text"], err=not result["ok"])
            for warning in result["warnings"]:
                click.echo(f"  warning: {warning}", err=True)
    if found:
        return 0 if good else 1
    if as_json:
        emit_json({"error": nothing_found(), "exit_code": 5})
    else:
        click.echo(f"hotplug: {nothing_found()}", err=True)
    return 5
