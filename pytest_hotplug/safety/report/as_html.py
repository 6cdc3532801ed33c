"""A report as one page that needs nothing else: no script, no request; its plots are drawn here.

Everything that a plugin can have written is escaped, and the page itself forbids scripts and requests.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from html import escape
from importlib.resources import files

from pytest_hotplug.safety.report.as_text import place_of
from pytest_hotplug.safety.report.plots import caption, line_plot, timeline
from pytest_hotplug.safety.report.record import Checked, Found, Outcome, Report, Verified, grouped
from pytest_hotplug.safety.report.summary import counts, summary

__all__ = ["as_html"]

_SHUT = "default-src 'none'; style-src 'unsafe-inline'"
_ORDER: tuple[Outcome, ...] = ("failed", "note", "xfailed", "skipped", "passed")
_OPEN = ("failed", "note")  # told in full; the others are a line each


def as_html(report: Report) -> str:
    """Return the whole page."""
    style = files("pytest_hotplug.safety.report").joinpath("page.css").read_text(encoding="utf-8")
    head = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_SHUT}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Reload safety: {escape(_verdict(report))}</title><style>\n{style}</style></head><body>"
    )
    return "\n".join([head, *_summary(report), *map(_plugin, report.plugins), _foot(report), "</body></html>", ""])


def _verdict(report: Report) -> str:
    if not report.plugins:
        return "no plugin was verified"
    failing = sum(any(check.outcome == "failed" for check in plugin.checks) for plugin in report.plugins)
    plugins = _plural(len(report.plugins), "plugin")
    if not failing:
        return f"{plugins} {'is' if len(report.plugins) == 1 else 'are'} safe to hot-reload, as far as checked"
    return f"{failing} of {plugins} {'is' if failing == 1 else 'are'} not safe to hot-reload"


def _plural(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def _summary(report: Report) -> Iterator[str]:
    yield f'<header><h1>{escape(_verdict(report))}</h1><p class="soft">{escape(summary(report))}</p></header>'
    number = counts(report)
    tiles = [("plugins", len(report.plugins), ""), *((word, count, word) for word, count in number.items())]
    shown = [tile for tile in tiles if tile[1] or tile[0] in ("plugins", "failed", "passed")]
    yield '<div class="tiles">'
    for word, count, outcome in shown:
        colour = {"with notes": "note"}.get(outcome, outcome if outcome in _ORDER and count else "")
        yield f'<div><b class="{colour}">{count}</b><span>{escape(word)}</span></div>'
    yield "</div>"
    if len(report.plugins) > 1:
        yield from _overview(report.plugins)


def _overview(plugins: Iterable[Verified]) -> Iterator[str]:
    yield '<section class="card"><table class="overview"><tr><th>plugin</th><th>checks</th><th>failed</th></tr>'
    for plugin in plugins:
        strip = "".join(
            f'<i class="{check.outcome}" title="{escape(check.id)}: {check.outcome}"></i>' for check in plugin.checks
        )
        failed = sum(check.outcome == "failed" for check in plugin.checks)
        name = escape(plugin.name)
        yield (
            f'<tr><td><a href="#{name}">{name}</a></td><td><div class="strip">{strip}</div></td>'
            f'<td class="{"failed" if failed else "soft"}">{failed}</td></tr>'
        )
    yield "</table></section>"


def _plugin(plugin: Verified) -> str:
    remarks = [] if plugin.has_probe else ["no probe: it was only loaded, never used"]
    if plugin.exceptions:
        remarks.append(_plural(plugin.exceptions, "exception") + " in force")
    checks = sorted(plugin.checks, key=lambda check: _ORDER.index(check.outcome))
    told = "".join(map(_told, grouped(check for check in checks if check.outcome in _OPEN)))
    return (
        f'<section class="card" id="{escape(plugin.name)}"><div class="head"><h2>{escape(plugin.name)}</h2>'
        f'<p class="soft">{escape("; ".join([_numbers(plugin.checks), *remarks]))}</p></div>'
        f"{told}{_rest([check for check in checks if check.outcome not in _OPEN])}{_plots(plugin)}</section>"
    )


def _numbers(checks: Iterable[Checked]) -> str:
    number = Counter(check.outcome for check in checks)
    words = {outcome: "with notes" if outcome == "note" else outcome for outcome in _ORDER}
    return ", ".join(f"{number[outcome]} {word}" for outcome, word in words.items() if number[outcome])


def _told(alike: list[Checked]) -> str:
    check = alike[0]
    reason = f'<p class="finding is-error">{escape(check.reason)}</p>' if check.reason else ""
    if len(alike) == 1:
        said = f"{escape(check.title)} <code>{escape(check.id)}</code>"
    else:
        ids = " ".join(f"<code>{escape(check.id)}</code>" for check in alike)
        said = f"{len(alike)} checks</p><details><summary>which</summary><p>{ids}</p></details><p>"
    return (
        f'<div class="check"><p><b class="{check.outcome}">{check.outcome}</b> {said}</p>'
        f"{reason}{''.join(map(_finding, check.findings))}</div>"
    )


def _finding(finding: Found) -> str:
    place = f'<p class="place"><code>{escape(place_of(finding))}</code></p>' if finding.path else ""
    chain = "".join(f"<li><code>{escape(held)}</code></li>" for held in finding.chain)
    return (
        f'<div class="finding is-{finding.severity}">{place}{escape(finding.message)}'
        + (f'<ol class="chain" aria-label="held by">{chain}</ol>' if chain else "")
        + (f'<p class="remedy">{escape(finding.remedy)}</p>' if finding.remedy else "")
        + "</div>"
    )


def _rest(checks: list[Checked]) -> str:
    """Fold away what there is nothing to do about."""
    if not checks:
        return ""
    rows = "".join(
        f'<tr><td class="{check.outcome}">{check.outcome}</td><td>{escape(check.title)} <code>{escape(check.id)}</code>'
        + (f'<br><span class="soft">{escape(check.reason)}</span>' if check.reason else "")
        + "</td></tr>"
        for check in checks
    )
    return f'<details><summary>{_numbers(checks)}</summary><table class="rest">{rows}</table></details>'


def _plots(plugin: Verified) -> str:
    drawn = [_figure(caption(series), line_plot(series)) for series in plugin.series if series.points]
    if plugin.timeline:
        drawn.append(_figure("What ran when", timeline(plugin.timeline), " class=wide"))
    return f'<div class="plots">{"".join(drawn)}</div>' if drawn else ""


def _figure(caption: str, drawing: str, attributes: str = "") -> str:
    return f"<figure{attributes}><h3>{escape(caption)}</h3>{drawing}</figure>"


def _foot(report: Report) -> str:
    at = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(report.at))
    return f"<footer>pytest-hotplug {escape(report.version)}, {at}</footer>"
