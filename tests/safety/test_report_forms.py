"""A report in each of its forms: what stands in it, and that nothing a plugin wrote has an effect there."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pytest_hotplug.reloader.errors import HotplugError, UsageError
from pytest_hotplug.safety.report.github import commands, tell_github
from pytest_hotplug.safety.report.record import Checked, Found, Report, Series, Span, Verified, merged
from pytest_hotplug.safety.report.summary import summary
from pytest_hotplug.safety.report.writing import SUFFIXES, check_suffix, write_report

EVIL = "</script><img src=x onerror=alert(1)> `*a*` | [b](c) & @team \"q\" 'p'"
THREAD = Found(
    message="thread that runs poll: 1 more with each reload, 7 left after unload",
    path="plugins/poller/main.py",
    line=10,
    chain=("module logging", "list[0] of 5", "function poll (line 38)"),
    remedy="Start it with context.thread().",
    growth=1.0,
)
NOTE = Found(message="a filter came once", severity="note", path="plugins/poller/main.py", line=3)
LEAKS = Checked(
    id="no_leaked_threads",
    outcome="failed",
    title="A thread ends with the version that started it",
    findings=(THREAD, NOTE),
)
POLLER = Verified(
    name="poller",
    manifest="plugins/poller/plugin.json",
    exceptions=1,
    checks=(
        LEAKS,
        Checked(id="no_warning_filters", outcome="note", title="Warnings are as before", findings=(NOTE,)),
        Checked(id="no_leaked_fds", outcome="passed", title="A file is closed"),
        Checked(id="no_leaked_tasks", outcome="xfailed", reason="known", title="A task ends", findings=(THREAD,)),
        Checked(id="no_leaked_timers", outcome="skipped", reason="does not apply", title="A timer ends"),
        Checked(id="memory_slope", outcome="failed", reason=f"it hung: {EVIL}", title="A reload costs no memory"),
    ),
    series=(Series(title="Memory", unit="blocks", points=((1.0, 10.0), (2.0, 12.0), (3.0, 14.0)), step="reload"),),
    timeline=(Span(lane="caller 1", start=0.5, end=0.7, kind="old", text=EVIL),),
)
CLEAN = Verified(
    name="clean",
    manifest="plugins/clean/plugin.json",
    has_probe=False,
    checks=(Checked(id="no_leaked_threads", outcome="passed"),),
)
REPORT = Report(at=0.0, version="1.0", plugins=(POLLER, CLEAN))


def written(tmp_path: Path, suffix: str, report: Report = REPORT) -> str:
    file = tmp_path / "deep" / "er" / f"report{suffix}"
    write_report(report, file)
    assert not list(file.parent.glob(".*")), "nothing else is left beside it"
    return file.read_text(encoding="utf-8")


def test_json_has_the_promised_shape(tmp_path: Path) -> None:
    """What contract and docs promise to programs, and the version of the schema."""
    report = json.loads(written(tmp_path, ".json"))
    assert report["schema_version"] == 1
    assert [plugin["name"] for plugin in report["plugins"]] == ["poller", "clean"]
    check = report["plugins"][0]["checks"][0]
    assert {"id", "outcome", "reason", "findings"} <= check.keys()
    assert {"message", "path", "line", "chain", "remedy", "growth"} <= check["findings"][0].keys()
    assert (check["outcome"], check["findings"][0]["chain"]) == ("failed", list(THREAD.chain))
    assert msgspec.convert(report, Report) == REPORT


def test_a_line_sums_it_up() -> None:
    """Failures first; the exceptions in force are always told."""
    assert (
        summary(REPORT) == "2 plugins: 2 failed, 3 passed, 1 xfailed, 1 skipped, 1 with notes, 1 without probe, "
        "1 exception in force"
    )
    assert summary(Report(plugins=(CLEAN,))) == "1 plugin: 1 passed, 1 without probe, 0 exceptions in force"
    assert summary(Report()) == "no plugin was verified"


def test_markdown_tells_what_does_not_pass(tmp_path: Path) -> None:
    """A table of plugins, then findings with their place, who holds them, and what to do."""
    text = written(tmp_path, ".md")
    assert "| ❌ `poller` | 2 | 2 | 1 | 1 | 1 with notes |" in text
    assert "| ✅ `clean` | 0 | 1 | 0 | 0 | no probe |" in text
    assert "`plugins/poller/main.py:10`: thread that runs poll: 1 more" in text
    assert "held by `module logging` → `list[0] of 5` → `function poll (line 38)`" in text
    assert "Start it with context.thread()." in text
    assert "no_leaked_fds" not in text


def test_nothing_a_plugin_wrote_is_markup_in_markdown(tmp_path: Path) -> None:
    """No tag, no emphasis, no link, no mention."""
    text = written(tmp_path, ".md")
    assert "&lt;/script&gt;" in text
    assert "\\`\\*a\\*\\` \\| \\[b\\](c) &amp; &#64;team" in text
    assert "<img" not in text


def test_what_fails_for_one_reason_is_told_once(tmp_path: Path) -> None:
    """A plugin that can't be loaded fails each of its checks."""
    checks = tuple(Checked(id=name, outcome="failed", reason="a syntax error") for name in ("one", "two", "three"))
    report = Report(plugins=(Verified(name="broken", manifest="plugins/broken/plugin.json", checks=checks),))
    text = written(tmp_path, ".md", report)
    assert text.count("a syntax error") == 1
    assert "3 checks (`one`, `two`, `three`)" in text
    assert written(tmp_path, ".html", report).count("a syntax error") == 1
    assert len(list(commands(report))) == 1


