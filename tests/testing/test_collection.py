"""Tests of plugins are collected without their plugins, and find them, however pytest is called."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

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


def _ids(*plugins: str) -> list[str]:
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


@pytest.mark.parametrize(
    ("mode", "packages"), [("prepend", False), ("prepend", True), ("append", True), ("importlib", True)]
)
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
    project.write({"hotplug.toml": ""})
    calls = [Call((f"--import-mode={mode}",), product=True) for mode in MODES]
    for call, run in zip(calls, project.run_each(calls), strict=True):
        assert run.failures == {}, call
        assert run.ids == _ids(*PLUGINS), call
        assert run.saw["ran_by_collection"] == [], call
        assert set(run.saw["names"]) == {_file(p).removesuffix(".py").replace("/", ".") for p in PLUGINS}
        assert set(run.saw["added_to_path"]) <= {str(project.path)}, call


def test_files_beside_the_tests_are_found_without_the_plugin(tmp_path: Path) -> None:
    """My tests import their own support files in any spelling, and that alone doesn't run the plugin."""
    project = Project(tmp_path / "project")
    project.write({"pytest.ini": "[pytest]"})
    lazily = "def greet():\n    from main import run\n    return run()\n"
    spellings = """
        from .support import greet as one
        from . import support, conftest
        import tests.support
        from tests import support as two
        from plugins.NAME.tests.support import greet as three
        from plugins.NAME.tests import support as four
        FLAT

        def test_support():
            assert support is tests.support is two is four
            assert support.__name__ == "plugins.NAME.tests.support"
            assert one is three is support.greet
            assert one() == "NAME"
            assert conftest.__name__ == "plugins.NAME.tests.conftest"

        def test_attributes():
            import plugins.NAME.tests.support as leaf
            import plugins.NAME.tests.support
            assert plugins.NAME.tests.support is leaf is support
            assert plugins.NAME.main.run() == "NAME"
    """
    flat = "from support import greet\nimport support as five\nassert greet is one and five is support"
    for name, init, more in (("flat", {}, flat), ("flat_too", {}, flat), ("packed", {"tests/__init__.py": ""}, "")):
        tests = {"tests/test_it.py": dedent(spellings).replace("FLAT", more), "tests/support.py": lazily}
        project.add_plugin(name, {**tests, "tests/conftest.py": "", **init}, is_package=True)
    for mode, run in zip(MODES, project.run_each([Call((f"--import-mode={m}",)) for m in MODES]), strict=True):
        assert run.failures == {}, mode
        assert len(run.passed) == 6
        assert run.saw["ran_by_collection"] == []


def test_a_module_that_imports_its_plugin_flat_at_the_top(project: Project) -> None:
    """Two plugins' test files may both start with `from main import run`, also on several workers."""
    top = "from main import run\n\ndef test_top():\n    assert run() == 'NAME'\n"
    for name in ("first", "second"):
        project.add_plugin(name, {"test_top.py": top})
    paths = ["plugins/first", "plugins/second"]
    plain, spread = project.run_each([Call(paths), Call(["-p", "xdist", "-n", "2", *paths])])
    assert plain.failures == spread.failures == {}
    assert plain.passed == spread.passed == ["test_top", "test_top"]
    assert spread.saw["ran"] == ["first.main.py", "second.main.py"]


def test_names_in_strings_mean_the_plugin_of_the_running_test(project: Project) -> None:
    """`mock.patch("main.run")` keeps working in each plugin's tests, and nothing stays behind."""
    strings = """
        import sys
        from importlib import import_module
        from unittest import mock

        @mock.patch("main.run", return_value="patched")
        def test_decorated(run):
            from plugins.NAME.main import run as public
            assert public() == "patched"

        def test_undotted(monkeypatch):
            assert "main" not in sys.modules
            assert import_module("main") is sys.modules["plugins.NAME.main"]
            monkeypatch.setattr("core.db.connect", lambda: "fake")
            from core.db import connect
            assert connect() == "fake"
            assert sys.modules["core.db"].__name__ == "plugins.NAME.core.db"
    """
    code = {"core/__init__.py": "", "core/db.py": "def connect(): return 'real'"}
    for name in ("first", "second"):
        project.add_plugin(name, {"test_strings.py": strings, **code})
    outside = "import sys\ndef test_nothing_left():\n    assert not {'main', 'core', 'core.db'} & set(sys.modules)\n"
    project.write({"zz/test_outside.py": outside})
    run = project.run("plugins/first", "plugins/second", "zz")
    assert run.failures == {}
    assert len(run.passed) == 5


