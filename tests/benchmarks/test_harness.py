"""A benchmark's figures can be believed: rounds are interleaved, wrong answers are shown."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks import page
from benchmarks.harness import Claim, Contestant, measure, run, table

PROJECT = Path(__file__).resolve().parents[2]


def right(number: int, result: object) -> str:
    return "" if result == number else f"returned {result!r} instead of {number}"


def pair(order: list[str] | None = None) -> Claim:
    """Return a claim of a prompt contestant, one that takes 2 ms, and one that is fast and wrong."""
    seen = [] if order is None else order

    def slow(number: int) -> int:
        time.sleep(0.002)
        return number

    return Claim(
        "counting",
        "prompt",
        [
            Contestant("prompt", lambda number: number, right, lambda _: seen.append("prompt"), repeats=10),
            Contestant("slow", slow, right, lambda _: seen.append("slow")),
            Contestant("wrong", lambda number: number // 2, right, lambda _: seen.append("wrong")),
        ],
    )


def test_the_baseline_is_one_and_the_slower_is_more() -> None:
    """A ratio tells how many times as long as the baseline it took, in the same run."""
    prompt, slow, _ = measure(pair(), rounds=3)
    assert prompt.ratio == 1.0
    assert slow.ratio > 5
    assert slow.median_us >= 2000
    assert slow.best_us <= slow.median_us <= slow.p90_us


def test_a_wrong_result_is_shown_and_not_hidden() -> None:
    """Whoever is fast because he doesn't do the work is called wrong, with an example."""
    claim = pair()
    rows = measure(claim, rounds=3)
    assert [row.wrong for row in rows] == [0, 0, 2]
    console = Console(file=io.StringIO(), width=120)
    console.print(table(claim, rows))
    assert isinstance(console.file, io.StringIO)
    assert "WRONG in 2 of 3: returned 0 instead of 1" in console.file.getvalue()


def test_rounds_are_interleaved_and_start_with_another_contestant_each() -> None:
    """A busy moment of the machine hits all contestants alike."""
    order: list[str] = []
    measure(pair(order), rounds=3)
    assert order == [
        *("prompt", "slow", "wrong"),
        *("slow", "wrong", "prompt"),
        *("wrong", "prompt", "slow"),
    ]


def test_an_unknown_baseline_is_refused() -> None:
    """A ratio to nothing is no figure."""
    claim = pair()
    with pytest.raises(ValueError, match="none of"):
        measure(Claim(claim.title, "nobody", claim.contestants), rounds=1)


def test_the_result_is_kept_as_json(tmp_path: Path) -> None:
    """A stored result tells Python, platform and rounds, and every contestant's figures."""
    stored = tmp_path / "result.json"
    assert run("counting", lambda: [pair()], ["--rounds", "3", "--json", str(stored)]) == 0
    told = json.loads(stored.read_text())
    assert (told["script"], told["rounds"], told["schema_version"]) == ("counting", 3, 1)
    assert told["python"] == ".".join(map(str, sys.version_info[:3]))
    assert [row["name"] for row in told["claims"][0]["rows"]] == ["prompt", "slow", "wrong"]


def test_a_benchmark_allows_bytecode_by_itself() -> None:
    """A machine that forbids .pyc files doesn't make the peers slower than they are for users."""
    script = "from benchmarks.harness import allow_bytecode as a; a(); import sys; print(sys.dont_write_bytecode)"
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=PROJECT,
        env={"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == "False\n", done.stderr


def test_the_documentation_shows_the_stored_results_and_nothing_else() -> None:
    """`python -m benchmarks.page` has written the page; nobody types a figure there."""
    assert page.PAGE.read_text(encoding="utf-8") == page.page(), "run python -m benchmarks.page"


def test_the_page_of_the_benchmarks_names_scripts_that_exist() -> None:
    """Every command that benchmarks/README.md shows starts a script that is there."""
    text = (PROJECT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"-m benchmarks\.(\w+)", text))
    claims = {p.stem for p in (PROJECT / "benchmarks").glob("*_speed.py")}
    assert named >= claims
    assert all((PROJECT / "benchmarks" / f"{name}.py").exists() for name in named)
