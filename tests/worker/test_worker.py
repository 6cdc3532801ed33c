"""The long-running process: it starts, serves the newest good code, and stops without dropping a call."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.cli.terminal import GREET, HOTPLUG, User, wait_for
from tests.threads import eventually
from tests.worker.serving import asked, client, posted, serving, socket_of

pytestmark = pytest.mark.skipif(os.name != "posix", reason="workers are commanded over unix sockets")
WAITS = """\
import pathlib, time

def run(name: str = "world"):
    here = pathlib.Path(__file__).parent
    (here / "begun.txt").touch()
    while not (here / "go.txt").exists():
        time.sleep(0.01)
    return {"text": f"waited for {name}"}
"""


def in_flight(user: User) -> tuple[threading.Thread, list[int]]:
    """Begin a call that lasts until go.txt is there; return the thread and where its answer's status will be."""
    codes: list[int] = []
    call = threading.Thread(target=lambda: codes.append(posted(user, "/plugins/slow/execute").status_code))
    call.start()
    wait_for(user.here / "plugins/slow/begun.txt")
    return call, codes


def test_r13_a_worker_starts_with_hot_reload_on(user: User) -> None:
    """I start it, edit a plugin, and the next call runs the new code; nobody restarted anything."""
    user.plugin("greeter")
    with serving(user) as worker:
        assert asked(user, "/worker").json()["hot_reload_enabled"] is True
        assert posted(user, "/plugins/greeter/execute").json()["result"] == {"text": "hello world"}
        user.plugin("greeter", GREET.replace("hello", "goodbye"))
        told = worker.until(event="reloaded")
        assert (told["plugin"], told["serving"]) == ("greeter", 2)
        answer = posted(user, "/plugins/greeter/execute").json()
        assert (answer["result"], answer["generation"]) == ({"text": "goodbye world"}, 2)


def test_a_broken_version_is_refused_and_the_last_good_one_serves(user: User) -> None:
    """A syntax error costs nobody an answer; it is told, and mended by putting the file back."""
    user.plugin("greeter")
    with serving(user) as worker:
        user.plugin("greeter", "def run(:\n")
        assert "[syntax-error]" in worker.until(event="kept")["text"]
        assert posted(user, "/plugins/greeter/execute").json()["result"] == {"text": "hello world"}
        assert asked(user, "/health").json()["status"] == "degraded"
        user.plugin("greeter")
        worker.until(event="unchanged")
        assert asked(user, "/health").json()["status"] == "ok"


def test_a_plugin_that_is_broken_at_the_start_does_not_stop_the_others(user: User) -> None:
    """The worker serves what it can, and is not ready: something is missing."""
    user.plugin("greeter")
    user.plugin("broken", "def run(:\n")
    with serving(user) as worker:
        ready = asked(user, "/health/ready")
        assert (ready.status_code, ready.json()["missing"]) == (503, ["broken"])
        assert asked(user, "/health/live").status_code == 200
        assert posted(user, "/plugins/greeter/execute").status_code == 200
        assert posted(user, "/plugins/broken/execute").status_code == 503
        user.plugin("broken")
        worker.until(event="loaded", plugin="broken")
        assert asked(user, "/health/ready").status_code == 200


def test_where_every_plugin_is_required_a_broken_one_ends_the_start(user: User) -> None:
    """--require-all: exit code 1, and nothing is left running."""
    user.plugin("greeter")
    user.plugin("broken", "def run(:\n")
    ran = user.types("start", "--require-all")
    assert ran.code == 1
    assert "not every plugin could be loaded: broken [not-loaded]" in ran.out
    assert not socket_of(user).exists()


def test_a_version_that_was_good_before_serves_after_a_restart(user: User) -> None:
    """Broken while nobody served: the worker starts with the copy of the last good version."""
    user.plugin("greeter")
    with serving(user) as worker:
        worker.end(signal.SIGTERM)
    user.plugin("greeter", "def run(:\n")
    with serving(user):
        assert posted(user, "/plugins/greeter/execute").json()["result"] == {"text": "hello world"}
        assert asked(user, "/plugins/greeter").json()["state"] == "degraded"


