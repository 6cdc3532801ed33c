"""`hotplug demo`: v1.0 -> edit -> v2.0 -> broken -> restored, on a temporary copy, with the real parts.

A manager serves the demo plugin as a worker does, `pytest --hotplug-watch` reruns the affected
tests beside it, and this module edits the file as an author would.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from pytest_hotplug.cli.observing import Observer
from pytest_hotplug.cli.output import json_line, json_option
from pytest_hotplug.cli.scaffolding import making
from pytest_hotplug.reloader.errors import UsageError

__all__ = ["demo"]

PLUGIN = "hot_reload_demo"
PROJECT = """\
[tool.hotplug]
plugin_dirs = ["example_plugins"]

[tool.pytest.ini_options]
testpaths = ["example_plugins"]
"""
TO_2_0 = (
    ('VERSION = "1.0"', 'VERSION = "2.0"'),
    (
        'f"[v{VERSION}] {message} #{number}"',
        'f"{datetime.now(UTC):%H:%M:%S} [v{VERSION}] {message} #{number}"',
    ),
    (
        '"processing_time": time.perf_counter() - started,',
        '"processing_time": time.perf_counter() - started,\n            "update_note": "served without a restart",',
    ),
)


@dataclass(frozen=True)
class Step:
    """One step of the story: what is done to the file, and what must be seen then."""

    title: str
    change: Callable[[str], str]
    version: str
    tests_pass: bool
    refused: bool = False


def _to_2_0(text: str) -> str:
    for old, new in TO_2_0:
        assert old in text, f"the demo plugin no longer holds {old!r}"
        text = text.replace(old, new)
    return text


STORY = (
    Step("edit main.py to 2.0", _to_2_0, "2.0", tests_pass=True),
    Step(
        "break main.py", lambda text: text.replace("started = time", "started == = time"), "2.0",
        tests_pass=False, refused=True,
    ),
    Step("restore main.py", lambda text: text.replace("started == = time", "started = time"), "2.0", tests_pass=True),
)  # fmt: skip


@click.command()
@click.option("--keep", type=click.Path(file_okay=False), help="Work on a copy in DIR and leave it there.")
@json_option
def demo(keep: str | None, as_json: bool) -> int:
    """Show the whole story on a temporary copy: 1.0, an edit, 2.0, a broken version refused, recovery.

    \b
    Examples:
      hotplug demo
      hotplug demo --keep /tmp/hotplug-demo
    """
    tell: Callable[[dict[str, Any], str], None] = _as_json if as_json else _as_text
    with _copy(keep) as project:
        good = _play(project, tell)
    verdict = "every step went as promised" if good else "a step did not go as promised"
    tell(
        {"event": "done", "ok": good},
        f"\n{verdict}; nothing was restarted, the worker's process never ended.",
    )
    return 0 if good else 1


def _play(project: Path, tell: Callable[[dict[str, Any], str], None]) -> bool:
    """Play the story and return whether everything was as it must be."""
    from pytest_hotplug.default import PluginManager

    main = project / "example_plugins" / PLUGIN / "main.py"
    good = True
    with (
        PluginManager(root=project, plugin_dirs=["example_plugins"], on_change="all-wait") as manager,
        Observer(project) as observer,
    ):
        _execute(manager, tell, "execute")
        tell({"event": "tests-begin"}, "  running all tests of the examples once ...")
        good &= _verdict(observer.next_verdict(), tell, tests_pass=True)
        for step in STORY:
            tell({"event": "edit", "title": step.title}, f"\n{step.title}")
            _save(main, step.change(main.read_text("utf-8")))
            version = _execute(manager, tell, "execute again, same process")
            info = manager.get_plugin_hot_info(PLUGIN)
            _status(info, tell)
            verdict = observer.next_verdict()
            good &= version == step.version and (info["state"] == "degraded") == step.refused
            good &= _verdict(verdict, tell, tests_pass=step.tests_pass)
    return good


def _execute(manager: Any, tell: Callable[[dict[str, Any], str], None], title: str) -> str:
    answer = manager.execute(PLUGIN, message="hello", count=1)
    result = answer["result"]
    text = f"  {title}: version {answer['version']}, {result['generated_messages'][0]!r}"
    if "update_note" in result:
        text += f", note: {result['update_note']}"
    tell({"event": "executed", "version": answer["version"], "result": result}, text)
    return str(answer["version"])


def _status(info: dict[str, Any], tell: Callable[[dict[str, Any], str], None]) -> None:
    text = f"  status: {info['state']}, generation {info['generation']} serves"
    if info["error"]:
        text += f"; refused: {info['error']}"
    tell({"event": "status", **info}, text)


def _verdict(verdict: dict[str, Any], tell: Callable[[dict[str, Any], str], None], *, tests_pass: bool) -> bool:
    passed, failed = verdict["passed"], verdict["failed"] + verdict["errors"]
    left_out = verdict["left_out"]
    text = f"  affected tests: {passed} passed, {failed} failed, {left_out} not affected"
    tell({"event": "tests", "passed": passed, "failed": failed, "left_out": left_out}, text)
    return bool((failed == 0) == tests_pass)


def _save(path: Path, text: str) -> None:
    """Save as editors do: write beside, then rename."""
    beside = path.with_name(f".{path.name}.new")
    beside.write_text(text, "utf-8")
    beside.replace(path)


@contextmanager
def _copy(keep: str | None) -> Iterator[Path]:
    """Give a project with copies of the examples; removed afterwards unless the user wants to keep it."""
    temporary = None if keep else Path(tempfile.mkdtemp(prefix="hotplug-demo-"))
    project = Path(keep) if keep else temporary
    assert project is not None, "either the user named a directory or we made one"
    if keep and project.exists() and any(project.iterdir()):
        raise UsageError(f"{keep} is not empty; name a new directory", "already-exists")
    try:
        with making(project):
            _fill(project)
        yield project
    finally:
        if temporary is not None:
            shutil.rmtree(temporary)


def _fill(project: Path) -> None:
    project.mkdir(parents=True, exist_ok=True)
    ignore = shutil.ignore_patterns("__pycache__", "*.pyc")
    shutil.copytree(examples(), project / "example_plugins", ignore=ignore)
    (project / "pyproject.toml").write_text(PROJECT, "utf-8")


def examples() -> Path:
    """Return the directory of the example plugins: in the wheel beside this file, else in the checkout."""
    packaged = Path(__file__).parent / "_examples"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "example_plugins"


def _as_json(facts: dict[str, Any], text: str) -> None:
    click.echo(json_line(facts))


def _as_text(facts: dict[str, Any], text: str) -> None:
    click.echo(text)