class Page(HTMLParser):
    """What a browser would make of a page: its elements and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_needs_nothing_and_runs_nothing(tmp_path: Path) -> None:
    """No script, no image, no link to elsewhere: and what a plugin wrote is text."""
    page = Page(written(tmp_path, ".html"))
    names = {tag for tag, _ in page.tags}
    assert names.isdisjoint({"script", "img", "link", "iframe", "object", "base", "form"})
    leads = [v for _, attributes in page.tags for k, v in attributes.items() if k in ("href", "src", "style")]
    assert all(value and value.startswith("#") for value in leads)
    assert EVIL in page.text
    assert not any(key.startswith("on") for _, attributes in page.tags for key in attributes)
    assert "url(" not in page.text
    assert "@import" not in page.text


def test_the_page_holds_everything(tmp_path: Path) -> None:
    """Summary, each check, findings with chain and remedy, plots, and the timeline."""
    text = written(tmp_path, ".html")
    page = Page(text)
    for said in ("1 of 2 plugins is not safe to hot-reload", "plugins/poller/main.py:10", *THREAD.chain, THREAD.remedy):
        assert said in page.text
    assert "Memory: +2 blocks per reload" in page.text
    assert "does not apply" in page.text
    assert len([tag for tag, _ in page.tags if tag == "circle"]) == 3
    assert len([tag for tag, _ in page.tags if tag == "rect"]) == 1


@pytest.mark.parametrize("points", [((1.0, 5.0),), ((1.0, 5.0), (2.0, 5.0)), ((0.0, -1e9), (1.0, 1e9)), ()])
def test_every_series_can_be_drawn(points: tuple[tuple[float, float], ...], tmp_path: Path) -> None:
    """One point, a flat line, huge numbers, nothing at all: no number that a browser can't read."""
    plugin = msgspec.structs.replace(POLLER, series=(Series(title="t", unit="u", points=points, step="reload"),))
    text = written(tmp_path, ".html", Report(plugins=(plugin,)))
    assert not re.search(r"\b(nan|inf)\b", text)
    assert ("<polyline" in text) == bool(points)


# -- SARIF --------------------------------------------------------------------------------------


def sarif(tmp_path: Path, report: Report = REPORT) -> Any:
    log = json.loads(written(tmp_path, ".sarif", report))
    assert (log["version"], len(log["runs"])) == ("2.1.0", 1)
    return log["runs"][0]