def test_a_start_tells_what_serves_an_older_version_from_what_does_not_serve(user: User) -> None:
    """Degraded is what `list` calls so, too; failed is a plugin of which nothing serves."""
    user.plugin("greeter")
    with user.starts("start", "--json") as worker:
        assert worker.until(event="serving")["text"] == "worker worker serves 1 plugin"
        worker.end(signal.SIGTERM)
    user.plugin("greeter", "def run(:\n")
    with user.starts("start", "--json") as worker:
        assert worker.until(event="serving")["text"] == "worker worker serves 1 plugin, 1 degraded"
        assert "degraded" in user.types("list").out
        worker.end(signal.SIGTERM)
    user.plugin("broken", "def run(:\n")
    with user.starts("start", "--json") as worker:
        assert worker.until(event="serving")["text"] == "worker worker serves 2 plugins, 1 degraded, 1 failed"


def test_a_new_plugin_is_loaded_as_it_comes(user: User) -> None:
    """I copy a directory in, and it serves before anybody calls it."""
    user.plugin("greeter")
    with serving(user) as worker:
        user.plugin("second")
        worker.until(event="loaded", plugin="second")
        assert asked(user, "/plugins/second").json()["state"] == "serving"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_running_calls_finish(user: User, number: int) -> None:
    """The call that runs gets its answer, new ones are refused, then the process ends with 0."""
    user.plugin("slow", WAITS)
    with serving(user) as worker:
        call, codes = in_flight(user)
        worker.process.send_signal(number)
        worker.until(event="stopping")
        refused = posted(user, "/plugins/slow/execute")
        assert (refused.status_code, refused.json()["slug"]) == (503, "worker-stopping")
        (user.here / "plugins/slow/go.txt").touch()
        call.join()
        assert codes == [200]
        assert worker.process.wait(60) == 0
    assert sorted(p.name for p in socket_of(user).parent.iterdir()) == ["worker.lock"]


def test_a_second_signal_leaves_and_names_the_calls(user: User) -> None:
    """Who asks twice is obeyed: exit code 1, and the call that was lost is named."""
    user.plugin("slow", WAITS)
    with serving(user) as worker:
        call, _ = in_flight_lost(user)
        worker.process.send_signal(signal.SIGTERM)
        worker.until(event="stopping")
        worker.process.send_signal(signal.SIGTERM)
        assert "slow: a call that runs since" in worker.until(event="left")["text"]
        assert worker.process.wait(60) == 1
        call.join()
    assert sorted(p.name for p in socket_of(user).parent.iterdir()) == ["worker.lock"]


def in_flight_lost(user: User) -> tuple[threading.Thread, list[str]]:
    """Begin a call as `in_flight` does, whose worker ends under it."""
    import httpx

    errors: list[str] = []

    def ask() -> None:
        try:
            posted(user, "/plugins/slow/execute")
        except httpx.HTTPError as error:
            errors.append(type(error).__name__)

    call = threading.Thread(target=ask)
    call.start()
    wait_for(user.here / "plugins/slow/begun.txt")
    return call, errors


def test_past_the_time_to_stop_the_worker_leaves_and_names_the_calls(user: User) -> None:
    """`hotplug stop --timeout` is a promise: it ends, exit code 1, and says what it left."""
    user.plugin("slow", WAITS)
    with serving(user) as worker:
        call, _ = in_flight_lost(user)
        ran = user.types("stop", "--timeout", "0.2")
        assert ran.code == 1
        assert "slow: a call that runs since" in ran.err
        assert "[calls-left]" in ran.err
        assert worker.process.wait(60) == 1
        call.join()


def test_on_unload_that_hangs_can_not_keep_the_worker(user: User) -> None:
    """The process ends when its time is over, whatever a plugin does at its end."""
    user.plugin("stuck", GREET + "\ndef on_unload():\n    import threading\n    threading.Event().wait()\n")
    with serving(user) as worker:
        ran = user.types("stop", "--timeout", "0.5")
        assert ran.code == 1
        assert "does not end" in ran.err
        assert worker.process.wait(60) == 1