def test_doctests_of_plugins_use_the_public_name(project: Project) -> None:
    """With `--doctest-modules` my plugin's modules are imported once, under the name all others use."""
    main = """
        def run():
            '''Say hello.

            >>> run.__module__
            'plugins.documented.main'
            >>> import sys; sys.modules[run.__module__].run is run
            True
            '''
            return "documented"
    """
    tests = {
        "test_it.py": "from main import run\ndef test_it():\n    assert run() == 'documented'\n",
        "conftest.py": "",
    }
    project.add_plugin("documented", tests, is_package=True, main=main)
    calls = [Call(("--doctest-modules", f"--import-mode={m}", "plugins/documented")) for m in MODES]
    for run in project.run_each(calls):
        assert run.failures == {}
        assert run.passed == ["plugins.documented.main.run", "test_it"]


def test_package_fixtures_last_for_their_directory(project: Project) -> None:
    """A fixture with `scope="package"` is set up once per plugin directory and ends before the next one's."""
    conftest = """
        import pytest
        LOG = []

        @pytest.fixture(scope="package", autouse=True)
        def whole_directory(pytestconfig):
            log = pytestconfig.__dict__.setdefault("log", [])
            log.append("begin NAME")
            yield log
            log.append("end NAME")
    """
    test = "def test_it(whole_directory):\n    whole_directory.append('test')\n"
    end = "def test_all(pytestconfig):\n    assert pytestconfig.log == ['begin one', 'test', 'test', 'end one', "
    end += "'begin two', 'test', 'test', 'end two']\n"
    for name in ("one", "two"):
        project.add_plugin(name, {"conftest.py": conftest, "test_a.py": test, "tests/test_b.py": test})
    project.write({"zz/test_end.py": end})
    run = project.run("plugins/one", "plugins/two", "zz")
    assert run.failures == {}
    assert len(run.passed) == 5


def test_a_test_package_is_set_up_and_its_plugin_is_not(project: Project) -> None:
    """`tests/__init__.py` is test code: it runs before its tests, with its `setup_module`, and alone."""
    init = "STATE = ['imported']\ndef setup_module():\n    STATE.append('set up')\n"
    test = "from . import STATE\nassert STATE == ['imported']\ndef test_it():\n    assert STATE[1:] == ['set up']\n"
    project.add_plugin("one", {"tests/__init__.py": init, "tests/test_it.py": test}, is_package=True)
    run = project.run("plugins/one")
    assert run.failures == {}
    assert run.saw["ran"] == []


def test_options_of_a_plugins_first_conftest_are_known(project: Project) -> None:
    """A conftest in the directory I name on the command line may add options, without its plugin running."""
    conftest = "def pytest_addoption(parser):\n    parser.addoption('--shout')\n"
    test = "def test_it(pytestconfig):\n    assert pytestconfig.getoption('shout') == 'loud'\n"
    project.add_plugin("one", {"conftest.py": conftest, "test_it.py": test}, is_package=True)
    run = project.run("plugins/one", "--shout=loud")
    assert run.failures == {}
    assert run.saw["ran"] == []


def test_the_projects_own_conftest_stays_importable(project: Project) -> None:
    """Tests outside the plugins that say `from conftest import x` get their own conftest, not a plugin's."""
    project.add_plugin("one", {"conftest.py": "WHOSE = 'one'", "test_it.py": "def test_in(): pass\n"})
    outside = "from conftest import WHOSE\nimport conftest\ndef test_out(pytestconfig):\n"
    outside += "    assert WHOSE == 'project'\n    assert conftest in pytestconfig.pluginmanager.get_plugins()\n"
    project.write({"conftest.py": "WHOSE = 'project'", "zz/test_out.py": outside})
    run = project.run("plugins/one", "zz")
    assert run.failures == {}
    assert run.passed == ["test_in", "test_out"]


