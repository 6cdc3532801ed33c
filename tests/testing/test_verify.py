"""`pytest --hotplug-verify`: promises about reloads as test items, beside ordinary tests."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

LEAKS = "import threading\n\n\ndef run():\n    threading.Thread(target=threading.Event().wait, daemon=True).start()\n"
CHECKS = 36


def write_plugin(root: Path, name: str, source: str, verify: Any = None) -> Path:
    place = root / "plugins" / name
    place.mkdir(parents=True)
    (place / "main.py").write_text(source)
    (place / "plugin.json").write_text(json.dumps({"name": name, "hotplug": {"verify": verify or {}}}))
    (place / f"test_{name}.py").write_text("def test_it():\n    pass\n")
    return place


def run_pytest(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments],
        cwd=root, capture_output=True, text=True, timeout=120, check=False, env={**os.environ, "COLUMNS": "200"},
    )  # fmt: skip


def test_every_plugin_gets_an_item_for_each_promise_beside_its_tests(tmp_path: Path) -> None:
    """A clean plugin passes all of them; without the option there are only tests."""
    write_plugin(tmp_path, "clean", "def run():\n    return 1\n", {"probe": {"expect": 1}})
    done = run_pytest(tmp_path, "--hotplug-verify")
    assert done.returncode == 0, done.stdout
    assert f"{CHECKS} passed, 1 skipped" in done.stdout  # no registry of a host is named
    assert "1 passed" in run_pytest(tmp_path).stdout
    alone = run_pytest(tmp_path, "--hotplug-verify", "-m", "hotplug_verify", "--collect-only")
    assert f"{CHECKS}/{CHECKS + 1} tests collected (1 deselected)" in alone.stdout


def test_what_a_reload_leaves_behind_is_told_with_its_line_and_what_to_do(tmp_path: Path) -> None:
    """And fails that promise alone."""
    write_plugin(tmp_path, "leaks", LEAKS, {"probe": {}})
    done = run_pytest(tmp_path, "--hotplug-verify", "--hotplug-level=fast")
    assert done.returncode == 1
    assert "main.py:5: thread that runs Event.wait: 1 more with each reload, 7 left after unload" in done.stdout
    assert "Start it with context.thread()" in done.stdout
    # Two checks of memory, one of ends that hang and three of calls take longer, and one ordinary test passes.
    assert f"1 failed, {CHECKS - 7} passed, 1 skipped" in done.stdout


def test_what_nobody_asks_for_is_not_played(tmp_path: Path) -> None:
    """Neither what `-k` leaves out nor what the level does: it would only take its time."""
    noted = "def on_load(context):\n    with open({!r}, 'a') as file:\n        file.write('.')\n"
    source = f"def run():\n    return 1\n\n\n{noted.format(str(tmp_path / 'loads'))}"
    write_plugin(tmp_path, "clean", source, {"probe": {"expect": 1}})

    def loads(*arguments: str) -> int:
        assert run_pytest(tmp_path, "--hotplug-verify", *arguments).returncode == 0
        count = len((tmp_path / "loads").read_text())
        (tmp_path / "loads").unlink()
        return count

    assert 0 < loads("-k", "bad_manifest_kept") < loads("-k", "bad_manifest_kept or change_is_seen")
    ends = ("-k", "bad_manifest_kept or teardown_failure_contained")
    assert loads(*ends, "--hotplug-level=fast") < loads(*ends)


@pytest.mark.parametrize(
    ("source", "verify", "said"),
    [
        ("import os\nos._exit(3)\n", {}, "it ended the process that verified it (exit code 3)"),
        ("import os\nos._exit(0)\n", {}, "it ended the process that verified it (exit code 0)"),
        ("while True:\n    pass\n", {"timeout": 1}, "it did not come to its end within 1 s"),
        ("def run(:\n", {}, "main.py:1"),
        (
            "def run():\n    return 1\n",
            {"probe": {"expect": 2}},
            "its probe failed: AssertionError: {}: 1 instead of 2",
        ),
        ("def run():\n    return 1\n", {"probe": "tests/none.py:run"}, "'tests/none.py:run' names no function"),
        ("def run():\n    return 1\n", {"allow": {"no_leaks": {}}}, "hotplug.verify: "),
        ("def run():\n    return 1\n", {"propbe": {}}, "unknown field `propbe`"),
    ],
    ids=["exits", "exits well", "hangs", "syntax", "wrong answer", "no probe", "allow", "misspelled"],
)
def test_a_plugin_that_cannot_be_verified_is_never_green(tmp_path: Path, source: str, verify: Any, said: str) -> None:
    """Whatever it does to the process, the run goes on and says why."""
    write_plugin(tmp_path, "bad", source, verify)
    write_plugin(tmp_path, "good", "def run():\n    return 1\n")
    done = run_pytest(tmp_path, "--hotplug-verify", "-k", "no_leaked_threads or environ_unchanged")
    assert done.returncode == 1
    assert said in done.stdout
    assert "2 failed, 2 passed" in done.stdout


def test_an_exception_is_reported_narrowed_and_ends(tmp_path: Path) -> None:
    """It covers what it names until its day; one that nothing needs fails."""
    place = write_plugin(tmp_path, "leaks", LEAKS)

    def outcome(**allowed: Any) -> str:
        verify = {"probe": {}, "allow": {"no_leaked_threads": {"reason": "known", "until": "2099-01-01", **allowed}}}
        (place / "plugin.json").write_text(json.dumps({"name": "leaks", "hotplug": {"verify": verify}}))
        return run_pytest(tmp_path, "--hotplug-verify", "-k", "no_leaked_threads", "-rx").stdout

    assert "1 xfailed" in outcome()
    assert "1 xfailed" in outcome(match="Event.wait", max=1)
    assert "more than its exception covers (known)" in outcome(match="poll")
    assert "more than its exception covers (known)" in outcome(max=0)
    assert "its exception (known) ended on 2020-01-01" in outcome(until="2020-01-01")
    (place / "main.py").write_text("def run():\n    pass\n")
    assert "take the exception (known) out of plugin.json" in outcome()


def test_workers_share_no_plugin(tmp_path: Path) -> None:
    """-n: a plugin's scenario is played in one of them."""
    for name in ("one", "two"):
        write_plugin(tmp_path, name, "def run():\n    return 1\n", {"probe": {}})
    level = ("--hotplug-verify", "--hotplug-level=fast")
    done = run_pytest(tmp_path, "-p", "xdist", *level, "-n", "2", "--dist", "loadgroup")
    assert f"{2 * (CHECKS - 6)} passed, 2 skipped" in done.stdout