def test_no_time_to_stop_is_enough_when_nothing_runs(user: User) -> None:
    """--timeout is about calls: without any, plugins are unloaded in peace."""
    user.plugin("greeter", GREET + "\ndef on_unload():\n    import pathlib\n    pathlib.Path('unloaded.txt').touch()\n")
    with serving(user) as worker:
        assert user.types("stop", "--timeout", "0").code == 0
        assert worker.process.wait(60) == 0
    assert (user.here / "unloaded.txt").exists()


def test_a_second_worker_of_the_same_name_is_refused(user: User) -> None:
    """It says which process is in the way and what to do; the first one serves on."""
    user.plugin("greeter")
    with serving(user) as worker:
        ran = user.types("start")
        assert ran.code == 1
        assert f"(process {worker.process.pid})" in ran.err
        assert "[already-running]" in ran.err
        assert posted(user, "/plugins/greeter/execute").status_code == 200


def test_a_killed_worker_is_replaced_by_the_next(user: User) -> None:
    """After kill -9 nothing must be cleaned up by hand, and the commands see that nobody runs."""
    user.plugin("greeter")
    with serving(user) as worker:
        worker.end(signal.SIGKILL)
    assert socket_of(user).exists()
    assert "[no-worker]" in user.types("reload", "greeter").err
    with serving(user):
        assert posted(user, "/plugins/greeter/execute").status_code == 200


def test_async_entries_wait_beside_each_other(user: User) -> None:
    """More async calls wait at once than there are threads; each gets its answer."""
    user.plugin(
        "meeting",
        "import asyncio\nhere = asyncio.Barrier(4)\n\nasync def run():\n    await here.wait()\n    return 'met'\n",
        {"version": "1.0"},
    )
    with serving(user, "--threads", "1"):
        results: list[str] = []
        calls = [
            threading.Thread(target=lambda: results.append(posted(user, "/plugins/meeting/execute").json()["result"]))
            for _ in range(4)
        ]
        for call in calls:
            call.start()
        for call in calls:
            call.join()
        assert results == ["met"] * 4


def test_an_entry_that_raises_is_told_with_its_place(user: User) -> None:
    """The caller gets file and line of the plugin, none of our frames; the worker serves on."""
    user.plugin("greeter", "def run():\n    raise KeyError('no such name')\n", {"version": "1.0"})
    with serving(user):
        answer = posted(user, "/plugins/greeter/execute")
        assert answer.status_code == 500
        assert "plugins/greeter/main.py:2  KeyError: 'no such name'" in answer.json()["error"]
        assert "pytest_hotplug" not in answer.json()["error"]


def test_plugins_get_the_projects_host_object(user: User) -> None:
    """One object for all, made by the project's own function; hooks and entries may be `async`, and wait for it."""
    user.write("app.py", "class Host:\n    greeted = 0\n\ndef make():\n    return Host()\n")
    user.write("hotplug.toml", 'host = "app:make"\n')
    text = (
        "import asyncio\nstarted = []\n\n"
        "async def on_load(host):\n    await asyncio.sleep(0)\n    started.append(type(host).__name__)\n\n"
        "async def run(host):\n    await asyncio.sleep(0)\n    host.greeted += 1\n    return [*started, host.greeted]\n"
    )
    user.plugin("one", text, {"version": "1.0"})
    user.plugin("two", text, {"version": "1.0"})
    with serving(user):
        assert posted(user, "/plugins/one/execute").json()["result"] == ["Host", 1]
        assert posted(user, "/plugins/two/execute").json()["result"] == ["Host", 2]
        user.plugin("one", f"{text}# edited\n", {"version": "1.1"})
        assert posted(user, "/plugins/one/reload").status_code == 200
        assert posted(user, "/plugins/one/execute").json()["result"] == ["Host", 3]


