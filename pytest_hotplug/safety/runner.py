"""Verify plugins: play each scenario with each plugin in a child process of its own, and judge what it wrote.

The plugin's own directory is never touched: the child gets copies. Nothing of a child is left when it
ends, whatever the plugin did there.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import msgspec

from pytest_hotplug.reloader.child_process import last_line, run_child
from pytest_hotplug.reloader.errors import visible
from pytest_hotplug.reloader.preflight import written
from pytest_hotplug.reloader.settings import Layout, Settings
from pytest_hotplug.safety.added import add_own_checks, own_path
from pytest_hotplug.safety.bounds import Bounds
from pytest_hotplug.safety.check import Check, Level, Scenario
from pytest_hotplug.safety.checks import ALL
from pytest_hotplug.safety.copying import copy_plugins
from pytest_hotplug.safety.deployed import Deployed
from pytest_hotplug.safety.evidence import Attempts, Cycle, Memory
from pytest_hotplug.safety.judging import Evidence, judge
from pytest_hotplug.safety.offspring import end_strays
from pytest_hotplug.safety.order import Order

__all__ = ["TIMEOUT", "Subjects", "chosen", "play"]

_KINDS: Mapping[Scenario, type[Evidence]] = {"cycle": Cycle, "memory": Memory}  # of the others: attempts
_RELOADS: Mapping[Scenario, int] = {"cycle": 5, "memory": 12}
_WARM_UPS: Mapping[Scenario, int] = {"memory": 5}
# Caches that fill, and the heap's own books, look like a leak for a while; a leak stays one.
_LONG_RELOADS, _LONG_WARM_UPS = 24, 60
Tell = Callable[[str], None]
TIMEOUT = 120.0  # seconds that a scenario may take, unless the plugin says otherwise
_RETIRES_WITHIN = 1.0  # seconds that an old version's threads get
_LAST_WORDS = 4096
_CHILD = (
    "import json, sys; told = json.loads(sys.stdin.readline()); sys.path[:] = told['path']; "
    "from pytest_hotplug.safety.child import main; main(told['order'])"
)
# Variables that would change what happens in the child, or make it measure itself.
_NOT_HANDED_ON = ("PYTEST_", "HOTPLUG_", "COV_", "COVERAGE_", "PYTHONHASHSEED", "PYTHONDEVMODE")


@dataclass(frozen=True, slots=True)
class Subjects:
    """The plugins to verify: the project's settings, where it lies and how its plugins are laid out.

    `deployed` says which versions they are upgraded from, None when nobody asks; `probe` how they are used
    whatever their manifests say.
    """

    settings: Settings
    root: Path
    layouts: tuple[Layout, ...]
    deployed: Deployed | None = None
    probe: Any = None


def chosen(subjects: Subjects, level: Level) -> tuple[Check, ...]:
    """Return the checks of a level, the fast ones or all, the project's own among them.

    Those of upgrades only where it is known what is deployed. Raises UsageError `[bad-check]`.
    """
    add_own_checks(subjects.settings, subjects.root)
    asked = [check for check in ALL if subjects.deployed is not None or check.scenario != "upgrade"]
    return tuple(check for check in asked if level == "full" or check.level == "fast")


def play(
    subjects: Subjects,
    plugin: str,
    scenario: Scenario,
    timeout: float = TIMEOUT,
    tell: Tell = lambda step: None,
    checks: Iterable[Check] | None = None,
) -> Evidence:
    """Play a scenario with a plugin in a child process and return what it saw; `failed` says why it saw nothing.

    Of `checks`, those of the scenario are played; None: each that there is. `tell` is called every now and then
    with the step that is taken. Memory that grows is counted once more, for longer, in another child.
    """
    asked = tuple(check for check in (ALL if checks is None else checks) if check.scenario == scenario)
    order = _order(subjects, plugin, scenario, asked)
    evidence = _play(subjects, order, timeout, tell)
    if scenario == "memory" and any(judge(check, evidence).outcome == "failed" for check in asked):
        for_longer = msgspec.structs.replace(order, reloads=_LONG_RELOADS, warm_ups=_LONG_WARM_UPS)
        return _play(subjects, for_longer, timeout, tell)
    return evidence


def _play(subjects: Subjects, order: Order, timeout: float, tell: Tell) -> Evidence:
    with tempfile.TemporaryDirectory(prefix="hotplug-verify-") as directory:
        of_copies = _of_copies(order, subjects, Path(directory))
        evidence = _evidence(of_copies, Path(directory), timeout, tell)
        return _naming_the_real(evidence, of_copies.layouts, order.layouts)


def _naming_the_real(evidence: Evidence, copies: Iterable[Layout], real: Iterable[Layout]) -> Evidence:
    """Return what a child saw with the paths of the plugins themselves instead of their copies'."""
    told = msgspec.json.encode(evidence).decode()
    for copy, layout in zip(copies, real, strict=True):
        for path in (copy.path.resolve(), copy.path):
            told = told.replace(_in_json(path), _in_json(layout.path))
    return msgspec.json.decode(told, type=type(evidence))


