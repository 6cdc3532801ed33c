"""The fixtures as a plugin author meets them: in a project of their own, in a fresh pytest."""

from __future__ import annotations

import json
import re

import pytest

MANIFEST = {"version": "1.0"}
MAIN = "from text import hello\n\n\ndef run(name='you', host=None):\n    return hello(name), host\n"
TEXT = "def hello(name):\n    if name == 'nobody':\n        return 'silence'\n    return 'hello ' + name\n"


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    """Make a project with the plugins `greet` and `off` (disabled)."""
    pytester.makepyprojecttoml('[tool.hotplug]\nplugin_dirs = ["plugins"]\n')
    for name, manifest in (("greet", MANIFEST), ("off", {"enabled": False})):
        plugin = pytester.path / "plugins" / name
        plugin.mkdir(parents=True)
        (plugin / "main.py").write_text(MAIN)
        (plugin / "text.py").write_text(TEXT)
        (plugin / "plugin.json").write_text(json.dumps(manifest))
    return pytester


def write_test(project: pytest.Pytester, text: str, name: str = "test_greet.py") -> None:
    """Put a test beside the plugin."""
    (project.path / "plugins" / "greet" / name).write_text(text)


def test_a_plugin_is_found_by_where_the_test_lies(project: pytest.Pytester) -> None:
    """`hotplug.load()` without a name is the plugin of the test file; no conftest.py is needed."""
    write_test(project, "def test_it(hotplug):\n    assert hotplug.load().execute() == ('hello you', None)\n")
    project.runpytest_subprocess("-q").assert_outcomes(passed=1)


def test_the_marker_preloads(project: pytest.Pytester) -> None:
    """A marked test has its plugins loaded before it starts, with or without the fixture among its arguments."""
    write_test(
        project,
        """
import sys
import pytest

@pytest.mark.hotplug("greet")
def test_with(hotplug):
    assert [e.plugin for e in hotplug.events] == ["greet"]

@pytest.mark.hotplug("greet")
def test_without():
    assert sys.modules["plugins.greet.main"].run() == ("hello you", None)

def test_afterwards():
    assert "plugins.greet.main" not in sys.modules
""",
    )
    project.runpytest_subprocess("--strict-markers").assert_outcomes(passed=3)


def test_each_enabled_plugin_gets_a_test(project: pytest.Pytester) -> None:
    """`hotplug_each` runs once per enabled plugin; ids are names."""
    (project.path / "test_all.py").write_text("def test_loads(hotplug_each):\n    assert hotplug_each.info['loaded']\n")
    result = project.runpytest_subprocess("-v", "test_all.py")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*test_all.py::test_loads?greet? PASSED*"])


def test_a_fake_host_reaches_plugins(project: pytest.Pytester) -> None:
    """Override `hotplug_host` in conftest.py, and entries that ask for a host get it."""
    project.makeconftest("import pytest\n@pytest.fixture\ndef hotplug_host():\n    return 'fake host'\n")
    write_test(
        project,
        """
def test_in_the_sandbox(hotplug):
    assert hotplug.load().execute()[1] == "fake host"

def test_over_the_real_directories(hotplug_manager):
    assert hotplug_manager.execute("greet")[1] == "fake host"
""",
    )
    project.runpytest_subprocess().assert_outcomes(passed=2)


def test_the_real_manager_sees_the_real_directories(project: pytest.Pytester) -> None:
    """`hotplug_manager` loads the plugins where they lie and leaves nothing there."""
    write_test(
        project,
        """
def test_it(hotplug_manager, request):
    assert hotplug_manager.discover() == ["greet", "off"]
    assert hotplug_manager.execute("greet", name="Ada")[0] == "hello Ada"
    assert hotplug_manager.get_plugin_hot_info("greet")["path"] == str(request.path.parent)
""",
    )
    project.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)
    assert not list((project.path / "plugins" / "greet").rglob("main*.pyc"))


@pytest.mark.parametrize(
    "statement", ["from .main import run", "from plugins.greet.main import run", "from main import run"]
)
def test_a_direct_import_is_served_by_the_same_finder(project: pytest.Pytester, statement: str) -> None:
    """Existing tests that import their plugin keep working: relative, public, flat."""
    write_test(
        project,
        f"{statement}\nimport sys\n"
        "def test_it():\n    assert run() == ('hello you', None)\n"
        "    assert run.__module__ == 'plugins.greet.main'\n    assert 'text' not in sys.modules\n",
    )
    project.runpytest_subprocess().assert_outcomes(passed=1)


