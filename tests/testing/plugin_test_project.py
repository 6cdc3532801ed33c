"""Projects on disk whose plugins tell on whoever executes them, and pytest runs in them.

`Project` writes and runs them. The rest of the file is what runs inside: a pytest plugin that stands
where the product's own stands (it registers the collector, serves plugin code from its public names
and writes down what it saw), and a driver that forks one pytest after the other from a process that
has imported pytest already.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from pytest_hotplug.reloader.names import is_test
from pytest_hotplug.testing.collection import CollectsPluginTests, PluginRoot

MODULE = "tests.testing.plugin_test_project"
REPOSITORY = Path(__file__).parents[2]
TELL = "import os\nopen(os.path.join(os.environ['STAGE'], 'ran', {name!r}), 'w').close()\n"


@dataclass(frozen=True)
class Run:
    """What one pytest saw, and what it printed."""

    saw: Mapping[str, Any]
    out: str

    @property
    def ids(self) -> list[str]:
        return sorted(self.saw["ids"])

    @property
    def passed(self) -> list[str]:
        return sorted(test.rpartition("::")[2] for test, said in self.saw["outcomes"].items() if said == "passed")

    @property
    def failures(self) -> dict[str, str]:
        return {test: said for test, said in self.saw["outcomes"].items() if said != "passed"}


@dataclass(frozen=True)
class Call:
    """One way of calling pytest: its arguments, the directory it is called in, code that runs before.

    With `product` the real pytest plugin is there, and the real finder, and the stage only looks on.
    """

    args: Sequence[str] = ()
    cwd: str = "."
    before: str = ""
    product: bool = False


@dataclass(frozen=True)
class Project:
    """A project with a plugin dir `plugins`; `package` is the prefix of its plugins' public names."""

    path: Path
    package: str = "plugins"
    _calls: list[Path] = field(default_factory=list)

    def write(self, files: Mapping[str, str]) -> None:
        for name, text in files.items():
            file = self.path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(dedent(text))

    def add_plugin(self, name: str, tests: Mapping[str, str], *, is_package: bool = False, main: str = "") -> None:
        """Write a plugin whose modules leave a file behind when they run; NAME in `tests` becomes its name."""
        code = {"main.py": dedent(main) or f"def run():\n    return {name!r}\n"}
        if is_package:
            code["__init__.py"] = ""
        self.write({f"plugins/{name}/{f}": TELL.format(name=f"{name}.{f}") + text for f, text in code.items()})
        self.write({f"plugins/{name}/{f}": dedent(text).replace("NAME", name) for f, text in tests.items()})

    def run(self, *args: str, cwd: str = ".", before: str = "") -> Run:
        return self.run_each([Call(args, cwd, before)])[0]

    def run_each(self, calls: Sequence[Call]) -> list[Run]:
        """Run pytest once for each of `calls`, in processes of their own."""
        stages = [self._stage() for _ in calls]
        told = [
            {"args": list(call.args), "cwd": str(self.path / call.cwd), "env": self._environment(stage, call)}
            for call, stage in zip(calls, stages, strict=True)
        ]
        environment = {n: v for n, v in os.environ.items() if not n.startswith("PYTEST_")}
        environment["PYTHONPATH"] = str(REPOSITORY)
        environment.pop("PYTHONDONTWRITEBYTECODE", None)  # or each run would rewrite all asserts again
        command = [sys.executable, "-P", "-m", MODULE, json.dumps(told)]
        subprocess.run(command, cwd=self.path, env=environment, check=True, timeout=120)
        return [_read(stage) for stage in stages]

    def _stage(self) -> Path:
        stage = self.path.parent / f"stage{len(self._calls)}"
        (stage / "ran").mkdir(parents=True)
        self._calls.append(stage)
        return stage

    def _environment(self, stage: Path, call: Call) -> dict[str, str]:
        return {
            "STAGE": str(stage),
            "STAGE_PLUGINS": str(self.path / "plugins"),
            "STAGE_PACKAGE": self.package,
            "STAGE_BEFORE": call.before,
            "STAGE_PRODUCT": "yes" if call.product else "",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        }


