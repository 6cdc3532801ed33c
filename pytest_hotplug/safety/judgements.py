"""Judge plugins check by check: each scenario is played once with each plugin, when a check first needs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date

from pytest_hotplug.reloader.discovery import Found
from pytest_hotplug.reloader.refs import was_before
from pytest_hotplug.safety.check import Check, Scenario
from pytest_hotplug.safety.declared import BadDeclaration, Declared, declared_by, excepted, is_disabled
from pytest_hotplug.safety.evidence import Attempts
from pytest_hotplug.safety.judging import Evidence, Judged, judge
from pytest_hotplug.safety.report.record import Verified
from pytest_hotplug.safety.report.recording import checked, relative, series_of
from pytest_hotplug.safety.runner import Subjects, Tell, play
from pytest_hotplug.safety.upgrade import is_new

__all__ = ["Judgements"]

NO_PROBE = "the plugin is only loaded, never used: name arguments and an answer in hotplug.verify.probe of its manifest"


class Judgements:
    """The plugins of a project, and what has been seen of them. One thread.

    `checks` are those that are asked: of a scenario, only they are played. `strict`: nothing that was proved
    without using the plugin, or not proved for lack of a tool, passes.
    """

    def __init__(
        self, subjects: Subjects, plugins: Mapping[str, Found], checks: Sequence[Check], *, strict: bool = False
    ) -> None:
        self.checks = checks  # what is taken out of them before the first is judged is not played
        self._subjects = subjects
        self._plugins = plugins
        self._strict = strict
        self._evidence: dict[tuple[str, Scenario], Evidence] = {}

    def verified(self, plugin: str, check: Check, tell: Tell = lambda step: None) -> Verified:
        """Judge one check of a plugin and return what a report says of it; `tell` hears of the steps meanwhile."""
        judged = self._judged(plugin, check, tell)
        found, root = self._plugins[plugin], self._subjects.root
        declared = self.declared(plugin)
        evidence = self._evidence.get((plugin, check.scenario))
        today = date.today()
        return Verified(
            name=plugin,
            manifest=relative(found.path / found.layout.manifest[0], root),
            has_probe=self._has_probe(declared) or is_disabled(found),
            exceptions=sum(allowed.until >= today for allowed in declared.allow.values()),
            checks=(checked(judged, found, root),),
            series=series_of(evidence) if evidence is not None else (),
            timeline=tuple(evidence.timeline) if isinstance(evidence, Attempts) else (),
        )

    def declared(self, plugin: str) -> Declared:
        """Return what the plugin's manifest declares; nothing, where that makes no sense."""
        try:
            return declared_by(self._plugins[plugin])
        except BadDeclaration:  # each of its checks says so
            return Declared()

    def _judged(self, plugin: str, check: Check, tell: Tell) -> Judged:
        found = self._plugins[plugin]
        if is_disabled(found):
            return Judged(check, "skipped", reason="the plugin's manifest disables it")
        try:
            declared = declared_by(found)
        except BadDeclaration as error:
            return Judged(check, "error", reason=str(error))
        key = (plugin, check.scenario)
        if key not in self._evidence:
            self._evidence[key] = play(self._subjects, plugin, check.scenario, declared.timeout, tell, self.checks)
        judged = judge(check, self._evidence[key])
        judged = excepted(judged, declared.allow.get(check.id), date.today(), found.path / found.layout.manifest[0])
        if self._strict and self._is_missing(judged, found):
            assert self._subjects.deployed is not None, "there is a revision that it is missing at"
            reason = f"{self._subjects.deployed.ref} does not have it, and it was there before: name what is deployed"
            return replace(judged, outcome="failed", reason=reason)
        return _strictly(judged, self._has_probe(declared)) if self._strict else judged

    def _is_missing(self, judged: Judged, found: Found) -> bool:
        """Tell whether a plugin that is not in what is deployed had been there: somebody looks in the wrong place."""
        deployed = self._subjects.deployed
        if deployed is None or deployed.directory is not None or judged.reason != is_new(deployed.ref):
            return False
        return was_before(deployed.ref, found.path)

    def _has_probe(self, declared: Declared) -> bool:
        return declared.probe is not None or self._subjects.probe is not None


def _strictly(judged: Judged, has_probe: bool) -> Judged:
    """Return a judgement in which nothing counts as proved that isn't."""
    if judged.outcome == "skipped" and judged.lacks_tool:
        return replace(judged, outcome="failed", reason=f"it could not be tried here: {judged.reason}")
    if judged.outcome in ("passed", "note") and not has_probe:
        return replace(judged, outcome="failed", reason=NO_PROBE)
    return judged