def test_two_copies_side_by_side_are_noted(project: pytest.Pytester) -> None:
    """A test module that imports the plugin directly and loads it through the fixture is told so, once."""
    write_test(
        project,
        "from .main import run\n"
        "def test_one(hotplug):\n    assert hotplug.load().execute() == run()\n"
        "def test_two(hotplug):\n    assert hotplug.load().execute() == run()\n",
    )
    result = project.runpytest_subprocess()
    result.assert_outcomes(passed=2)
    assert result.stdout.str().count("[plugin-imported-twice]") == 1


def test_collection_runs_no_plugin_code(project: pytest.Pytester) -> None:
    """A plugin that would explode on import is collected in peace, its __init__.py too."""
    plugin = project.path / "plugins" / "greet"
    (plugin / "__init__.py").write_text("raise RuntimeError('executed')\n")
    write_test(project, "def test_it():\n    pass\n")
    project.runpytest_subprocess("--collect-only").assert_outcomes()
    project.runpytest_subprocess().assert_outcomes(passed=1)


def test_the_sandbox_works_under_xdist(project: pytest.Pytester) -> None:
    """Two workers, the same plugin, edits in both."""
    for number in range(4):
        text = f"""
def test_it(hotplug):
    greet = hotplug.load()
    greet.execute()
    greet.edit("text.py", "'hello '", "'hello{number} '")
    assert greet.execute()[0] == "hello{number} you"
"""
        write_test(project, text, f"test_{number}.py")
    project.runpytest_subprocess("-p", "xdist", "-n2").assert_outcomes(passed=4)


@pytest.mark.parametrize("arguments", [(), ("--cov-branch",), ("-p", "xdist", "-n2")])
def test_coverage_names_the_originals(project: pytest.Pytester, arguments: tuple[str, ...]) -> None:
    """Lines that run in the sandbox's unchanged copy count for the real file; edited copies don't."""
    write_test(
        project,
        "def test_it(hotplug):\n    p = hotplug.load()\n    p.execute()\n"
        "    p.edit('main.py', 'return', 'unused = 1\\n    return')\n    p.execute()\n",
    )
    result = project.runpytest_subprocess(
        "-p", "pytest_cov", "--cov=plugins", *arguments, "--cov-report=json:coverage.json"
    )
    result.assert_outcomes(passed=1)
    files = json.loads((project.path / "coverage.json").read_text())["files"]
    assert files["plugins/greet/main.py"]["missing_lines"] == []
    assert files["plugins/greet/text.py"]["missing_lines"] == [3]
    assert not [name for name in files if "pytest-of" in name]


def test_a_traceback_shows_the_real_plugin(project: pytest.Pytester) -> None:
    """A failure inside an unchanged copy points at the file that the author edits."""
    write_test(project, "def test_it(hotplug):\n    hotplug.load().execute(name=3)\n")
    result = project.runpytest_subprocess()
    result.assert_outcomes(failed=1)
    assert re.search(r"^plugins/greet/text\.py:4: TypeError", result.stdout.str(), re.MULTILINE)


def test_a_broken_plugin_fails_a_test_with_its_own_fault_alone(project: pytest.Pytester) -> None:
    """The author sees the test's line and the plugin's fault, not pages of the reloader."""
    (project.path / "plugins" / "greet" / "text.py").write_text("def hello(name:\n")
    write_test(project, "def test_it(hotplug):\n    hotplug.load()\n")
    result = project.runpytest_subprocess()
    result.assert_outcomes(failed=1)
    assert "[syntax-error]" in result.stdout.str()
    assert "pytest_hotplug/reloader" not in result.stdout.str()


def test_a_fault_in_an_unchanged_file_names_the_real_one(project: pytest.Pytester) -> None:
    """The copy holds the same bytes: error, info, outcome and events point to the file that the author edits."""
    (project.path / "plugins" / "greet" / "text.py").write_text("import nothing_like_it\n")
    write_test(
        project,
        """
import pytest
from pytest_hotplug import PluginLoadError

def test_it(hotplug, request):
    real = request.path.parent / "text.py"
    with pytest.raises(PluginLoadError, match=r"plugins/greet/text\\.py:1") as caught:
        hotplug.load()
    assert caught.value.fault.path == real
    greet = hotplug.add()
    assert greet.info["error"].startswith("plugins/greet/text.py:1")
    assert greet.reload().error.path == real
    error = [event for event in hotplug.events if event.kind == "error"][0]
    assert error.error.path == real
    assert "plugins/greet/text.py:1" in error.message
    assert str(greet.path) not in "".join(hotplug.log)

def test_an_edited_file_is_the_copy(hotplug):
    greet = hotplug.add()
    greet.write("text.py", "import nothing_like_this\\n")
    with pytest.raises(PluginLoadError) as caught:
        greet.execute()
    assert caught.value.fault.path == greet.path / "text.py"
""",
    )
    project.runpytest_subprocess().assert_outcomes(passed=2)


