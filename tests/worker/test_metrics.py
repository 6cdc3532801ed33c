"""What Prometheus reads of a worker: real plugins that are edited, broken, restored and rolled back."""

from __future__ import annotations

import gc
import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from pytest_hotplug import HotplugError, PluginManager
from pytest_hotplug.reloader import garbage
from pytest_hotplug.worker import metrics as module
from pytest_hotplug.worker.metrics import CONTENT_TYPE, Metrics, labelled
from tests.reloader.workshop import PATIENCE, Workshop, eventually, gate, running

DOCS = Path(__file__).parents[2] / "docs"
ONE, TWO, BROKEN = "def run():\n    return 1\n", "def run():\n    return 2\n", "def run(:\n"
NAMES = {
    "hotplug_plugin_info": {"plugin", "version", "digest", "state"},
    "hotplug_plugin_behind_seconds": {"plugin"},
    "hotplug_reloads_total": {"plugin", "outcome"},
    "hotplug_refused": {"plugin", "slug"},
    "hotplug_generations_alive": {"plugin"},
    "hotplug_calls_in_flight": {"plugin"},
    "hotplug_oldest_call_seconds": {"plugin"},
    "hotplug_calls_total": {"plugin", "result"},
    "hotplug_reload_seconds_bucket": {"plugin", "le"},
    "hotplug_reload_seconds_count": {"plugin"},
    "hotplug_reload_seconds_sum": {"plugin"},
    "hotplug_watcher_up": set[str](),
    "hotplug_missed_by_events_total": set[str](),
}


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.at = 1000.0

    def monotonic(self) -> float:
        return self.at


class Scraper:
    """Scrapes one manager's metrics and reads them as Prometheus does."""

    def __init__(self, manager: PluginManager) -> None:
        self.metrics = Metrics(manager)

    def samples(self) -> list[Any]:
        families = text_string_to_metric_families(self.metrics.render().decode())
        return [sample for family in families for sample in family.samples]

    def series(self, name: str, **labels: str) -> list[tuple[dict[str, str], float]]:
        """Return the labels and value of every series of that name with these labels."""
        return [(s.labels, s.value) for s in self.samples() if s.name == name and labels.items() <= s.labels.items()]

    def value(self, name: str, **labels: str) -> float:
        """Return the value of the one series with these labels."""
        ((_, value),) = self.series(name, **labels)
        return value

    def reloads(self, plugin: str = "subject") -> dict[str, float]:
        return {labels["outcome"]: n for labels, n in self.series("hotplug_reloads_total", plugin=plugin) if n}

    def calls(self, plugin: str = "subject") -> dict[str, float]:
        return {labels["result"]: n for labels, n in self.series("hotplug_calls_total", plugin=plugin) if n}


@pytest.fixture
def manager(shop: Workshop) -> PluginManager:
    """Give the test a manager that serves one plugin."""
    shop.plugin("subject", ONE, {"version": "1.0"})
    manager = shop.manager()
    manager.load("subject")
    return manager


