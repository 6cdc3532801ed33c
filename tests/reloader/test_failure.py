"""Bad input: a clear error, the old version serves on, and the good content is enough to recover."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_hotplug import KeptCurrent, PluginLoadError, PluginManager, Reloaded
from pytest_hotplug.reloader import dependencies, refusals
from tests.reloader.workshop import PATIENCE, Workshop, eventually, gate, kinds

GOOD = "def run(): return 'good'\n"
BETTER = "def run(): return 'better'\n"


@pytest.fixture
def good(shop: Workshop) -> PluginManager:
    """A manager that serves one good plugin, `sturdy`."""
    shop.plugin("sturdy", GOOD, {"version": "1.0"})
    manager = shop.manager(load_timeout=5)
    assert manager.execute("sturdy") == "good"
    return manager


def refuse(manager: PluginManager) -> KeptCurrent:
    """Reload, make sure that the new version was refused while the old one serves, and return the outcome."""
    heard: list[Any] = []
    end = manager.subscribe(heard.append)
    outcome = manager.reload("sturdy")
    end()
    assert isinstance(outcome, KeptCurrent), outcome
    assert outcome.error is not None
    assert kinds(heard) == ["kept", "error"]
    assert heard[1].message.count("\n") >= 2
    assert f"[{outcome.error.slug}]" in heard[1].message
    assert "sturdy: generation 2 could not be loaded, generation 1 keeps serving." in heard[1].message
    info = manager.get_plugin_hot_info("sturdy")
    assert (info["state"], info["generation"], info["has_updates"]) == ("degraded", 1, True)
    assert outcome.error.slug in info["error"]
    assert manager.execute("sturdy") == "good"
    return outcome


def test_a_module_that_fails_to_make_its_entry_up_is_refused(good: PluginManager, shop: Workshop) -> None:
    """Looking the entry up executes the plugin's code: what that raises is the plugin's fault, and goes no further."""
    shop.plugin(
        "sturdy", "def __getattr__(name):\n    if name == 'run':\n        return unknown\n    raise AttributeError\n"
    )
    outcome = refuse(good)
    assert outcome.error is not None
    assert "unknown" in str(outcome.error)


BAD_MAINS = {
    "syntax": ("def run(:\n    pass\n", "syntax-error", 1, "SyntaxError"),
    "null-byte": ("def run(): return 1\n\0", "syntax-error", None, "null"),
    "indentation": ("def run():\nreturn 1\n", "syntax-error", 2, "IndentationError"),
    "exception": ("X = 2\nraise ValueError('half\\nway')\n" + BETTER, "import-error", 2, "ValueError: half\\nway"),
    "assertion": ("assert 1 == 2, 'never'\n" + BETTER, "import-error", 1, "AssertionError: never"),
    "missing module": ("import no_such_module_anywhere\n" + BETTER, "missing-module", 1, "no_such_module_anywhere"),
    "missing name": ("from . import nothing_here\n" + BETTER, "import-error", 1, "nothing_here"),
    "sys.exit": ("import sys\nsys.exit(3)\n" + BETTER, "exit-at-import", 2, "SystemExit: 3"),
    "keyboard interrupt": ("raise KeyboardInterrupt\n" + BETTER, "import-error", 1, "KeyboardInterrupt"),
    "generator exit": ("raise GeneratorExit\n" + BETTER, "import-error", 1, "GeneratorExit"),
    "own base exception": ("class E(BaseException): pass\nraise E('x')\n" + BETTER, "import-error", 2, "E: x"),
    "recursion": ("def f(): f()\nf()\n" + BETTER, "import-error", 1, "RecursionError"),
    "no entry": ("def other(): pass\n", "no-entry", None, "'run'"),
    "entry is no function": ("run = 7\n", "no-entry", None, "not callable but int"),
    "foreign entry": ("from os import system as run\n", "foreign-entry", None, "belongs to 'posix'"),
    "on_load raises": (
        BETTER + "def on_load():\n    raise OSError('no port')\n",
        "on-load-error",
        3,
        "OSError: no port",
    ),
    "load_state raises": (
        BETTER + "def load_state(state, from_version):\n    raise KeyError('old')\n",
        "state-refused",
        3,
        "KeyError: 'old'",
    ),
}


@pytest.mark.parametrize("case", BAD_MAINS)
def test_a_broken_main_is_refused_with_file_line_and_remedy(shop: Workshop, case: str) -> None:
    """F01 F02 F04 F06 F07 R31 R32: whatever main.py does, the host survives, the old serves, a good file heals."""
    source, slug, line, said = BAD_MAINS[case]
    if case == "foreign entry" and sys.platform == "win32":
        pytest.skip("os.system belongs to another module there")
    shop.plugin("sturdy", GOOD + "def save_state(): return 'state'\n", {"version": "1.0"})
    good = shop.manager(load_timeout=5)
    good.load("sturdy")
    shop.write("sturdy", "main.py", source)
    error = refuse(good).error
    assert error is not None
    assert (error.plugin, error.slug, error.line) == ("sturdy", slug, line)
    assert said in error.message or said in str(error)
    assert error.path is not None
    assert error.path.name in ("main.py", "plugin.json")
    assert error.remedy
    shop.write("sturdy", "main.py", BETTER)
    assert good.execute("sturdy") == "better"
    assert good.get_plugin_hot_info("sturdy")["error"] is None


BAD_MANIFESTS = {
    "no JSON": ('{"version": "2",\n "entry_point": }', "bad-manifest", 2, "is no JSON"),
    "list": ("[]", "bad-manifest", None, "expected an object, got an array"),
    "duplicate key": ('{\n"version": "1",\n"version": "2"\n}', "duplicate-key", 3, "'version' stands twice"),
    "wrong type": (
        '{\n"version": "2",\n"entry_point": ["main.run"]\n}',
        "bad-manifest",
        3,
        "/entry_point: expected str, got array",
    ),
    "wrong type inside": (
        '{\n"parameters": {\n"count": {\n"type": "integer",\n"required": "yes"}}}',
        "bad-manifest",
        5,
        "/parameters/count/required",
    ),
    "unknown module": ('{\n"entry_point": "mian.run"}', "bad-entry", 2, "did you mean 'main'?"),
    "unknown function": ('{"entry_point": "main.rnu"}', "no-entry", None, "did you mean 'run'?"),
    "os:system": ('{\n\n"entry_point": "os:system"}', "bad-entry", 3, "no module 'os'"),
    "private": ('{\n"entry_point": "main._run"}', "bad-entry", 2, "expected 'module.function'"),
    "dotted attribute": ('{"entry_point": "main:run.__globals__"}', "bad-entry", 1, "expected 'module.function'"),
    "other name": ('{"version": "2",\n"name": "stirdy"}', "name-mismatch", 2, "'stirdy' differs from the directory"),
    "unknown dependency": ('{\n"depends_on": ["sturdi"]}', "unknown-dependency", 2, "there is no plugin 'sturdi'"),
    "bad requirement": ('{\n"dependencies": ["what is this"]}', "bad-manifest", 2, "/dependencies"),
    "other python": ('{"python_version": "<3"}', "wrong-python", None, "needs Python <3"),
    "negative time": ('{\n"load_timeout": -1}', "bad-manifest", 2, "/load_timeout"),
}


@pytest.mark.parametrize("case", BAD_MANIFESTS)
def test_a_broken_manifest_is_refused_with_pointer_and_line(shop: Workshop, good: PluginManager, case: str) -> None:
    """F05 S17 S21 S26 R31: a bad plugin.json is refused as a whole, with the code that came along with it."""
    text, slug, line, said = BAD_MANIFESTS[case]
    shop.write("sturdy", "plugin.json", text)
    shop.write("sturdy", "main.py", BETTER + "def _run(): pass\n")
    error = refuse(good).error
    assert error is not None
    assert (error.slug, error.line) == (slug, line)
    assert said in str(error)
    shop.write("sturdy", "plugin.json", '{"version": "2"}')
    assert good.execute("sturdy") == "better"


def test_all_or_nothing_when_one_of_two_new_files_is_broken(shop: Workshop) -> None:
    """F03 F10: the good half of a broken version is not served, and leaves no module behind."""
    main = "from . import first, second\ndef run(): return first.N, second.N\n"
    shop.plugin("sturdy", {"main.py": main, "first.py": "N = 1\n", "second.py": "N = 1\n"})
    manager = shop.manager()
    assert manager.execute("sturdy") == (1, 1)
    old = sys.modules[shop.public("sturdy", "first")]
    shop.write("sturdy", "first.py", "N = 2\n")
    shop.write("sturdy", "second.py", "from . import third\nraise RuntimeError\n")
    shop.write("sturdy", "third.py", "N = 2\n")
    assert isinstance(manager.reload("sturdy"), KeptCurrent)
    assert manager.execute("sturdy") == (1, 1)
    assert sys.modules[shop.public("sturdy", "first")] is old
    assert shop.public("sturdy", "third") not in sys.modules
    assert sys.modules[shop.public("sturdy")].first is old


def test_a_module_that_failed_and_was_done_without_leaves_nothing(shop: Workshop) -> None:
    """F10: an optional module whose import fails is in nobody's sys.modules after the load."""
    main = "try:\n    from . import extra\nexcept ImportError:\n    extra = None\ndef run(): return extra\n"
    shop.plugin("sturdy", {"main.py": main, "extra.py": "import no_such_module_anywhere\n"})
    assert shop.manager().execute("sturdy") is None
    assert shop.public("sturdy", "extra") not in sys.modules


