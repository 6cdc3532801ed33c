"""What `pytest --hotplug-verify` leaves behind: reports, a line, annotations; and what it fails when it is strict."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from tests.testing.test_verify import run_pytest, write_plugin

CLEAN = "def run():\n    return 1\n"
LEAVES = "import os\n\n\ndef run():\n    os.environ['LEFT'] = '1'\n"
ONE = ("-k", "no_leaked_threads")


@pytest.fixture(autouse=True)
def not_on_github(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("GITHUB_")]:
        monkeypatch.delenv(name)


def test_workers_hand_over_what_the_reports_tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """-n: all of it arrives, each form is written although checks fail, and a job of GitHub's is told."""
    write_plugin(tmp_path, "leaves", LEAVES, {"probe": {}})
    write_plugin(tmp_path, "clean", CLEAN)
    excepted = {"environ_unchanged": {"reason": "so be it", "until": "2099-01-01"}}
    write_plugin(tmp_path, "known", LEAVES, {"probe": {}, "allow": excepted})
    (tmp_path / "summary").write_text("")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary"))
    reports = [f"--hotplug-report=out/deep/report{suffix}" for suffix in (".json", ".html", ".md", ".sarif")]
    two = ("-k", "no_leaked_threads or environ_unchanged")
    done = run_pytest(tmp_path, "-p", "xdist", "-n", "2", "--hotplug-verify", *two, *reports)

    assert done.returncode == 1
    assert "hotplug: 3 plugins: 1 failed, 4 passed, 1 xfailed, 1 without probe, 1 exception in force" in done.stdout
    plugins = json.loads((tmp_path / "out/deep/report.json").read_text())["plugins"]
    outcomes = {p["name"]: {check["id"]: check["outcome"] for check in p["checks"]} for p in plugins}
    assert outcomes == {
        "clean": {"no_leaked_threads": "passed", "environ_unchanged": "passed"},
        "known": {"no_leaked_threads": "passed", "environ_unchanged": "xfailed"},
        "leaves": {"no_leaked_threads": "passed", "environ_unchanged": "failed"},
    }
    (finding,) = plugins[2]["checks"][1]["findings"]
    assert (finding["path"], finding["line"]) == ("plugins/leaves/main.py", 5)
    assert "1 of 3 plugins is not safe to hot-reload" in (tmp_path / "out/deep/report.html").read_text()
    (result,) = json.loads((tmp_path / "out/deep/report.sarif").read_text())["runs"][0]["results"]
    assert result["ruleId"] == "hotplug/environ-unchanged"
    assert (tmp_path / "summary").read_text() == (tmp_path / "out/deep/report.md").read_text()
    (annotation,) = [line for line in done.stdout.splitlines() if line.startswith("::")]
    assert annotation.startswith("::error file=plugins/leaves/main.py,line=5,title=leaves%3A environ_unchanged::")
    assert "LEFT" in annotation


def test_a_report_may_stand_in_the_settings(tmp_path: Path) -> None:
    """ini: a file a line, for every run that verifies; one that doesn't leaves it as it is. Markers choose plugins."""
    write_plugin(tmp_path, "clean", CLEAN, {"probe": {"expect": 1}, "markers": ["nightly"]})
    write_plugin(tmp_path, "other", CLEAN)
    off = write_plugin(tmp_path, "off", CLEAN)
    manifest = {"name": "off", "enabled": False, "hotplug": {"verify": {"markers": ["nightly"]}}}
    (off / "plugin.json").write_text(json.dumps(manifest))
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\naddopts = --strict-markers\nmarkers =\n    nightly: takes long\n"
        "hotplug_report =\n    one.json\n    two.md\n"
    )
    assert run_pytest(tmp_path).returncode == 0
    assert not (tmp_path / "one.json").exists()
    done = run_pytest(tmp_path, "--hotplug-verify", *ONE, "-m", "nightly", "-rs")
    assert "1 passed, 1 skipped" in done.stdout
    assert "the plugin's manifest disables it" in done.stdout
    assert "hotplug: 2 plugins: 1 passed, 1 skipped, 0 exceptions in force" in done.stdout
    assert (tmp_path / "two.md").exists()
    plugins = json.loads((tmp_path / "one.json").read_text())["plugins"]
    assert [plugin["name"] for plugin in plugins] == ["clean", "off"]


def test_strict_fails_what_was_not_proved(tmp_path: Path) -> None:
    """A plugin that nobody uses proves little: its checks say what to write."""
    write_plugin(tmp_path, "clean", CLEAN)
    done = run_pytest(tmp_path, "--hotplug-verify", "-o", "hotplug_strict=true", *ONE)
    assert done.returncode == 1
    assert "name arguments and an answer in hotplug.verify.probe of its manifest" in done.stdout
    assert "hotplug: 1 plugin: 1 failed, 1 without probe" in done.stdout


def test_a_report_that_nobody_could_read_stops_the_run_before_it_begins(tmp_path: Path) -> None:
    """An unknown suffix, or a run that verifies nothing."""
    write_plugin(tmp_path, "clean", CLEAN)
    unknown = run_pytest(tmp_path, "--hotplug-verify", "--hotplug-report=report.xml")
    assert (unknown.returncode, "[unknown-report]" in unknown.stderr) == (4, True)
    unasked = run_pytest(tmp_path, "--hotplug-report=report.json")
    assert (unasked.returncode, "[no-report]" in unasked.stderr) == (4, True)


def test_a_report_that_cannot_be_written_is_no_green_run(tmp_path: Path) -> None:
    """The run says which and why, and fails."""
    place = write_plugin(tmp_path, "off", CLEAN)
    (place / "plugin.json").write_text('{"name": "off", "enabled": false}')
    (tmp_path / "out").write_text("a file")
    done = run_pytest(tmp_path, "--hotplug-verify", *ONE, "--hotplug-report=out/report.json")
    assert done.returncode == 1
    assert "[cannot-write]" in done.stdout
    assert "1 skipped" in done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="a pseudo-terminal needs POSIX")
def test_a_terminal_shows_the_step_and_forgets_it(tmp_path: Path) -> None:
    """While a scenario is played one sees where it is; afterwards the line is as if nothing had stood there."""
    import pexpect

    # Each load takes as long as people need to see that it does.
    write_plugin(tmp_path, "clean", f"import time\n\ntime.sleep(0.3)\n\n\n{CLEAN}")
    command = ["-m", "pytest", "-p", "no:cacheprovider", "--hotplug-verify", *ONE]
    child = pexpect.spawn(
        sys.executable, command, cwd=str(tmp_path), env={**os.environ, "TERM": "xterm-256color"},
        encoding="utf-8", timeout=60, dimensions=(40, 100),
    )  # fmt: skip
    child.expect(r"\x1b7\x1b\[K clean, cycle: reload \d of 5\x1b8")
    child.expect_exact("\x1b7\x1b[K\x1b8")
    child.expect_exact("1 passed")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