@pytest.fixture
def scraper(manager: PluginManager) -> Iterator[Scraper]:
    """Give the test somebody who scrapes it."""
    scraper = Scraper(manager)
    yield scraper
    scraper.metrics.close()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Give the metrics a clock of their own."""
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def test_the_names_and_labels_are_those_that_are_promised(shop: Workshop, scraper: Scraper) -> None:
    """Dashboards and alerts rest on them; there are no others, and every series of a counter begins at 0."""
    shop.write("subject", "main.py", BROKEN)
    scraper.metrics._manager.reload("subject")
    found: dict[str, set[str]] = {}
    for sample in scraper.samples():
        assert found.setdefault(sample.name, set(sample.labels)) == set(sample.labels)
    assert found == NAMES
    assert CONTENT_TYPE.startswith("text/plain")
    assert [n for _, n in scraper.series("hotplug_calls_total")] == [0, 0, 0]
    assert len(scraper.series("hotplug_reloads_total")) == 4
    assert not [name for name in REGISTRY._names_to_collectors if name.startswith("hotplug")], "a registry of its own"


def test_edit_break_restore_and_roll_back_are_counted(shop: Workshop, scraper: Scraper) -> None:
    """One by one, as they happen; the info series is replaced, not added to; a first load is no reload."""
    manager = scraper.metrics._manager
    assert scraper.reloads() == {}
    first = manager.get_plugin_hot_info("subject")["digest"]
    info = scraper.series("hotplug_plugin_info")
    assert info == [({"plugin": "subject", "version": "1.0", "digest": first, "state": "serving"}, 1)]
    shop.write("subject", "main.py", TWO)
    assert manager.execute("subject") == 2
    second = manager.get_plugin_hot_info("subject")["digest"]
    assert scraper.reloads() == {"reloaded": 1}
    assert [labels["digest"] for labels, _ in scraper.series("hotplug_plugin_info")] == [second]
    shop.write("subject", "main.py", BROKEN)
    assert manager.execute("subject") == 2
    assert scraper.reloads() == {"reloaded": 1, "refused": 1}
    assert scraper.series("hotplug_refused") == [({"plugin": "subject", "slug": "syntax-error"}, 1)]
    assert scraper.series("hotplug_plugin_info")[0][0]["state"] == "degraded"
    shop.write("subject", "main.py", TWO)
    assert manager.execute("subject") == 2
    assert scraper.series("hotplug_refused") == []
    assert scraper.reloads() == {"reloaded": 1, "refused": 1}
    manager.rollback("subject")
    assert scraper.reloads() == {"reloaded": 1, "refused": 1, "rolled-back": 1}
    ((labels, _),) = scraper.series("hotplug_plugin_info")
    assert (labels["digest"], labels["state"]) == (first, "rolled-back")
    manager.end_rollback("subject")
    manager.unload("subject")
    assert scraper.reloads() == {"reloaded": 2, "refused": 1, "rolled-back": 1, "unloaded": 1}
    ((labels, _),) = scraper.series("hotplug_plugin_info")
    assert (labels["digest"], labels["state"]) == ("", "not-loaded")


def test_how_long_the_disk_differs_from_what_serves(shop: Workshop, scraper: Scraper, clock: Clock) -> None:
    """Since it was seen first, by a scrape or a refusal; 0 as soon as it doesn't, also by a rollback."""
    manager = scraper.metrics._manager

    def behind() -> float:
        return scraper.value("hotplug_plugin_behind_seconds")

    assert behind() == 0
    shop.write("subject", "main.py", TWO)
    assert behind() == 0
    clock.at += 30
    assert behind() == 30
    manager.reload("subject")
    clock.at += 30
    assert behind() == 0
    shop.write("subject", "main.py", BROKEN)
    manager.reload("subject")
    clock.at += 45
    assert behind() == 45, "nobody had to scrape in between"
    shop.write("subject", "main.py", TWO)
    assert behind() == 0
    manager.rollback("subject")
    clock.at += 30
    assert behind() == 0, "it serves what was asked for"
    shop.write("subject", "main.py", ONE + "\n")
    assert behind() == 0
    clock.at += 10
    assert behind() == 10


def test_a_plugin_of_which_nothing_serves_is_behind_once_it_is_refused(
    shop: Workshop, scraper: Scraper, clock: Clock
) -> None:
    """One that nobody has loaded yet is not."""
    manager = scraper.metrics._manager
    shop.plugin("other", BROKEN)
    manager.discover()
    assert scraper.value("hotplug_plugin_behind_seconds", plugin="other") == 0
    manager.reload("other")
    clock.at += 30
    assert scraper.value("hotplug_plugin_behind_seconds", plugin="other") == 30
    assert scraper.reloads("other") == {"refused": 1}
    assert scraper.series("hotplug_plugin_info", plugin="other")[0][0]["state"] == "failed"


def test_calls_are_counted_by_what_became_of_them(scraper: Scraper, shop: Workshop) -> None:
    """Exceptions pass unchanged; what was never called is refused, what the entry raised is an error."""
    metrics, manager = scraper.metrics, scraper.metrics._manager
    with metrics.call("subject"):
        manager.execute("subject")
    with pytest.raises(HotplugError, match="surplus"), metrics.call("subject"):
        manager.execute("subject", surplus=1)
    with pytest.raises(ZeroDivisionError), metrics.call("subject"):
        raise ZeroDivisionError
    with metrics.call("subject") as call:
        call.result = "error"
    with pytest.raises(KeyboardInterrupt), metrics.call("subject"):
        raise KeyboardInterrupt
    assert scraper.calls() == {"ok": 1, "refused": 1, "error": 3}