FORKS = """\
import multiprocessing, time

def run(after: float = 0.0):
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,))
    child.start()
    if after:
        child.terminate()
        child.join(after)
        code = child.exitcode
        child.kill()
        return code
    return child.pid
"""


def test_a_child_that_a_plugin_forks_keeps_nothing_of_the_worker(user: User) -> None:
    """After kill -9 who is connected hears it at once, and the next worker takes the place, although a child lives."""
    user.plugin("forks", FORKS, {"version": "1.0"})
    with serving(user) as worker, socket.socket(socket.AF_UNIX) as connected:
        connected.settimeout(60)
        connected.connect(str(socket_of(user)))
        connected.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connected.recv(65536).startswith(b"HTTP/1.1 200")
        child = posted(user, "/plugins/forks/execute").json()["result"]
        try:
            worker.end(signal.SIGKILL)
            while connected.recv(65536):
                pass  # until its end
            with serving(user):
                assert asked(user, "/health/live").status_code == 200
            os.kill(child, 0)  # it has lived all the time
        finally:
            os.kill(child, signal.SIGKILL)


def test_a_child_that_a_plugin_forks_can_be_terminated(user: User) -> None:
    """It hears SIGTERM as every other process does, and ends; the worker doesn't."""
    user.plugin("forks", FORKS, {"version": "1.0"})
    with serving(user):
        answer = posted(user, "/plugins/forks/execute", {"parameters": {"after": 30.0}})
        assert answer.json()["result"] == -signal.SIGTERM
        assert asked(user, "/health/ready").status_code == 200


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device that is always full")
def test_a_worker_whose_output_finds_no_room_serves_on(user: User) -> None:
    """`hotplug start > FILE` with a full disk: what it would print is lost, and nothing else."""
    user.plugin("greeter")
    with open("/dev/full", "wb") as full:
        worker = subprocess.Popen(
            [*HOTPLUG, "start"],
            cwd=user.here,
            env=user.environment(),
            stdout=full,
            stderr=full,
            stdin=subprocess.DEVNULL,
        )
    try:
        wait_for(socket_of(user))
        eventually(lambda: asked(user, "/health/ready").status_code == 200, "the worker serves")
        user.plugin("greeter", "def run(:\n")
        assert posted(user, "/plugins/greeter/reload").status_code == 409
        assert user.types("run", "greeter").code == 0
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(60) == 0
    finally:
        worker.kill()


def test_systemd_is_told_of_start_settings_and_end(user: User) -> None:
    """READY, RELOADING with the clock that systemd wants, READY again, STOPPING."""
    user.plugin("greeter")
    path = user.here / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.bind(str(path))
        told.settimeout(60)
        with serving(user, NOTIFY_SOCKET=str(path)) as worker:
            assert told.recv(4096).startswith(b"READY=1\n")
            user.write("hotplug.toml", 'log_level = "debug"\nplugin_dirs = ["elsewhere"]\n')
            worker.process.send_signal(signal.SIGHUP)
            reloading = dict(line.split(b"=") for line in told.recv(4096).split(b"\n"))
            assert reloading[b"RELOADING"] == b"1"
            assert int(reloading[b"MONOTONIC_USEC"]) > 0
            assert told.recv(4096).startswith(b"READY=1\n")
            said = worker.until(event="settings")["text"]
            assert "took over log_level" in said
            assert "a restart is needed for plugin_dirs" in said
            worker.process.send_signal(signal.SIGTERM)
            assert told.recv(4096).startswith(b"STOPPING=1\n")
            assert worker.process.wait(60) == 0


