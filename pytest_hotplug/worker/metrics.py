"""What a worker serves, as Prometheus reads it: versions, reloads, refusals and calls.

A scrape executes nothing of a plugin. It looks at the plugins' files as a call's check does, and reads
bytes only where they changed since the last look. A plugin that is gone takes its series with it.
"""

from __future__ import annotations

import itertools
import threading
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from pytest_hotplug.reloader.errors import ParameterError, PluginDisabled, PluginLoadError, UnknownPlugin, UsageError
from pytest_hotplug.reloader.garbage import collect_retired
from pytest_hotplug.reloader.info import state_of
from pytest_hotplug.reloader.pauses import lift

if TYPE_CHECKING:
    from pytest_hotplug.reloader.events import Event
    from pytest_hotplug.reloader.manager import PluginManager
    from pytest_hotplug.reloader.registry import Slot

__all__ = ["BUCKETS", "CONTENT_TYPE", "Call", "Metrics", "labelled"]

CONTENT_TYPE = CONTENT_TYPE_LATEST
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)  # seconds
OUTCOMES = ("reloaded", "refused", "rolled-back", "unloaded")
RESULTS = ("ok", "error", "refused")
_BEFORE_THE_ENTRY = (UnknownPlugin, PluginDisabled, PluginLoadError, ParameterError, UsageError)
_NO_REFUSAL = frozenset({"breaker", "state-lost"})  # errors that are said while everything serves on

Result = Literal["ok", "error", "refused"]


@dataclass(slots=True)
class Call:
    """A call that is counted; whoever knows better what became of it sets `result`."""

    plugin: str
    since: float  # time.monotonic()
    result: Result | None = None


class _Durations:
    """How many reloads of a plugin took how long."""

    def __init__(self) -> None:
        self._counts = [0] * (len(BUCKETS) + 1)
        self._sum = 0.0

    def add(self, seconds: float) -> None:
        self._counts[bisect_left(BUCKETS, seconds)] += 1
        self._sum += seconds

    def so_far(self) -> tuple[list[tuple[str, float]], float]:
        """Return the cumulative buckets and the sum."""
        names = [*map(str, BUCKETS), "+Inf"]
        return list(zip(names, map(float, itertools.accumulate(self._counts)), strict=True)), self._sum