def test_a_missing_module_is_missing_for_a_plugins_own_tests_too(project: pytest.Pytester) -> None:
    """A version that lacks one of its modules is refused, as in production, whatever flat names the test may use."""
    write_test(
        project,
        """
import importlib
from unittest import mock
import pytest
from pytest_hotplug import KeptCurrent

LATE = "import importlib\\n\\ndef run():\\n    return importlib.import_module('text').hello('late')\\n"

def test_deleted(hotplug):
    greet = hotplug.load()
    greet.delete("text.py")
    outcome = greet.reload()
    assert isinstance(outcome, KeptCurrent)
    assert outcome.error.slug == "missing-module"

def test_deleted_after_the_test_asked_for_it(hotplug):
    greet = hotplug.load()
    with mock.patch("text.hello", return_value="patched"):
        assert greet.module("text").hello("x") == "patched"
    greet.delete("text.py")
    assert isinstance(greet.reload(), KeptCurrent)

def test_late(hotplug):
    greet = hotplug.load()
    greet.delete("text.py")
    greet.write("main.py", LATE)
    with pytest.raises(ModuleNotFoundError):
        greet.execute()

def test_the_test_itself_is_answered(hotplug):
    greet = hotplug.load()
    assert importlib.import_module("text") is greet.module("text")
""",
    )
    project.runpytest_subprocess().assert_outcomes(passed=4)


def test_a_breakpoint_by_path_stops_in_the_sandbox(project: pytest.Pytester) -> None:
    """A debugger that breaks at the real file's line stops there."""
    write_test(
        project,
        """
import bdb, sys

class Debugger(bdb.Bdb):
    def __init__(self):
        super().__init__()
        self.stopped = []
    def user_line(self, frame):
        if self.break_here(frame):
            self.stopped.append((frame.f_code.co_filename, frame.f_lineno))
        self.set_continue()

def test_it(hotplug, request):
    greet = hotplug.load()
    file = str(request.path.parent / "text.py")
    debugger = Debugger()
    assert debugger.set_break(file, 4) is None
    debugger.runcall(greet.execute)
    assert debugger.stopped == [(file, 4)]
""",
    )
    project.runpytest_subprocess().assert_outcomes(passed=1)


def test_a_project_without_plugins_is_left_alone(pytester: pytest.Pytester) -> None:
    """Nothing is registered where no plugin dir exists; `create` works all the same."""
    pytester.makepyfile(
        "def test_it(hotplug, pytestconfig):\n"
        "    assert not pytestconfig.pluginmanager.hasplugin('hotplug-session')\n"
        "    p = hotplug.create('made', {'main.py': 'def run(): return 1'})\n"
        "    assert p.execute() == 1\n"
    )
    pytester.runpytest_subprocess().assert_outcomes(passed=1)


def test_a_bad_setting_is_a_usage_error(project: pytest.Pytester) -> None:
    """A misspelt setting ends the run with one clear line."""
    project.makepyprojecttoml("[tool.hotplug]\nplugin_dir = 'plugins'\n")
    result = project.runpytest_subprocess()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*unknown setting 'plugin_dir'*did you mean 'plugin_dirs'*"])


def test_options_do_not_swallow_a_path(project: pytest.Pytester) -> None:
    """`pytest --hotplug-watch plugins/greet` takes the path as a path (and runs once without a terminal)."""
    write_test(project, "def test_it():\n    pass\n")
    result = project.runpytest_subprocess("--hotplug-watch", "plugins/greet")
    result.assert_outcomes(passed=1)
    result.stderr.fnmatch_lines(["*there is no terminal*one ordinary run*"])


def test_a_family_with_another_layout_is_collected_in_peace_too(pytester: pytest.Pytester) -> None:
    """`info.json`, and an entry in `__init__.py`: collection executes nothing, the fixture loads it."""
    pytester.makepyprojecttoml(
        '[tool.hotplug]\nplugin_dirs = ["cogs"]\nmanifest = "info.json"\nentry = "__init__:main"\n'
    )
    cog = pytester.path / "cogs" / "dice"
    cog.mkdir(parents=True)
    (cog / "info.json").write_text('{"name": "Dice of Fate", "requirements": []}')
    (cog / "__init__.py").write_text(
        "import pathlib\npathlib.Path(__file__).with_name('ran').touch()\ndef main():\n    return 6\n"
    )
    (cog / "test_dice.py").write_text("def test_apart():\n    pass\n")
    pytester.runpytest_subprocess().assert_outcomes(passed=1)
    assert not (cog / "ran").exists()
    (cog / "test_dice.py").write_text("def test_it(hotplug):\n    assert hotplug.load().execute() == 6\n")
    pytester.runpytest_subprocess().assert_outcomes(passed=1)