def _read(stage: Path) -> Run:
    out, saw = (stage / "out.txt").read_text(), stage / "saw.json"
    assert saw.exists(), out
    return Run(json.loads(saw.read_text()), out)


# -- inside the processes -------------------------------------------------------------------------


class PublicNames:
    """Serves plugin code from its public names, as the reloader's finder does; tests are not its own."""

    def __init__(self, plugins: Path, package: str) -> None:
        self.plugins = plugins
        self.top = package.split(".") if package else []

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        parts = name.split(".")
        top, inside = parts[: len(self.top)], parts[len(self.top) :]
        if top != self.top[: len(top)] or any(is_test(p) or is_test(f"{p}.py") for p in inside):
            return None
        place = self.plugins.joinpath(*inside)
        if place.with_suffix(".py").is_file():
            return spec_from_file_location(name, place.with_suffix(".py"))
        if not place.is_dir():
            return None
        if (place / "__init__.py").is_file():
            return spec_from_file_location(name, place / "__init__.py", submodule_search_locations=[str(place)])
        spec = ModuleSpec(name, None, is_package=True)
        spec.submodule_search_locations = [str(place)]
        return spec


class Observer:
    """Writes down what a run collected, executed and left behind."""

    def __init__(self, stage: Path) -> None:
        self.stage = stage
        self.path = list(sys.path)
        self.saw: dict[str, Any] = {"ids": [], "names": [], "outcomes": {}, "ran_by_collection": None}

    def ran(self) -> list[str]:
        return sorted(os.listdir(self.stage / "ran"))

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.saw["ids"] = [item.nodeid for item in session.items]
        self.saw["names"] = [getattr(getattr(item, "module", None), "__name__", "") for item in session.items]
        self.saw["ran_by_collection"] = self.ran()

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.saw["outcomes"][report.nodeid] = report.longreprtext

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.failed:
            self.saw["outcomes"][report.nodeid] = report.outcome if report.passed else report.longreprtext

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        added = [entry for entry in sys.path if entry not in self.path]
        self.saw.update(exit=int(exitstatus), ran=self.ran(), added_to_path=added)
        (self.stage / "saw.json").write_text(json.dumps(self.saw))


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Stand where the product's pytest plugin stands."""
    plugins, package = Path(os.environ["STAGE_PLUGINS"]), os.environ["STAGE_PACKAGE"]
    exec(os.environ["STAGE_BEFORE"], {})
    if os.environ["STAGE_PRODUCT"]:
        return
    sys.meta_path.insert(0, PublicNames(plugins, package))
    early_config.pluginmanager.register(CollectsPluginTests([PluginRoot(plugins, package)]))


def pytest_configure(config: pytest.Config) -> None:
    """Watch the run, but not a worker's part of it."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Observer(Path(os.environ["STAGE"])))


def _drive(calls: Sequence[Mapping[str, Any]]) -> None:
    for call in calls:
        if hasattr(os, "fork"):
            if os.fork() == 0:
                os._exit(_call(call))
            os.wait()
        else:
            subprocess.run([sys.executable, "-P", "-m", MODULE, json.dumps([call])], check=False)


def _call(call: Mapping[str, Any]) -> int:
    os.environ.update(call["env"])
    os.chdir(call["cwd"])
    out = os.open(Path(os.environ["STAGE"], "out.txt"), os.O_WRONLY | os.O_CREAT)
    os.dup2(out, 1)
    os.dup2(out, 2)
    product = ["-p", "pytest_hotplug.testing.pytest_plugin"] if os.environ["STAGE_PRODUCT"] else []
    code = pytest.main(["-p", MODULE, *product, "-p", "no:cacheprovider", *call["args"]])
    sys.stdout.flush()
    return int(code)


if __name__ == "__main__":
    import _pytest.doctest
    import _pytest.terminal  # noqa: F401  # what every fork would import

    _drive(json.loads(sys.argv[1]))