class Metrics:
    """The metrics of one manager, in a registry of their own."""

    content_type = CONTENT_TYPE

    def __init__(self, manager: PluginManager) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Scrape(self))
        self._manager = manager
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()  # guards all that follows
        self._running: dict[int, Call] = {}
        self._calls: Counter[tuple[str, str]] = Counter()  # by plugin and result
        self._reloads: Counter[tuple[str, str]] = Counter()  # by plugin and outcome
        self._durations: dict[str, _Durations] = {}
        self._behind: dict[str, float] = {}  # by plugin: since when (time.monotonic()) the disk is known to differ
        self.close = manager.subscribe(self._heard)  # hear of no more events

    def render(self) -> bytes:
        """Return everything in the text format of Prometheus; its type is `CONTENT_TYPE`."""
        return generate_latest(self._registry)

    @contextmanager
    def call(self, plugin: str) -> Iterator[Call]:
        """Count one call, whatever it ends with, which passes unchanged; until then its age counts.

        `ok` when the block ends, `refused` when an error of ours says that the entry was not called, else `error`.
        Calls of a plugin that nobody knows are not counted: who asks must not make up series.
        """
        number, call = next(self._numbers), Call(plugin, time.monotonic())
        try:
            with self._lock:
                self._running[number] = call
            yield call
        except BaseException as error:
            call.result = call.result or ("refused" if isinstance(error, _BEFORE_THE_ENTRY) else "error")
            raise
        finally:
            with self._lock:
                self._running.pop(number, None)
                if plugin in self._manager._registry.slots:
                    self._calls[plugin, call.result or "ok"] += 1

    # -- events ---------------------------------------------------------------------------------

    def _heard(self, event: Event) -> None:
        with self._lock:
            if event.kind == "loaded":
                self._loaded(event)
            elif event.kind == "unloaded":
                self._reloads[event.plugin, "unloaded"] += 1
                self._behind.pop(event.plugin, None)
            elif event.kind == "error" and event.error is not None and event.error.slug not in _NO_REFUSAL:
                self._reloads[event.plugin, "refused"] += 1
                self._behind.setdefault(event.plugin, time.monotonic())

    def _loaded(self, event: Event) -> None:
        self._behind.pop(event.plugin, None)
        if event.generation is None or event.generation == 1:
            return  # its first version: no reload
        slot = self._manager._registry.slots.get(event.plugin)
        pinned = slot is not None and slot.pin is not None and slot.pin.digest == event.digest
        self._reloads[event.plugin, "rolled-back" if pinned else "reloaded"] += 1
        if event.seconds is not None:
            self._durations.setdefault(event.plugin, _Durations()).add(event.seconds)

    # -- a scrape -------------------------------------------------------------------------------

    def _families(self) -> Iterator[Metric]:
        registry = self._manager._registry
        lift(registry)
        slots = sorted(registry.slots.items())
        behind = {name: self._is_behind(slot) for name, slot in slots}  # first: it may clear a refusal
        with self._lock:
            self._forget_all_but(behind)
            now = time.monotonic()
            ages = {name: self._behind_for(name, differs, now) for name, differs in behind.items()}
            oldest = dict.fromkeys(behind, 0.0)
            for call in self._running.values():
                if call.plugin in oldest:
                    oldest[call.plugin] = max(oldest[call.plugin], now - call.since)
            calls, reloads = dict(self._calls), dict(self._reloads)
            durations = {name: self._durations.get(name, _Durations()).so_far() for name in behind}
        leases = self._manager._leases
        yield self._info(slots)
        yield _gauge("hotplug_plugin_behind_seconds", "Since when the disk is known to differ from what serves.", ages)
        yield _counter("hotplug_reloads", "Reloads by what became of them.", "outcome", OUTCOMES, behind, reloads)
        yield _refused(slots)
        collect_retired()
        alive = {name: slot.alive() for name, slot in slots}
        yield _gauge("hotplug_generations_alive", "Versions whose code is still in memory.", alive)
        flight = {name: leases.calls_of(name) for name, _ in slots}
        yield _gauge("hotplug_calls_in_flight", "Running calls, on whatever version.", flight)
        yield _gauge("hotplug_oldest_call_seconds", "Age of the oldest call that a client waits for.", oldest)
        yield _counter("hotplug_calls", "Calls by what became of them.", "result", RESULTS, behind, calls)
        yield _histogram("hotplug_reload_seconds", "Time from the request for a reload to its swap.", durations)
        yield from self._watcher()

    def _info(self, slots: list[tuple[str, Slot]]) -> Metric:
        registry = self._manager._registry
        family = GaugeMetricFamily(
            "hotplug_plugin_info", "What serves of a plugin.", labels=("plugin", "version", "digest", "state")
        )
        for name, slot in slots:
            serving = registry.serving.get(name)
            version, digest = (serving.version, serving.digest) if serving is not None else ("", "")
            family.add_metric((name, _encodable(version), digest, state_of(slot, registry)), 1)
        return family

    def _watcher(self) -> Iterator[Metric]:
        running = self._manager._watched.running
        up = GaugeMetricFamily("hotplug_watcher_up", "Whether the watch runs.")
        up.add_metric((), float(running is not None and running.alive))
        missed = CounterMetricFamily("hotplug_missed_by_events", "Edits that a look found and no event had told.")
        missed.add_metric((), float(running.missed_by_events if running is not None else 0))
        yield from (up, missed)

    def _is_behind(self, slot: Slot) -> bool:
        """Tell whether other bytes lie on disk than those that serve, or were rolled back from."""
        if slot.name not in self._manager._registry.serving:
            return slot.refusal is not None
        checker = self._manager._hot_loader.checker
        seen = checker.look_again(slot)
        return seen is None or not checker.is_served(slot, seen.digest)

    def _behind_for(self, name: str, differs: bool, now: float) -> float:
        if differs:
            return now - self._behind.setdefault(name, now)
        self._behind.pop(name, None)
        return 0.0

    def _forget_all_but(self, names: Mapping[str, object]) -> None:
        """Drop what was counted of plugins that are gone; the caller holds the lock."""
        for counts in (self._calls, self._reloads):
            for key in [key for key in counts if key[0] not in names]:
                del counts[key]
        for known in (self._durations, self._behind):
            for name in known.keys() - names.keys():
                del known[name]


class _Scrape(Collector):
    """Hands the families of one `Metrics` to its registry."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def describe(self) -> list[Metric]:
        """Say nothing in advance: a registration is no scrape."""
        return []

    def collect(self) -> Iterator[Metric]:
        return self._metrics._families()


def labelled(texts: Mapping[str, str]) -> str:
    """Return the metrics of several workers as one text, told apart by the label `worker`."""
    families: dict[str, Metric] = {}
    for worker, text in texts.items():
        for family in text_string_to_metric_families(text):
            together = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            for sample in family.samples:
                together.add_sample(sample.name, {"worker": worker, **sample.labels}, sample.value)

    class Together(Collector):
        def collect(self) -> Iterator[Metric]:
            return iter(families.values())

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Together())
    return generate_latest(registry).decode()


def _gauge(name: str, text: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=("plugin",))
    for plugin, value in values.items():
        family.add_metric((plugin,), value)
    return family


def _counter(
    name: str,
    text: str,
    label: str,
    each: tuple[str, ...],
    plugins: Mapping[str, object],
    counts: Mapping[tuple[str, str], int],
) -> Metric:
    """Return a counter with every value of `label` from the first scrape on: a rate needs the nought before."""
    family = CounterMetricFamily(name, text, labels=("plugin", label))
    for plugin, value in itertools.product(plugins, each):
        family.add_metric((plugin, value), counts.get((plugin, value), 0))
    return family


def _refused(slots: list[tuple[str, Slot]]) -> Metric:
    text = "1 while the newest bytes of a plugin are refused."
    family = GaugeMetricFamily("hotplug_refused", text, labels=("plugin", "slug"))
    for name, slot in slots:
        if (refusal := slot.refusal) is not None:
            family.add_metric((name, refusal.fault.slug), 1)
    return family


def _histogram(name: str, text: str, durations: Mapping[str, tuple[list[tuple[str, float]], float]]) -> Metric:
    family = HistogramMetricFamily(name, text, labels=("plugin",))
    for plugin, (buckets, total) in durations.items():
        family.add_metric((plugin,), buckets, total)
    return family


def _encodable(text: str) -> str:
    """Return a text of a manifest as UTF-8 can hold it."""
    return text.encode("utf-8", "backslashreplace").decode()