def test_what_a_failed_version_registered_is_undone(shop: Workshop, good: PluginManager) -> None:
    """F11: registrations through context.register are taken back when the version is refused."""
    registry: list[str] = []
    good._host.set(registry)
    source = BETTER + "def on_load(context, host):\n    host.append('v2')\n    context.register(host.remove, 'v2')\n"
    shop.write("sturdy", "main.py", source + "    raise RuntimeError('after')\n")
    refuse(good)
    assert registry == []


def test_the_first_version_may_be_broken_and_mended(shop: Workshop) -> None:
    """R31 R32: with nothing to fall back on the error says so; the mended file loads at the next call."""
    shop.plugin("sturdy", "def run(:\n")
    manager = shop.manager()
    with pytest.raises(PluginLoadError, match=r"sturdy: could not be loaded, and no earlier version serves") as caught:
        manager.execute("sturdy")
    assert "main.py:1" in str(caught.value)
    assert "[syntax-error]" in str(caught.value)
    assert manager.get_plugin_hot_info("sturdy")["state"] == "failed"
    assert manager.health()["status"] == "failed"
    shop.write("sturdy", "main.py", GOOD)
    assert manager.execute("sturdy") == "good"
    assert manager.health()["status"] == "ok"


def test_the_text_of_a_fault_tells_what_where_why_and_what_to_do(
    shop: Workshop, good: PluginManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R31: headline, file:line, the line itself, the remedy and the slug, one below the other."""
    monkeypatch.chdir(shop.root)
    texts: list[str] = []
    good._hot_loader.register_callback("error", lambda name, text: texts.append(text))
    shop.write("sturdy", "main.py", "X = 1\nraise ValueError('no \\x1b[31mred')\n")
    good.reload("sturdy")
    assert texts == [
        "sturdy: generation 2 could not be loaded, generation 1 keeps serving.\n"
        f"  {shop.package}/sturdy/main.py:2  ValueError: no \\x1b[31mred\n"
        "      raise ValueError('no \\\\x1b[31mred')\n".replace("\\\\", "\\")
        + "  Fix the file or restore it; it is tried again on the next change. [import-error]"
    ]


def test_an_exception_with_notes_is_told_by_its_own_message(shop: Workshop, good: PluginManager) -> None:
    """R31: notes that were added to an exception don't pass for the exception."""
    shop.write("sturdy", "main.py", "e = ValueError('the cause')\ne.add_note('a note')\nraise e\n")
    error = refuse(good).error
    assert error is not None
    assert error.message == "ValueError: the cause"


def test_restoring_the_original_clears_the_error(shop: Workshop, good: PluginManager) -> None:
    """F08 R32: putting the file back is enough; nothing is executed and no error sticks."""
    shop.write("sturdy", "main.py", "raise RuntimeError\n")
    refuse(good)
    shop.write("sturdy", "main.py", GOOD)
    assert good.execute("sturdy") == "good"
    info = good.get_plugin_hot_info("sturdy")
    assert (info["state"], info["error"], info["generation"]) == ("serving", None, 1)


def test_the_same_broken_content_is_executed_once(
    shop: Workshop, good: PluginManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F09 R5: polling a broken version five times tries it once, by whatever way it is asked for."""
    import builtins

    monkeypatch.setattr(builtins, "tries", [], raising=False)
    shop.write("sturdy", "main.py", "import builtins\nbuiltins.tries.append(1)\nraise RuntimeError\n")
    for _ in range(5):
        assert good.execute("sturdy") == "good"
        assert isinstance(good.reload("sturdy"), KeptCurrent)
    assert builtins.tries == [1]  # type: ignore[attr-defined]


def test_a_fault_from_outside_is_tried_again_with_back_off(
    shop: Workshop, good: PluginManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R32: an exception at import may pass; it is tried after 1, 2, 4 ... seconds, at most every five minutes."""
    import builtins

    now = 1000.0
    monkeypatch.setattr(refusals, "time", SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setattr(builtins, "tries", [], raising=False)
    shop.write("sturdy", "main.py", "import builtins\nbuiltins.tries.append(1)\nraise RuntimeError\n")
    tries = []
    for seconds in (0, 0.9, 0.2, 1.8, 0.3, 3.8, 0.3):
        now += seconds
        good.reload("sturdy")
        tries.append(len(builtins.tries))  # type: ignore[attr-defined]
    assert tries == [1, 1, 2, 2, 3, 3, 4]
    for _ in range(20):
        now += 301
        good.reload("sturdy")
    assert len(builtins.tries) == 24  # type: ignore[attr-defined]


def test_a_fault_of_its_own_bytes_waits_for_new_content(
    shop: Workshop, good: PluginManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R32: time alone mends no syntax error."""
    now = 1000.0
    monkeypatch.setattr(refusals, "time", SimpleNamespace(monotonic=lambda: now))
    shop.write("sturdy", "main.py", "def run(:\n")
    refuse(good)
    now += 1e9
    heard: list[Any] = []
    good.subscribe(heard.append)
    outcome = good.reload("sturdy")
    assert (type(outcome), outcome.reason) == (KeptCurrent, "refused")
    assert heard == []


def test_a_missing_distribution_is_told_apart_and_tried_when_it_is_installed(
    shop: Workshop, good: PluginManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R30: what to install is named, and the load is tried as soon as it is there, without a new edit."""
    installed: dict[str, str] = {}
    monkeypatch.setattr(dependencies, "installed_version", lambda name: installed.get(name))
    monkeypatch.setattr(refusals, "installed_version", lambda name: installed.get(name))
    monkeypatch.setattr(dependencies, "_running", {})
    shop.write("sturdy", "main.py", BETTER)
    shop.write("sturdy", "plugin.json", json.dumps({"dependencies": ["left-pad>=2", "right-pad"]}))
    error = refuse(good).error
    assert error is not None
    assert error.slug == "missing-distribution"
    assert "left-pad" in str(error)
    assert "right-pad" in str(error)
    assert "pip install 'left-pad>=2'" in error.remedy
    installed["left-pad"] = "1.0"
    error = refuse(good).error
    assert error is not None
    assert "installed is 1.0" in error.message
    installed.update({"left-pad": "2.1", "right-pad": "1"})
    assert good.execute("sturdy") == "better"


def test_a_distribution_that_changed_under_the_process_needs_a_restart(
    shop: Workshop, good: PluginManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R30: new code that needs a newer version than the one this process may have imported says: restart."""
    installed = {"left-pad": "1.0"}
    monkeypatch.setattr(dependencies, "installed_version", lambda name: installed.get(name))
    monkeypatch.setattr(refusals, "installed_version", lambda name: installed.get(name))
    monkeypatch.setattr(dependencies, "_running", {})
    shop.write("sturdy", "plugin.json", json.dumps({"dependencies": ["left-pad"]}))
    assert isinstance(good.reload("sturdy"), Reloaded)
    installed["left-pad"] = "2.0"
    shop.write("sturdy", "plugin.json", json.dumps({"dependencies": ["left-pad>=2"]}))
    outcome = good.reload("sturdy")
    assert outcome.error is not None
    assert (outcome.error.slug, outcome.error.remedy) == ("restart-needed", "Restart the worker.")


def test_a_deleted_directory_keeps_the_version_that_serves(shop: Workshop, good: PluginManager) -> None:
    """N14: a plugin whose directory is gone goes on from memory, and says what is missing."""
    for file in list((shop.plugins / "sturdy").iterdir()):
        file.unlink()
    (shop.plugins / "sturdy").rmdir()
    error = refuse(good).error
    assert error is not None
    assert (error.slug, error.plugin) == ("plugin-missing", "sturdy")
    shop.plugin("sturdy", BETTER)
    assert good.execute("sturdy") == "better"


def test_an_unreadable_file_keeps_the_version_that_serves(
    shop: Workshop, good: PluginManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """N15 R34: a permission problem is named as the cause, with the file; once it is mended the version loads."""
    from pytest_hotplug.reloader import fingerprint

    real = fingerprint._open

    def deny(path: Any, *args: Any) -> int:
        if str(path).endswith("main.py"):
            raise PermissionError(13, "Permission denied", path)
        return real(path, *args)

    shop.write("sturdy", "main.py", BETTER)
    monkeypatch.setattr(fingerprint, "_open", deny)
    error = refuse(good).error
    assert error is not None
    assert (error.slug, error.own_bytes) == ("unreadable", False)
    assert "Permission denied" in error.message
    assert error.path == shop.plugins / "sturdy" / "main.py"
    monkeypatch.setattr(fingerprint, "_open", real)
    monkeypatch.setattr(refusals, "FIRST_DELAY", 0.0)
    os.utime(shop.plugins / "sturdy" / "main.py")
    eventually(lambda: good.execute("sturdy") == "better", "the mended version")


def test_an_import_that_never_ends_is_given_up_and_the_next_edit_loads(shop: Workshop) -> None:
    """N01: the hung thread is reported and left behind, the old version serves, the next edit is not blocked."""
    shop.plugin("sturdy", GOOD)
    manager = shop.manager(load_timeout=0.3)
    manager.load("sturdy")
    old = sys.modules[shop.public("sturdy", "main")]
    with gate("sturdy") as (hangs, _):
        shop.write("sturdy", "main.py", hangs + BETTER)
        error = refuse(manager).error
        assert error is not None
        assert error.slug == "load-timeout"
        assert "can't be killed" in error.message
        assert sys.modules[shop.public("sturdy", "main")] is old
        shop.write("sturdy", "main.py", BETTER)
        assert manager.execute("sturdy") == "better"


def test_a_lazy_import_that_never_ends_blocks_no_reload_for_ever(
    shop: Workshop, good: PluginManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """N01: a call that hangs in its own lazy import loses the guard after the time limit; others go on."""
    from pytest_hotplug.reloader import transaction

    monkeypatch.setattr(transaction, "GRACE", 0.1)
    with gate("hanging") as (hangs, _):
        shop.plugin("hanging", {"main.py": "def run():\n    from . import late\n    return 1\n", "late.py": hangs})
        manager = shop.manager(load_timeout=0.3)
        thread = threading.Thread(target=lambda: manager.execute("hanging"), daemon=True)
        thread.start()
        eventually(lambda: shop.public("hanging", "late") in sys.modules, "the lazy import")
        shop.write("sturdy", "main.py", BETTER)
        assert good.execute("sturdy") == "better"
    thread.join(PATIENCE)


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGINT")
def test_ctrl_c_during_a_reload_reaches_the_host_and_changes_nothing(shop: Workshop) -> None:
    """N02: KeyboardInterrupt arrives where the host waits; what served before still serves, and reloads go on."""
    shop.plugin("sturdy", GOOD)
    started = shop.root / "started"
    waits = f"import pathlib, threading\npathlib.Path({str(started)!r}).touch()\nthreading.Event().wait(60)\n"
    slow = waits + BETTER
    host = textwrap.dedent(f"""
        import pathlib, sys
        from pytest_hotplug import PluginManager
        manager = PluginManager(plugin_dirs=[{str(shop.plugins)!r}], debounce=0)
        manager.load("sturdy")
        main = pathlib.Path({str(shop.plugins / "sturdy" / "main.py")!r})
        main.write_text({slow!r})
        try:
            manager.reload("sturdy")
        except KeyboardInterrupt:
            manager.disable_hot_reload()
            print("interrupted", manager.execute("sturdy"), manager.get_plugin_hot_info("sturdy")["generation"])
            manager.enable_hot_reload()
        main.write_text({BETTER!r})
        print(manager.execute("sturdy"), sys.modules[{shop.public("sturdy", "main")!r}].run())
        manager.close()
    """)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    with subprocess.Popen([sys.executable, "-c", host], stdout=subprocess.PIPE, text=True, env=environment) as process:
        eventually(started.exists, "the slow load")
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=PATIENCE)
    assert said.splitlines() == ["interrupted good 1", "better better"]
    assert process.returncode == 0


def test_no_exception_object_is_kept(shop: Workshop, good: PluginManager) -> None:
    """M01: exceptions hold frames, and frames hold modules: after a refusal nothing of the bad version lives."""
    import gc
    import weakref

    shop.write(
        "sturdy", "main.py", "class Big: pass\nbig = Big()\nimport builtins\nbuiltins.seen(big)\nraise ValueError\n"
    )
    references: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        import builtins

        patch.setattr(builtins, "seen", lambda big: references.append(weakref.ref(big)), raising=False)
        refuse(good)
    gc.collect()
    assert [reference() for reference in references] == [None]


def test_a_callback_may_read_the_fault(shop: Workshop, good: PluginManager) -> None:
    """R25: the event of a refusal carries the fault as data: plugin, file, line, slug."""
    heard: list[Any] = []
    good.subscribe(heard.append)
    shop.write("sturdy", "main.py", "def run(:\n")
    good.reload("sturdy")
    fault = heard[-1].error
    assert (fault.plugin, fault.path, fault.line, fault.slug) == (
        "sturdy",
        Path(shop.plugins / "sturdy" / "main.py"),
        1,
        "syntax-error",
    )