def test_other_names_for_test_files_execute_no_plugin_either(project: Project) -> None:
    """With `python_files = check_*.py` those files are tests too: rewritten, and collected without the plugin."""
    check = "def test_it():\n    from .main import run\n    assert run() == 'NAME'\n"
    for name in ("one", "two"):
        project.add_plugin(name, {"check_it.py": check}, is_package=True)
    run = project.run("-o", "python_files=check_*.py", "plugins/one", "plugins/two")
    assert run.failures == {}
    assert run.passed == ["test_it", "test_it"]
    assert run.saw["names"] == ["plugins.one.check_it", "plugins.two.check_it"]
    assert run.saw["ran_by_collection"] == []


def test_plugins_may_be_top_level_packages(tmp_path: Path) -> None:
    """In a family that imports its plugins absolutely, a test is `greeter.tests.test_it`."""
    project = Project(tmp_path / "project", package="")
    test = "from greeter.main import run\nfrom ..main import run as same\ndef test_it():\n"
    test += "    assert run is same and run() == 'greeter' and __name__ == 'greeter.tests.test_it'\n"
    project.add_plugin("greeter", {"tests/test_it.py": test}, is_package=True)
    paths, names = project.run_each([Call(("plugins",)), Call(("--pyargs", "greeter.tests.test_it"))])
    assert paths.failures == names.failures == {}
    assert paths.passed == names.passed == ["test_it"]


def test_a_test_file_that_cannot_be_imported_is_told_as_ever(project: Project) -> None:
    """An import error in a plugin's test names the test's line, and shows nothing of ours."""
    project.add_plugin("one", {"test_it.py": "def f():\n    import nosuch\n\nf()\n", "test_two.py": "def :\n"})
    run = project.run("plugins/one")
    assert run.saw["exit"] == pytest.ExitCode.INTERRUPTED
    assert "ImportError while importing test module" in run.out
    assert "test_it.py:2: in f" in run.out
    assert "No module named 'nosuch'" in run.out
    assert "SyntaxError" in run.out
    assert "pytest_hotplug" not in run.out


def test_without_pytests_private_names_a_line_says_so(project: Project) -> None:
    """A pytest that changed inside does the part we can't in its own way, and the header names what is missing."""
    changed = "import {0} as owner\nplain = owner.{1}\nowner.{1} = lambda file, **options: plain(file, **options)"
    test = f"{_file('beside')}::test_public"
    imports, names = project.run_each(
        [
            Call((test,), before=changed.format("_pytest.python", "import_path")),
            Call((test,), before=changed.format("_pytest.main", "search_pypath")),
        ]
    )
    missing = "hotplug: this pytest has no"
    assert f"{missing} _pytest.python.import_path(path, ...); plugins may be executed to coll" in imports.out
    assert f"{missing} _pytest.main.search_pypath(module_name, ...); --pyargs may execute plugins" in names.out
    assert imports.passed == names.passed == ["test_public"]
    assert (imports.saw["names"], names.saw["names"]) == (["test_main"], ["plugins.beside.test_main"])


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("plugins/greeter/tests/test_x.py", "plugins.greeter.tests.test_x"),
        ("plugins/greeter/__init__.py", "plugins.greeter"),
        ("plugins/greeter/tests/__init__.py", "plugins.greeter.tests"),
        ("plugins/greeter", "plugins.greeter"),
        ("plugins/greeter/test.v2.py", "plugins.greeter.test_v2"),
        ("link/greeter/test_x.py", "plugins.greeter.test_x"),
        ("plugins/notes/test_x.py", None),
        ("plugins/Upper/test_x.py", None),
        ("plugins/test_x.py", None),
        ("plugins", None),
        ("tests/test_x.py", None),
    ],
)
def test_public_names_follow_the_path(tmp_path: Path, path: str, name: str | None) -> None:
    """A file inside a plugin has one name, the public one; a file outside has none of ours."""
    for plugin in ("greeter", "Upper"):
        (tmp_path / "plugins" / plugin).mkdir(parents=True)
        (tmp_path / "plugins" / plugin / "main.py").touch()
    (tmp_path / "plugins" / "notes").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "plugins", target_is_directory=True)
    assert public_name(tmp_path / path, [PluginRoot(tmp_path / "plugins", "plugins")]) == name