def test_names_that_callers_make_up_make_no_series(scraper: Scraper) -> None:
    """An unknown plugin is refused, and not counted."""
    for number in range(20):
        with pytest.raises(HotplugError), scraper.metrics.call(f"unknown_{number}"):
            scraper.metrics._manager.execute(f"unknown_{number}")
    assert {labels["plugin"] for labels, _ in scraper.series("hotplug_calls_total")} == {"subject"}


def test_the_age_of_the_oldest_call_grows_until_it_ends(shop: Workshop, scraper: Scraper, clock: Clock) -> None:
    """Of several the oldest; nothing when none runs; calls in flight are those that hold a version."""
    manager = scraper.metrics._manager
    with gate("metrics-call") as (waits, opened):
        shop.write("subject", "main.py", "def run():\n    " + waits.strip().replace("\n", "\n    ") + "\n")
        manager.reload("subject")
        begun = threading.Semaphore(0)

        def call() -> None:
            with scraper.metrics.call("subject"):
                begun.release()
                manager.execute("subject")

        assert scraper.value("hotplug_oldest_call_seconds") == 0
        with running(call) as errors:
            assert begun.acquire(timeout=PATIENCE)
            clock.at += 20
            with running(call) as more:
                assert begun.acquire(timeout=PATIENCE)
                clock.at += 3
                assert scraper.value("hotplug_oldest_call_seconds") == 23
                eventually(lambda: scraper.value("hotplug_calls_in_flight") == 2, "both calls")
                opened.set()
        assert errors == more == []
    assert scraper.value("hotplug_oldest_call_seconds") == scraper.value("hotplug_calls_in_flight") == 0
    assert scraper.calls() == {"ok": 2}


def test_versions_in_memory_are_counted(shop: Workshop, scraper: Scraper) -> None:
    """One that somebody still holds counts until it is let go."""
    manager = scraper.metrics._manager
    held = manager.load("subject")
    shop.write("subject", "main.py", TWO)
    manager.reload("subject")
    assert scraper.value("hotplug_generations_alive") == 2
    del held
    eventually(lambda: gc.collect() or scraper.value("hotplug_generations_alive") == 1, "the old version's end")