def test_times_and_rules_that_change_count_at_once(user: User) -> None:
    """After SIGHUP a load that hangs is given up after the new time, and a save is found by a watch of the new kind."""
    user.plugin("greeter")
    with serving(user) as worker:
        user.write("hotplug.toml", "load_timeout = 0.3\nforce_polling = true\npoll_interval = 0.05\n")
        worker.process.send_signal(signal.SIGHUP)
        text = worker.until(event="settings")["text"]
        assert "took over poll_interval, force_polling, load_timeout" in text
        assert "restart" not in text
        user.write("plugins/greeter/main.py", "while True:\n    pass\n")
        refused = worker.until(event="kept")
        assert refused["slug"] == "load-timeout"
        assert "0.3 s" in refused["text"]
        eventually(lambda: asked(user, "/health").json()["watching"]["backend"] == "polling", "the new watch")


def test_what_was_edited_while_the_watch_was_changed_is_served(user: User) -> None:
    """A save just before the signal is either seen by the old watch or found by the new one."""
    user.plugin("greeter")
    with serving(user) as worker:
        for number in range(5):
            user.write("hotplug.toml", f"settle_max = {number + 6}\n")
            user.write("plugins/greeter/main.py", f"def run(**given):\n    return {number}\n")
            worker.process.send_signal(signal.SIGHUP)
            assert worker.until(event="reloaded")["plugin"] == "greeter"
            assert posted(user, "/plugins/greeter/execute").json()["result"] == number


def test_settings_that_are_wrong_change_nothing(user: User) -> None:
    """A typo in the file is told at SIGHUP; the worker serves on as before."""
    user.plugin("greeter")
    with serving(user) as worker:
        user.write("hotplug.toml", "no_such_setting = 1\n")
        worker.process.send_signal(signal.SIGHUP)
        assert "settings are as before" in worker.until(event="settings")["text"]
        assert posted(user, "/plugins/greeter/execute").status_code == 200


def test_a_detached_worker_outlives_the_command(user: User) -> None:
    """The command returns once it serves; `hotplug stop` ends it."""
    user.plugin("greeter")
    ran = user.types("start", "--detach", "--json")
    assert ran.code == 0
    try:
        assert ran.json["event"] == "serving"
        assert os.getsid(ran.json["pid"]) == ran.json["pid"]
        assert posted(user, "/plugins/greeter/execute").status_code == 200
    finally:
        assert user.types("stop").code == 0


def test_a_detached_worker_that_can_not_start_says_why(user: User) -> None:
    """Nothing runs on in secret, and the reason is not in a log that I have to find."""
    user.plugin("greeter", "def run(:\n")
    ran = user.types("start", "--detach", "--require-all")
    assert ran.code == 1
    assert "not every plugin could be loaded: greeter" in ran.err


def test_what_plugins_print_does_not_mix_with_our_lines(user: User) -> None:
    """stdout stays JSON lines, whatever a plugin prints."""
    user.plugin("loud", "print('at import')\n\ndef run():\n    print('in a call')\n    return 1\n", {"version": "1"})
    with serving(user) as worker:
        assert posted(user, "/plugins/loud/execute").json()["result"] == 1
        worker.process.send_signal(signal.SIGTERM)
        worker.until(event="stopped")


def test_without_the_extra_the_command_says_what_to_install(user: User) -> None:
    """A clear line with the remedy, no traceback."""
    user.plugin("greeter")
    user.write("broken/starlette.py", "raise ImportError('none', name='starlette')\n")
    ran = user.types("start", PYTHONPATH=os.pathsep.join([str(user.here / "broken"), *sys.path]))
    assert ran.code == 1
    assert "starlette is not installed" in ran.err
    assert "pip install 'pytest-hotplug[worker]'" in ran.err


def test_a_call_that_is_left_gets_no_answer(user: User) -> None:
    """Its connection breaks, which says that nobody knows whether it ran; no page of the server's, no traceback."""
    user.plugin("slow", WAITS, {"version": "1"})
    with serving(user) as worker:
        calling = user.starts("run", "slow")
        wait_for(user.here / "plugins/slow/begun.txt")
        worker.process.send_signal(signal.SIGTERM)
        worker.until(event="stopping")
        worker.process.send_signal(signal.SIGTERM)
        with calling:
            said = calling.process.communicate(timeout=60)[1]
        assert (worker.process.wait(60), calling.process.returncode) == (1, 1)
    assert "ended before it answered; whether it was done is unknown [worker-gone]" in said
    written = (user.here / "logs/error.log").read_text("utf-8")
    assert "[calls-left]" in written
    assert "Traceback" not in written


