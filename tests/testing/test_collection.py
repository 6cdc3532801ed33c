"""Tests of plugins are collected without their plugins, and find them, however pytest is called."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_hotplug.testing.collection import PluginRoot, public_name
from tests.testing.plugin_test_project import Call, Project

MODES = ("prepend", "append", "importlib")

CONFTEST = """
    import pytest

    @pytest.fixture
    def NAME_fixture():
        return "NAME"

    @pytest.fixture
    def whose():
        return "NAME"
"""

TESTS = """
    import pickle
    import sys
    from unittest import mock

    import pytest


    class Box:
        pass


    def test_relative():
        from DOTSmain import run
        assert run() == "NAME"


    def test_public():
        from plugins.NAME.main import run
        assert run() == "NAME"


    def test_flat():
        import main
        from main import run
        assert run() == "NAME"
        assert main is sys.modules["plugins.NAME.main"]
        assert "main" not in sys.modules


    def test_conftest_is_ours(whose, NAME_fixture):
        from FLATconftest import whose as by_flat_name
        from .conftest import whose as by_relative_name
        assert whose == "NAME"
        assert by_flat_name is by_relative_name is sys.modules[f"{__package__}.conftest"].whose


    def test_pickles():
        assert type(pickle.loads(pickle.dumps(Box()))) is Box


    def test_is_patched_by_name():
        with mock.patch(f"{__name__}.Box", 1):
            assert Box == 1


    def test_sees_patched_builtins():
        with mock.patch("builtins.open", mock.mock_open(read_data="x")):
            assert open("nowhere").read() == "x"


    def test_asserts_are_rewritten():
        one = 1
        with pytest.raises(AssertionError, match="assert 1 == 2"):
            assert one == 2
"""
NAMES = sorted(line.split("(")[0].split()[1] for line in TESTS.splitlines() if "def test_" in line)
BESIDE = TESTS.replace("DOTS", ".").replace("FLAT", "")
BELOW = TESTS.replace("DOTS", "..").replace("FLAT", "")
PACKED = TESTS.replace("DOTS", "..").replace("FLAT", "tests.")  # beside a tests/__init__.py nothing is flat

PLUGINS = {  # every shape twice, so that each basename is there in two plugins
    "beside": {"test_main.py": BESIDE, "conftest.py": CONFTEST},
    "beside_too": {"test_main.py": BESIDE, "conftest.py": CONFTEST},
    "below": {"tests/test_main.py": BELOW, "tests/conftest.py": CONFTEST},
    "below_too": {"tests/test_main.py": BELOW, "tests/conftest.py": CONFTEST, "conftest.py": "X = 1"},
    "packed": {"tests/__init__.py": "", "tests/test_main.py": PACKED, "tests/conftest.py": CONFTEST},
    "packed_too": {"tests/__init__.py": "", "tests/test_main.py": PACKED, "tests/conftest.py": CONFTEST},
}


def _file(plugin: str) -> str:
    return f"plugins/{plugin}/" + next(name for name in PLUGINS[plugin] if name.endswith("test_main.py"))


def _ids(*plugins: str, files: dict[str, str] | None = None) -> list[str]:
    return sorted(f"{_file(plugin)}::{name}" for plugin in plugins for name in NAMES)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project with plugins that are plain directories."""
    return _project(tmp_path, packages=False)


def _project(tmp_path: Path, packages: bool) -> Project:
    project = Project(tmp_path / "project")
    project.write({"pytest.ini": "[pytest]"})
    for name, tests in PLUGINS.items():
        project.add_plugin(name, tests, is_package=packages)
    return project


def _calls(mode: str) -> dict[Call, list[str]]:
    how = f"--import-mode={mode}"
    dotted = _file("packed").removesuffix(".py").replace("/", ".")
    calls = {
        Call((how,)): _ids(*PLUGINS),
        Call((how, "plugins")): _ids(*PLUGINS),
        Call((how, "plugins/packed", "plugins/below_too")): _ids("packed", "below_too"),
        Call((how, _file("packed"), _file("packed_too"))): _ids("packed", "packed_too"),
        Call((how, _file("beside"))): _ids("beside"),
        Call((how, f"{_file('below')}::test_flat")): [f"{_file('below')}::test_flat"],
        Call((how,), cwd="plugins"): _ids(*PLUGINS),
        Call((how,), cwd="plugins/packed"): _ids("packed"),
        Call((how, "."), cwd="plugins/packed/tests"): _ids("packed"),
        Call((how, "--rootdir=plugins", "-c", "pytest.ini")): [i.removeprefix("plugins/") for i in _ids(*PLUGINS)],
        Call((how, "--pyargs", dotted)): _ids("packed"),
        Call((how, "--pyargs", "plugins.below", "plugins.beside.test_main::test_flat")): sorted(
            [*_ids("below"), f"{_file('beside')}::test_flat"]
        ),
    }
    return {Call(("--collect-only", *call.args), call.cwd): ids for call, ids in calls.items()}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("packages", [False, True], ids=["directories", "packages"])
def test_collecting_executes_no_plugin_however_pytest_is_called(tmp_path: Path, mode: str, packages: bool) -> None:
    """Collecting my plugins' tests never runs plugin code, in any import mode, whatever I pass to pytest."""
    project = _project(tmp_path, packages)
    calls = _calls(mode)
    for call, run in zip(calls, project.run_each(list(calls)), strict=True):
        assert run.failures == {}, call
        assert run.ids == calls[call], call
        assert run.saw["ran"] == [], call
        assert run.saw["added_to_path"] == [], call


@pytest.mark.parametrize("packages", [False, True], ids=["directories", "packages"])
def test_tests_reach_their_own_plugin_in_every_mode(tmp_path: Path, packages: bool) -> None:
    """My tests import their plugin relatively, by its full name or flat, and each plugin gets its own."""
    project = _project(tmp_path, packages)
    for mode, run in zip(MODES, project.run_each([Call((f"--import-mode={m}",)) for m in MODES]), strict=True):
        assert run.failures == {}, mode
        assert run.ids == _ids(*PLUGINS), mode
        assert run.saw["ran_by_collection"] == [], mode
        assert run.saw["added_to_path"] == [], mode
        assert set(run.saw["names"]) == {_file(p).removesuffix(".py").replace("/", ".") for p in PLUGINS}