def test_versions_that_nobody_holds_are_not_counted(
    shop: Workshop, scraper: Scraper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What merely waits for Python's garbage collection is no leak: a quiet worker tells of those who are held."""
    monkeypatch.setattr(garbage, "MOST_BLOCKS", sys.maxsize)  # this process is larger than a worker
    manager = scraper.metrics._manager
    manager.load("subject")
    gc.collect()
    for number in range(4):
        shop.write("subject", "main.py", f"{TWO}# {number}\n")
        manager.reload("subject")
    eventually(lambda: scraper.value("hotplug_generations_alive") == 1, "the old versions' end")


def test_the_time_of_a_reload_goes_from_the_request_to_the_swap(shop: Workshop) -> None:
    """Settling included; first loads and refusals are none; buckets add up."""
    shop.plugin("subject", ONE)
    manager = shop.manager(debounce=0.06)
    scraper = Scraper(manager)
    manager.load("subject")
    assert scraper.value("hotplug_reload_seconds_count") == 0
    for text in (TWO, BROKEN, TWO):
        shop.write("subject", "main.py", text)
        manager.reload("subject")
    assert scraper.value("hotplug_reload_seconds_count") == 1, "the last one serves nothing new"
    assert 0.06 <= scraper.value("hotplug_reload_seconds_sum") < 60
    buckets = [(labels["le"], n) for labels, n in scraper.series("hotplug_reload_seconds_bucket")]
    assert (buckets[3], buckets[-1]) == (("0.05", 0), ("+Inf", 1))
    assert [n for _, n in buckets] == sorted(n for _, n in buckets)


def test_a_plugin_that_was_removed_takes_its_series_with_it(shop: Workshop, scraper: Scraper) -> None:
    """Whatever was counted of it; one that comes back under the name begins at 0."""
    manager = scraper.metrics._manager
    shop.plugin("other", ONE)
    manager.load("other")
    shop.write("other", "main.py", TWO)
    with scraper.metrics.call("other"):
        manager.execute("other")
    assert scraper.calls("other") == {"ok": 1}
    shutil.rmtree(shop.plugins / "other")
    manager.unload("other")
    manager.discover()
    assert {s.labels["plugin"] for s in scraper.samples() if "plugin" in s.labels} == {"subject"}
    shop.plugin("other", ONE)
    manager.discover()
    assert (scraper.calls("other"), scraper.reloads("other")) == ({}, {})


def test_the_watch_is_up_while_it_runs(scraper: Scraper) -> None:
    """Nobody watches: 0."""
    assert scraper.value("hotplug_watcher_up") == 0
    scraper.metrics._manager.start_watching()
    assert scraper.value("hotplug_watcher_up") == 1
    assert scraper.value("hotplug_missed_by_events_total") == 0
    scraper.metrics._manager.stop_watching()
    assert scraper.value("hotplug_watcher_up") == 0


def test_a_scrape_executes_nothing_of_a_plugin(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither new bytes nor `health()`; and it reads no bytes again that have not changed."""
    ran = "from pathlib import Path\ndef mark(text):\n    with open({!r}, 'a') as file:\n        file.write(text)\n"
    marks = shop.root / "marks"
    code = ran.format(str(marks)) + "mark('import ')\ndef health():\n    mark('health ')\ndef run():\n    return 1\n"
    shop.plugin("subject", code)
    manager = shop.manager()
    scraper = Scraper(manager)
    manager.load("subject")
    shop.write("subject", "main.py", code + "\n")
    eventually(lambda: not scraper.samples() or not manager._registry.slots["subject"].seen.racy, "an old file")  # type: ignore[union-attr]
    assert scraper.value("hotplug_plugin_info", plugin="subject") == 1
    assert marks.read_text() == "import "
    assert manager.get_plugin_hot_info("subject")["generation"] == 1

    def read(*given: Any, **named: Any) -> None:
        raise AssertionError("bytes were read again")

    monkeypatch.setattr("pytest_hotplug.reloader.check.snapshot", read)
    scraper.samples()


def test_a_version_that_utf_8_can_not_hold_hurts_no_scrape(shop: Workshop) -> None:
    """A lone surrogate, quotes and line ends in a manifest."""
    shop.plugin("subject", ONE, json.dumps({"version": '1"\n\\'}))
    manager = shop.manager()
    manager.load("subject")
    assert Scraper(manager).series("hotplug_plugin_info")[0][0]["version"] == '1"\n\\'
    assert module._encodable("1\ud800") == "1\\ud800"


def test_several_workers_are_told_apart(scraper: Scraper) -> None:
    """One exposition, each name once, with a label `worker`."""
    text = scraper.metrics.render().decode()
    together = labelled({"web-1": text, "web-2": text})
    assert together.count("# TYPE hotplug_plugin_info ") == 1
    samples = [s for family in text_string_to_metric_families(together) for s in family.samples]
    assert {s.name for s in samples} == NAMES.keys() - {"hotplug_refused"}
    assert {s.labels["worker"] for s in samples} == {"web-1", "web-2"}
    assert len(samples) == 2 * len(scraper.samples())


def test_every_metric_has_its_entry_in_the_docs() -> None:
    """With its labels; and nothing is described that there is not."""
    page = (DOCS / "reference" / "metrics.md").read_text()
    told = dict(re.findall(r"^\| `(hotplug_\w+)(\{[\w,]*\})?`", page, re.MULTILINE))
    known = {re.sub("_(bucket|count|sum)$", "", name): labels - {"le"} for name, labels in NAMES.items()}
    assert {name: set(filter(None, labels.strip("{}").split(","))) for name, labels in told.items()} == known


def test_alert_rules_name_only_metrics_that_there_are() -> None:
    """A rule over a name that nobody exports never fires; labels and the pages that it points to are right as well."""
    page = (DOCS / "howto" / "alert.md").read_text()
    rules = "".join(re.findall(r"^```yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL))
    expressions = re.findall(r"^ +expr: (.+)$", rules, re.MULTILINE)
    assert len(expressions) >= 6
    for expression in expressions:
        used = set(re.findall(r"hotplug_\w+", expression))
        assert used, expression
        assert used <= NAMES.keys(), expression
        labels = set[str]().union(*(NAMES[name] for name in used))
        assert set(re.findall(r"(\w+)=~?\"", expression)) <= labels, expression
    outcomes = set(re.findall(r"(?:outcome|result|state)=\"([\w-]+)\"", rules))
    assert outcomes <= {*module.OUTCOMES, *module.RESULTS, "failed", "degraded", "paused"}


@pytest.mark.skipif(shutil.which("promtool") is None, reason="Prometheus's own tool for rules")
def test_the_alert_rules_fire_for_what_they_say(tmp_path: Path) -> None:
    """Prometheus takes them: where nothing serves somebody is paged, where an older version does a ticket is made."""
    page = (DOCS / "howto" / "alert.md").read_text()
    (tmp_path / "rules.yml").write_text("".join(re.findall(r"^```yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)))
    series = {
        'hotplug_refused{instance="a",plugin="dead",slug="syntax-error"}': "1x60",
        'hotplug_plugin_info{instance="a",plugin="dead",version="",digest="",state="failed"}': "1x60",
        'hotplug_refused{instance="a",plugin="old",slug="import-error"}': "1x60",
        'hotplug_plugin_info{instance="a",plugin="old",version="1",digest="x",state="degraded"}': "1x60",
        'hotplug_plugin_behind_seconds{instance="a",plugin="paused"}': "700x60",
        'hotplug_plugin_info{instance="a",plugin="paused",version="1",digest="x",state="paused"}': "1x60",
        'hotplug_plugin_behind_seconds{instance="a",plugin="late"}': "700x60",
        'hotplug_plugin_info{instance="a",plugin="late",version="1",digest="x",state="serving"}': "1x60",
        'hotplug_watcher_up{instance="a"}': "0x60",
        'hotplug_calls_total{instance="a",plugin="late",result="error"}': "0+10x60",
        'hotplug_calls_total{instance="a",plugin="late",result="ok"}': "0+90x60",
        'hotplug_calls_total{instance="a",plugin="old",result="error"}': "0+1x60",
        'hotplug_calls_total{instance="a",plugin="old",result="ok"}': "0+99x60",
    }
    wanted: dict[str, list[dict[str, str]]] = {
        "HotplugPluginFailed": [{"plugin": "dead", "slug": "syntax-error"}],
        "HotplugPluginRefused": [{"plugin": "old", "slug": "import-error"}],
        "HotplugPluginBehind": [{"plugin": "late"}],
        "HotplugCallsFail": [{"plugin": "late"}],
        "HotplugWatcherDown": [{}],
        "HotplugCallHangs": [],
    }
    expressions = [
        {
            "expr": f'ALERTS{{alertname="{alert}",alertstate="firing"}}',
            "eval_time": "30m",
            "exp_samples": [{"labels": _alert(alert, labels), "value": 1} for labels in found],
        }
        for alert, found in wanted.items()
    ]
    played = {"interval": "1m", "input_series": [{"series": s, "values": v} for s, v in series.items()]}
    told = {
        "rule_files": ["rules.yml"],
        "evaluation_interval": "1m",
        "tests": [{**played, "promql_expr_test": expressions}],
    }
    (tmp_path / "test.yml").write_text(json.dumps(told))  # which is YAML as well
    done = subprocess.run(
        ["promtool", "test", "rules", "test.yml"], cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _alert(name: str, labels: dict[str, str]) -> str:
    severity = "page" if name in ("HotplugPluginFailed", "HotplugCallsFail") else "ticket"
    all_labels = {"alertname": name, "alertstate": "firing", "instance": "a", "severity": severity, **labels}
    return "ALERTS{{{}}}".format(",".join(f'{key}="{value}"' for key, value in sorted(all_labels.items())))