def test_findings_are_properties_of_the_junit_report(tmp_path: Path) -> None:
    """Other tools read them there."""
    write_plugin(tmp_path, "leaks", LEAKS, {"probe": {}})
    run_pytest(
        tmp_path, "--hotplug-verify", "-k", "no_leaked_threads", "--junitxml=junit.xml", "-o", "junit_family=xunit1"
    )
    report = (tmp_path / "junit.xml").read_text()
    assert 'name="hotplug.check" value="no_leaked_threads"' in report
    assert 'name="hotplug.growth" value="1.0"' in report


def test_without_plugins_it_says_so(tmp_path: Path) -> None:
    """A gate is never green without having proved something."""
    done = run_pytest(tmp_path, "--hotplug-verify")
    assert done.returncode == 4
    assert "[no-plugins]" in done.stderr


def test_every_check_stands_on_its_page() -> None:
    """With what it proves, how, what a failure looks like, and what to do."""
    from pytest_hotplug.safety.checks import ALL
    from tests.safety.page import PAGE, section_of

    sections = PAGE.read_text(encoding="utf-8").split("\n### ")[1:]
    known = {section.partition("`\n")[0].lstrip("`"): f"### {section}".strip() for section in sections}
    assert sorted(known) == sorted(check.id for check in ALL)
    for check in ALL:
        shown = known[check.id].partition("```text\n")[2].partition("\n```")[0]
        assert shown, check.id
        assert not re.search(r"(^|[\s'\"(])/\w[^\s/]*/", shown), "a place on the machine of whoever wrote it"
        assert known[check.id] == section_of(check, shown).strip()
    assert (
        len([check for check in ALL if check.scenario != "upgrade"]) == CHECKS
    )  # those of upgrades are none where nobody says what is deployed


def test_a_measured_run_proves_the_same(tmp_path: Path) -> None:
    """--cov: the children are not measured, since what measures them would hold old versions."""
    pytest.importorskip("pytest_cov", reason="pytest_cov isn't installed")
    write_plugin(tmp_path, "clean", "def run():\n    return 1\n", {"probe": {"expect": 1}})
    done = run_pytest(tmp_path, "-p", "pytest_cov", "--cov=plugins", "--hotplug-verify", "--hotplug-level=fast")
    assert done.returncode == 0, done.stdout
    assert "failed" not in done.stdout