def test_sarif_has_a_result_for_each_finding_of_what_failed(tmp_path: Path) -> None:
    """Errors first, notes as such; what is excepted or skipped is none."""
    run = sarif(tmp_path)
    results = [(result["ruleId"], result["level"]) for result in run["results"]]
    assert results == [
        ("hotplug/no-leaked-threads", "error"),
        ("hotplug/memory-slope", "error"),
        ("hotplug/no-leaked-threads", "note"),
        ("hotplug/no-warning-filters", "note"),
    ]
    rules = run["tool"]["driver"]["rules"]
    assert all(rules[result["ruleIndex"]]["id"] == result["ruleId"] for result in run["results"])
    first, hung = run["results"][:2]
    assert first["locations"][0]["physicalLocation"] == {
        "artifactLocation": {"uri": "plugins/poller/main.py", "uriBaseId": "%SRCROOT%"},
        "region": {"startLine": 10},
    }
    # Code scanning shows nothing that has no place.
    assert hung["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "plugins/poller/plugin.json"


def test_sarif_leads_along_the_chain(tmp_path: Path) -> None:
    """Each holder is a related location that the message links to; brackets of its own are no link."""
    first = sarif(tmp_path)["results"][0]
    assert [place["message"]["text"] for place in first["relatedLocations"]] == list(THREAD.chain)
    assert [place["id"] for place in first["relatedLocations"]] == [1, 2, 3]
    assert r"[module logging](1) -> [list\[0\] of 5](2)" in first["message"]["text"]


def test_an_alert_stays_the_same_while_code_moves(tmp_path: Path) -> None:
    """Lines and numbers don't tell alerts apart; what is found, in which file and who holds it does."""

    def fingerprint(**changes: Any) -> str:
        finding = msgspec.structs.replace(THREAD, **changes)
        plugin = Verified(name="p", manifest="m", checks=(msgspec.structs.replace(LEAKS, findings=(finding,)),))
        (result,) = sarif(tmp_path, Report(plugins=(plugin,)))["results"]
        (value,) = result["partialFingerprints"].values()
        return str(value)

    same = fingerprint()
    assert fingerprint(line=99, growth=3.0) == same
    assert fingerprint(message="thread that runs poll: 2 more with each reload") == same
    assert fingerprint(chain=("module logging", "list[4] of 6", "function poll (line 39)")) == same
    assert fingerprint(message="thread that runs other: left after unload") != same
    assert fingerprint(path="plugins/poller/other.py") != same
    assert fingerprint(chain=("module atexit",)) != same


def test_sarif_keeps_to_its_standard(tmp_path: Path) -> None:
    """Properties that SARIF 2.1.0 requires or doesn't know, by hand: no package ships its schema."""
    run = sarif(tmp_path)
    assert run.keys() <= {"tool", "columnKind", "results"}
    assert run["columnKind"] in ("utf16CodeUnits", "unicodeCodePoints")
    assert run["tool"]["driver"].keys() <= {"name", "version", "rules"}
    for rule in run["tool"]["driver"]["rules"]:
        known = ["id", "name", "shortDescription", "fullDescription", "help", "defaultConfiguration", "properties"]
        assert rule.keys() <= set(known)
        assert all(rule[key]["text"] for key in ("shortDescription", "fullDescription", "help"))
    known = [
        "ruleId",
        "ruleIndex",
        "level",
        "message",
        "locations",
        "relatedLocations",
        "partialFingerprints",
        "properties",
    ]
    for result in run["results"]:
        assert result.keys() <= {*known, "properties"}
        assert result["level"] in ("none", "note", "warning", "error")
        assert result["message"]["text"]
        for place in [*result["locations"], *result.get("relatedLocations", ())]:
            physical = place["physicalLocation"]
            assert physical["region"]["startLine"] >= 1
            assert re.fullmatch(r"[\w./%:-]+", physical["artifactLocation"]["uri"])


# -- GitHub -------------------------------------------------------------------------------------


def test_annotations_are_escaped_and_at_most_ten() -> None:
    """As GitHub's workflow commands need it; errors come first, each once."""
    many = tuple(
        Found(
            message=f"100%: a,b\r\nnumber {n}",
            path="plugins/a,b/ma:in.py",
            line=n + 1,
            severity="note" if n < 3 else "error",
        )
        for n in range(12)
    )
    checks = (Checked(id="no_leaked_threads", outcome="failed", findings=many),)
    told = list(commands(Report(plugins=(Verified(name="p", manifest="m", checks=checks),)), "sub/"))
    assert len(told) == 10
    assert told[0] == (
        "::error file=sub/plugins/a%2Cb/ma%3Ain.py,line=4,title=p%3A no_leaked_threads::100%25: a,b%0D%0Anumber 3"
    )
    assert [line.split()[0] for line in told] == ["::error"] * 9 + ["::notice"]


def test_a_job_of_githubs_gets_annotations_and_a_summary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths count from the repository's root; the summary is added to what other steps wrote, and bounded."""
    said: list[str] = []
    place = tmp_path / "summary.md"
    place.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(place))
    monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path))
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    tell_github(REPORT, tmp_path / "inside", said.append)
    assert (said, place.read_text()) == ([], "before\n"), "elsewhere nothing is told"

    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    tell_github(REPORT, tmp_path / "inside", said.append)
    assert said[0].startswith("::error file=inside/plugins/poller/main.py,line=10,")
    assert place.read_text().startswith("before\n## Reload safety\n")

    long = tuple(Checked(id=f"check_{n}", outcome="failed", reason=f"{n}" * 1000) for n in range(1000))
    tell_github(Report(plugins=(Verified(name="p", manifest="m", checks=long),)), tmp_path, said.append)
    assert place.stat().st_size < 1024 * 1024 + 10_000
    assert place.read_text().endswith("... and more; see the report.\n")

    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path))
    with pytest.raises(HotplugError, match="cannot-write"):
        tell_github(REPORT, tmp_path, said.append)


# -- files --------------------------------------------------------------------------------------


def test_a_suffix_that_says_nothing_is_a_usage_error() -> None:
    """Before anything runs; in any case of letters it is understood."""
    for suffix in SUFFIXES:
        check_suffix(Path(f"report{suffix.upper()}"))
    with pytest.raises(UsageError, match=r"one of .html, .json, .md, .sarif \[unknown-report\]"):
        check_suffix(Path("report.xml"))


def test_a_report_that_cannot_be_written_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    """The one that was there stays as it was."""
    (tmp_path / "file").write_text("")
    (tmp_path / "taken.json").mkdir()
    for place in (tmp_path / "file" / "report.json", tmp_path / "taken.json"):
        with pytest.raises(HotplugError, match="cannot-write"):
            write_report(REPORT, place)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "taken.json"]


def test_parts_that_come_in_any_order_make_one_plugin() -> None:
    """As workers hand them over; what is told twice counts as told last."""
    again = msgspec.structs.replace(LEAKS, outcome="passed", findings=())
    parts = [msgspec.structs.replace(POLLER, checks=(check,)) for check in (*POLLER.checks, again)]
    (plugin,) = merged(parts)
    assert plugin.checks == (again, *POLLER.checks[1:])
    assert (plugin.series, plugin.timeline) == (POLLER.series, POLLER.timeline)