FULL = """\
import resource

def run(full: bool = False):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (3 if full else min(hard, 1024), hard))
"""


def test_without_descriptors_a_worker_waits_for_better_times(user: User) -> None:
    """Whoever connects waits until one can be taken; that none can is told in one line, not in thousands."""
    user.plugin("full", FULL, {"version": "1"})
    with serving(user) as worker, client(user) as before:
        assert before.post("/plugins/full/execute", json={"parameters": {"full": True}}).status_code == 200
        with client(user) as waiting, ThreadPoolExecutor(1) as beside:
            answer = beside.submit(waiting.get, "/health/live")
            log = user.here / "logs/app.log"
            eventually(lambda: "hotplug.no_connection" in log.read_text("utf-8"))
            assert before.post("/plugins/full/execute", json={"parameters": {"full": False}}).status_code == 200
            assert answer.result(60).status_code == 200
        assert worker.end(signal.SIGTERM) == 0
    assert log.read_text("utf-8").count("no connection can be taken") == 1


def test_the_end_of_a_worker_takes_nothing_from_its_successor(user: User) -> None:
    """Where the state directory was deleted under the first one, a second has begun there under the same name."""
    user.plugin("greeter")
    number = user.here / ".hotplug/run/worker.pid"
    with serving(user) as first:
        (user.here / ".hotplug").rename(user.here / "deleted")
        with serving(user) as second:
            assert first.end(signal.SIGTERM) == 0
            assert number.read_text("ascii") == f"{second.process.pid}\n"
            assert user.types("workers").code == 0
            assert second.end(signal.SIGTERM) == 0
    assert not number.exists()


@pytest.mark.parametrize(
    "place", [".hotplug", ".hotplug/lock/x", ".hotplug/run", ".hotplug/run/worker.lock/x", ".hotplug/run/worker.pid/x"]
)
def test_a_state_directory_that_can_not_be_used_is_told(user: User, place: str) -> None:
    """A refusal with the reason and no traceback of ours, as from every other command, and also with --detach."""
    user.plugin("greeter")
    user.write(place, "in the way")
    for options in ((), ("--detach",)):
        ran = user.types("start", *options)
        assert (ran.code, ran.out) == (1, "")
        assert "can't be used" in ran.err
        assert "[state-unusable]" in ran.err
        assert "Traceback" not in ran.err


def test_everybody_who_asks_a_worker_to_stop_hears_of_its_end(user: User) -> None:
    """Two people at once, the second while a call still runs: both are told that it has stopped."""
    user.plugin("slow", WAITS, {"version": "1.0"})
    with serving(user) as worker:
        call, codes = in_flight(user)
        with user.starts("stop") as first, user.starts("stop") as second:
            worker.until(event="stopping")
            eventually(lambda: asked(user, "/health/live").json()["phase"] == "stopping", "the stop")
            time.sleep(0.2)  # both have been heard by then; later is right as well
            (user.here / "plugins/slow/go.txt").touch()
            for asking in (first, second):
                assert asking.process.wait(60) == 0
                assert asking.line() == "worker worker has stopped"
        call.join()
        assert (codes, worker.process.wait(60)) == ([200], 0)


def test_what_a_plugin_takes_from_logging_is_put_back_without_being_asked_for(user: User) -> None:
    """A plugin that configures logging as if the process were its own takes app.log away for seconds, not for good."""
    text = (
        'import logging.config\n\ndef run():\n    logging.config.dictConfig({"version": 1, "root": {"handlers": []}})\n'
    )
    user.plugin("selfish", text, {"version": "1.0"})
    with serving(user):
        assert posted(user, "/plugins/selfish/execute").status_code == 200
        log = user.here / "logs/app.log"
        eventually(lambda: "hotplug.log_put_back" in log.read_text("utf-8"), "the log's return")