def _in_json(path: Path) -> str:
    return msgspec.json.encode(str(path)).decode()[1:-1]


def _order(subjects: Subjects, plugin: str, scenario: Scenario, checks: Iterable[Check]) -> Order:
    return Order(
        scenario=scenario,
        plugin=plugin,
        checks=tuple(check.id for check in checks),
        probe=subjects.probe,
        settings=msgspec.structs.replace(
            subjects.settings,
            host=subjects.settings.verify_host or subjects.settings.host,
            debounce=0.0,
            # Calls that go on meanwhile are what is looked at in one scenario, and would disturb the others.
            on_change="first-waits" if scenario == "calls" else "all-wait",
            preflight="off",
            commit=scenario == "upgrade" and subjects.settings.commit,  # elsewhere single files are edited
            keep_versions=1,
            retire_timeout=_RETIRES_WITHIN,
            strict_permissions="off",
        ),
        root=str(subjects.root),
        layouts=subjects.layouts,
        reloads=_RELOADS.get(scenario, 0),
        warm_ups=_WARM_UPS.get(scenario, 0),
    )


def _of_copies(order: Order, subjects: Subjects, directory: Path) -> Order:
    """Return the order for copies in a directory, of the plugins and, in an upgrade, of what is deployed."""
    order = msgspec.structs.replace(order, layouts=tuple(_copied(order.layouts, directory)))
    if order.scenario != "upgrade":
        return order
    deployed = subjects.deployed
    assert deployed is not None, "who plays upgrades knows from where"
    deployed.lay_down(subjects.layouts, directory / "deployed")
    return msgspec.structs.replace(order, deployed=str(directory / "deployed"), ref=deployed.ref)


def _copied(layouts: Iterable[Layout], directory: Path) -> Iterator[Layout]:
    for number, layout in enumerate(layouts):
        place = directory / f"{number}" / layout.path.name
        copy_plugins(layout.path, place)
        yield replace(layout, path=place, beside=layout.beside or layout.path)


def _evidence(order: Order, directory: Path, timeout: float, tell: Tell) -> Evidence:
    for name in ("tmp", "cwd"):
        (directory / name).mkdir()
    told = {"path": _path(order), "order": json.loads(written(order))}

    def is_over() -> bool:
        if step := _step_in(answers):
            tell(step)
        return bounds.are_crossed()

    with tempfile.TemporaryFile() as answers, tempfile.TemporaryFile() as errors:
        bounds = Bounds(timeout, directory, errors)
        code = run_child(
            "hotplug-verify",
            _CHILD,
            json.dumps(told).encode() + b"\n",
            answers,
            errors,
            is_over,
            options=("-P", "-s", "-B"),
            directory=directory / "cwd",
            environment=_environment(directory / "tmp"),
        )
        end_strays("TMPDIR", str(directory / "tmp"))
        kind = _KINDS.get(order.scenario, Attempts)
        try:
            return msgspec.json.decode(last_line(answers), type=kind)
        except msgspec.DecodeError:  # whatever its exit code: a plugin may have left with a good one
            return kind(failed=_why(code, last_line(errors, _LAST_WORDS), bounds.beyond, _step_in(answers)))


def _step_in(answers: IO[bytes]) -> str:
    """Return the step that the child said last, "" when the last that it said is none.

    Read beside it: where the child writes next must not move.
    """
    size = os.fstat(answers.fileno()).st_size
    lines = os.pread(answers.fileno(), _LAST_WORDS, max(0, size - _LAST_WORDS)).splitlines()
    return str(json.loads(lines[-1])) if lines and lines[-1].startswith(b'"') and lines[-1].endswith(b'"') else ""


def _why(code: int | None, said: str, beyond: str, at: str) -> str:
    during = f" (during {at})" if at else ""
    if code is None:
        return f"{beyond}{during}; the process that verified it was ended"
    how = f"exit code {code}" if code >= 0 else _name_of(-code)
    return f"it ended the process that verified it ({how}){during}: {visible(said) or 'it said nothing'}"


def _name_of(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal has none
        return f"signal {number}"


def _path(order: Order) -> Sequence[str]:
    """Return the child's `sys.path`: ours, and what the project adds for its workers."""
    return [*own_path(order.settings, Path(order.root)), *filter(None, sys.path)]


def _environment(temporary: Path) -> dict[str, str]:
    kept: dict[str, Any] = {k: v for k, v in os.environ.items() if not k.startswith(_NOT_HANDED_ON)}
    return {**kept, "PYTHONHASHSEED": "0", "TMPDIR": str(temporary)}
