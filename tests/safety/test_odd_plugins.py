"""Plugins that do what few do: clean ones pass all the same, others are told by what they do."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest

from pytest_hotplug.reloader.discovery import find_plugins
from pytest_hotplug.safety.check import Check, Scenario
from pytest_hotplug.safety.checks import ALL
from pytest_hotplug.safety.declared import BadDeclaration, declared_by
from pytest_hotplug.safety.evidence import Thing
from pytest_hotplug.safety.judging import Judged, judge
from pytest_hotplug.safety.leftovers import leftovers
from pytest_hotplug.safety.runner import Subjects, play
from tests.safety.corpus import subjects_in

RUN = "def run():\n    return 1\n"
MEMO = (
    "X = None\n\n\ndef load():\n    return 1\n\n\n"
    "def run():\n    global X\n    if X is None:\n        X = load()\n    return X\n"
)
SLOW = (
    "import os, time\n\n\ndef run():\n    if os.path.exists(__file__):\n        with open(__file__) as file:\n"
    "            if 'version' ' fails' in file.read():\n                time.sleep(1.1)\n    return 1\n"
)
UNNAMED = (
    "class Kind(type):\n    @property\n    def __module__(cls):\n        raise RuntimeError('no module')\n\n\n"
    "class Odd(dict, metaclass=Kind):\n    pass\n\n\n"
)
ORPHAN = (
    "import os\n\n\ndef run():\n    if os.fork() == 0:\n        os.setsid()\n        if os.fork() == 0:\n"
    "            os.execvp('sleep', ['sleep', '600'])\n        os._exit(0)\n    os.wait()\n    return 1\n"
)


@pytest.fixture
def subjects(tmp_path: Path) -> Subjects:
    return subjects_in(tmp_path)


def write(place: Path, source: str, probe: Any = None, **manifest: Any) -> None:
    place.mkdir(parents=True)
    (place / "main.py").write_text(source, encoding="utf-8", errors="surrogatepass")
    verify = {"verify": {"probe": {"expect": 1} if probe is None else probe}}
    (place / "plugin.json").write_text(json.dumps({"name": place.name, "hotplug": verify, **manifest}))


def outcomes(subjects: Subjects, scenario: Scenario) -> Mapping[str, Judged]:
    seen = play(subjects, "odd", scenario)
    return {check.id: judge(check, seen) for check in ALL if check.scenario == scenario}


def wrong(judged: Mapping[str, Judged]) -> list[Judged]:
    return [one for one in judged.values() if one.outcome in ("failed", "error")]


@pytest.mark.parametrize(
    ("scenario", "source", "manifest"),
    [
        ("edits", RUN, {"handover": "stop-first"}),
        ("edits", SLOW, {}),
        ("calls", MEMO, {}),
        ("calls", "import functools\n\n\n@functools.lru_cache\ndef run():\n    return 1\n", {}),
        ("cycle", UNNAMED + RUN, {}),
    ],
    ids=["stop-first", "slow while a version is broken", "a first time", "a cache", "a class that says no module"],
)
def test_what_is_no_fault_is_not_told_as_one(
    subjects: Subjects, tmp_path: Path, scenario: Scenario, source: str, manifest: dict[str, Any]
) -> None:
    """A check that does not apply is skipped, and says why."""
    write(tmp_path / "plugins" / "odd", source, **manifest)
    assert wrong(outcomes(subjects, scenario)) == []


def test_a_plugin_that_breaks_its_own_use_is_told_by_how_it_fails(subjects: Subjects, tmp_path: Path) -> None:
    """Each check says so, those after the one that met it first as well."""
    closes = "import io, sys\n\n\ndef run():\n    sys.stdout = io.TextIOWrapper(sys.stdout.buffer)\n    return 1\n"
    write(tmp_path / "plugins" / "odd", closes)
    found = outcomes(subjects, "edits")
    assert {one.outcome for one in found.values()} == {"error"}
    assert all("I/O operation on closed file" in one.reason for one in found.values())


@pytest.mark.parametrize("answer", ["(1, 2)", "[1, 2]", "{1, 2}", "(n for n in (1, 2))"])
def test_what_json_cannot_say_is_expected_as_a_list(subjects: Subjects, tmp_path: Path, answer: str) -> None:
    """A tuple, a set, and what a generator yields."""
    write(tmp_path / "plugins" / "odd", f"def run():\n    return {answer}\n", {"expect": [1, 2]})
    assert play(subjects, "odd", "memory").failed == ""


def test_a_plugin_that_is_a_link_is_verified_where_it_leads(subjects: Subjects, tmp_path: Path) -> None:
    """A relative link, as people make them."""
    write(tmp_path / "elsewhere" / "odd", RUN)
    (tmp_path / "plugins" / "odd").symlink_to(Path("..", "elsewhere", "odd"))
    assert play(subjects, "odd", "memory").failed == ""


@pytest.mark.parametrize("target", ["{root}/lib.py", "../../lib.py"], ids=["absolute", "relative"])
def test_a_link_that_leads_outside_is_refused_as_in_production(subjects: Subjects, tmp_path: Path, target: str) -> None:
    """A copy must not make a good plugin of it."""
    (tmp_path / "lib.py").write_text("A = 1\n")
    write(tmp_path / "plugins" / "odd", RUN)
    (tmp_path / "plugins" / "odd" / "lib.py").symlink_to(target.format(root=tmp_path))
    assert "[escaping-link]" in play(subjects, "odd", "memory").failed


def test_what_is_neither_file_nor_directory_is_no_part_of_a_plugin(subjects: Subjects, tmp_path: Path) -> None:
    """A named pipe that somebody left there, or a link that leads to its own directory."""
    write(tmp_path / "plugins" / "odd", RUN)
    os.mkfifo(tmp_path / "plugins" / "odd" / "pipe")
    (tmp_path / "plugins" / "odd" / "again").symlink_to(".")
    assert play(subjects, "odd", "memory").failed == ""


@pytest.mark.parametrize(
    ("source", "probe", "said"),
    [
        (RUN, [], "an empty list calls nothing"),
        (RUN, "probe.py:generator", "is a generator, of which nothing is executed"),
        (RUN, "probe.py:idle", "calls nothing of the plugin"),
        (RUN, "../plugins/odd/probe.py:idle", "names no function of a file"),
        (RUN, "broken.py:run", "broken.py can't be executed: SystemExit: 3"),
        ("raise ValueError('bad \udcff name')\n", None, "bad \\udcff name"),
        ("import os\n\n\ndef run():\n    os.kill(os.getpid(), 40)\n", None, "(signal 40)"),
    ],
    ids=["empty", "generator", "idle", "outside", "exits", "half a character", "a nameless signal"],
)
def test_what_proves_nothing_says_so(subjects: Subjects, tmp_path: Path, source: str, probe: Any, said: str) -> None:
    """And is never green."""
    place = tmp_path / "plugins" / "odd"
    write(place, source.replace("\udcff", "\\udcff"), probe)
    (place / "probe.py").write_text("def generator(plugin, host):\n    yield\n\n\ndef idle(plugin, host):\n    pass\n")
    (place / "broken.py").write_text("raise SystemExit(3)\n")
    failed = play(subjects, "odd", "memory").failed
    assert said in failed


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_process_whose_parent_is_gone_is_found_and_ended(subjects: Subjects, tmp_path: Path) -> None:
    """Also in a session of its own: nothing of a child is left."""
    write(tmp_path / "plugins" / "odd", ORPHAN)
    before = {process.pid for process in psutil.process_iter()}
    assert outcomes(subjects, "cycle")["no_leaked_processes"].outcome == "failed"
    new = [process for process in psutil.process_iter(["cmdline"]) if process.pid not in before]
    assert [process for process in new if process.info["cmdline"] == ["sleep", "600"]] == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_plugin_that_forks_is_played_once(subjects: Subjects, tmp_path: Path) -> None:
    """Both sides come back from its call, and only one plays on: there are not twice as many with each call."""
    calls = tmp_path / "calls"
    calls.write_text("")
    source = f"import os\n\n\ndef run():\n    os.fork()\n    with open({str(calls)!r}, 'a') as file:\n"
    write(tmp_path / "plugins" / "odd", source + "        file.write('called ')\n    return 1\n")
    assert play(subjects, "odd", "cycle", timeout=60.0).failed == ""
    assert len(calls.read_text().split()) == 2 * 7  # one life of one use, one of six, and both sides of each


@pytest.mark.parametrize("marker", ["xfail", "skip", "parametrize", "not a name"])
def test_markers_change_no_verdict(subjects: Subjects, tmp_path: Path, marker: str) -> None:
    """An exception has a reason and an end; a marker has neither."""
    write(tmp_path / "plugins" / "odd", RUN, hotplug={"verify": {"markers": [marker]}})
    with pytest.raises(BadDeclaration, match=marker):
        declared_by(find_plugins(subjects.layouts, ())["odd"])


def test_a_check_that_fails_itself_takes_no_other_along(subjects: Subjects, tmp_path: Path) -> None:
    """It says what it raised, and where."""
    (tmp_path / "own.py").write_text(
        "from pytest_hotplug.safety.check import Check\nfrom pytest_hotplug.safety.leftovers import leftovers\n\n\n"
        "def take(subject):\n    raise KeyError('mine')\n\n\n"
        "OWN = Check(id='own', title='', how='', remedy='', take=take, judge=leftovers)\n"
    )
    write(tmp_path / "plugins" / "odd", RUN)
    import msgspec

    settings = msgspec.structs.replace(subjects.settings, verify_checks=("own:OWN",))
    own = Check(id="own", title="", how="", remedy="", take=lambda subject: dict[str, Thing](), judge=leftovers)
    seen = play(Subjects(settings, subjects.root, subjects.layouts), "odd", "cycle", checks=[*ALL, own])
    assert judge(own, seen).reason.startswith("the check itself failed: KeyError: 'mine' (")
    assert [one for one in (judge(c, seen) for c in ALL if c.scenario == "cycle") if one.outcome == "failed"] == []
