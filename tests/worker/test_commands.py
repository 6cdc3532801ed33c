"""The commands with a worker: text, JSON and exit codes, for success, refusal and usage errors."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sys
import threading
from contextlib import ExitStack
from typing import Any

import pytest

from pytest_hotplug.cli.journaling import _follow
from pytest_hotplug.cli.reloading import reload
from pytest_hotplug.worker.app import MOST_READERS
from pytest_hotplug.worker.client import Client, Reply
from tests.cli.terminal import GREET, MANIFEST, User, in_a_terminal
from tests.threads import eventually
from tests.worker.load import full_disk
from tests.worker.serving import asked, client, posted, serving, socket_of

pytestmark = pytest.mark.skipif(os.name != "posix", reason="workers are commanded over unix sockets")
BROKEN = "def run(:\n"
GOODBYE = GREET.replace("hello", "goodbye")


@pytest.fixture
def shop(user: User) -> User:
    """Give the test two plugins, of which nobody has changed anything yet."""
    user.plugin("greeter")
    user.plugin("second")
    return user


# -- what is served -----------------------------------------------------------------------------


def test_r16_list_shows_what_the_worker_serves(shop: User) -> None:
    """Version, generation, digest, when it was loaded, how often; in 80 columns and for programs."""
    with serving(shop):
        listed = shop.types("list")
        assert listed.code == 0
        head, *rows = listed.out.splitlines()
        assert head.split() == [
            "plugin",
            "version",
            "gen",
            "digest",
            "loaded",
            "at",
            "reloads",
            "updates",
            "state",
        ]
        assert [row.split()[:3] for row in rows] == [["greeter", "1.0", "1"], ["second", "1.0", "1"]]
        found = shop.types("list", "--json").json
        assert found["source"] == "worker"
        assert {p["name"]: (p["generation"], p["state"], p["worker"]) for p in found["plugins"]} == {
            "greeter": (1, "serving", "worker"),
            "second": (1, "serving", "worker"),
        }
        narrow = in_a_terminal(shop, "list", columns=80, NO_COLOR="1").splitlines()
        assert max(map(len, narrow)) <= 80
        assert [row.split()[0] for row in narrow] == ["plugin", "greeter", "second"]


def test_a_small_terminal_gets_fewer_columns_and_whole_words(shop: User) -> None:
    """In 60 columns no word is broken: what matters least is left out; a pipe and programs get everything."""
    with serving(shop):
        head, *rows = in_a_terminal(shop, "list", columns=60, NO_COLOR="1").splitlines()
        assert head.split()[:2] == ["plugin", "version"]
        assert "state" in head.split()
        assert "reloads" not in head
        assert [(row.split()[0], row.split()[-1]) for row in rows] == [("greeter", "serving"), ("second", "serving")]
        assert {"gen", "digest", "reloads", "updates"} <= set(shop.types("list").out.splitlines()[0].split())
        assert "reload_count" in shop.types("list", "--json", COLUMNS="60").json["plugins"][0]


@pytest.mark.parametrize("columns", [40, 60, 80])
def test_the_address_of_the_page_stands_whole_on_a_line_of_its_own(shop: User, columns: int) -> None:
    """The terminal may wrap it, and copies it whole then; we put nothing into it and nothing beside it."""
    with shop.starts("start", "--page", "0", COLUMNS=str(columns)) as worker:
        while not (line := worker.line()).startswith("http"):
            assert "http" not in line
        (found,) = shop.types("workers", "--json").json["workers"]
        assert line == found["page"]
        shown = in_a_terminal(shop, "workers", columns=columns, NO_COLOR="1").splitlines()
        assert shown[shown.index("page of worker:") + 1] == line
        assert not [other for other in shown if "http" in other and other != line]


def test_a_detached_start_tells_the_address_on_a_line_of_its_own(shop: User) -> None:
    """What is known of the process stands behind its name, and the address alone."""
    try:
        first, label, address = shop.types("start", "--detach", "--page", "0").out.splitlines()
        assert first.startswith("worker worker serves 2 plugins (pid ")
        assert label == "status page:"
        assert address == shop.types("workers", "--json").json["workers"][0]["page"]
    finally:
        shop.types("stop")


def test_status_shows_one_plugin(shop: User) -> None:
    """All that is known, by the names that the API has; an unknown one brings the nearest."""
    with serving(shop):
        shown = shop.types("status", "greeter")
        assert shown.code == 0
        rows = dict(line.split(":", 1) for line in shown.out.splitlines())
        assert (rows["state"].strip(), rows["generation"].strip()) == ("serving", "1")
        told = shop.types("status", "greeter", "--json").json
        assert (told["source"], told["worker"], told["loaded"]) == ("worker", "worker", True)
        unknown = shop.types("status", "greter")
        assert unknown.code == 4
        assert "did you mean 'greeter'?" in unknown.err


@pytest.mark.parametrize("name", ["greeter/why", "greeter?x", "../worker", "..", "a\nb", "a b", "%67reeter"])
def test_a_name_that_is_none_asks_a_worker_for_nothing(served: User, name: str) -> None:
    """It is a usage error of every command that takes a name, whatever address of the worker it would make."""
    for command in ("status", "why", "reload", "wait", "run", "rollback", "disable", "enable"):
        typed = served.types(command, name)
        assert (typed.code, typed.out) == (4, ""), command
        assert "can't name a plugin" in typed.err
        assert "Traceback" not in typed.err


def test_no_name_of_a_plugin_leads_to_another_route(shop: User) -> None:
    """What is typed as a name ends no worker and pauses nothing."""
    with serving(shop):
        for name in ("../stop?", "greeter/disable?", "greeter/unload?"):
            assert shop.types("reload", name).code == 4
        told = shop.types("status", "greeter", "--json").json
        assert told["state"] == "serving"


def test_run_executes_in_the_worker_on_the_newest_code(shop: User) -> None:
    """An edit of a moment ago is waited for; an error of mine is 4, one of the plugin's is 1."""
    with serving(shop):
        assert shop.types("run", "greeter", "--name", "Ada").out == '{\n  "text": "hello Ada"\n}\n'
        shop.plugin("greeter", GOODBYE)
        answer = shop.types("run", "--json", "greeter").json
        assert (answer["source"], answer["worker"], answer["result"]) == ("worker", "worker", {"text": "goodbye world"})
        assert shop.types("run", "greeter", "--nme", "Ada").code == 4
        shop.plugin("second", "def run():\n    return 1 / 0\n", {"version": "2"})
        raised = shop.types("run", "second")
        assert raised.code == 1
        assert "plugins/second/main.py:2  ZeroDivisionError" in raised.err
        assert shop.types("run", "--local", "greeter").out == '{\n  "text": "goodbye world"\n}\n'


def test_workers_lists_them(shop: User) -> None:
    """Name, process, version, and which plugins are behind the disk."""
    with serving(shop) as worker:
        shop.types("disable", "greeter")
        shop.plugin("greeter", GOODBYE)
        shown = shop.types("workers")
        assert str(worker.process.pid) in shown.out
        (found,) = shop.types("workers", "--json").json["workers"]
        assert (found["name"], found["pid"], found["behind"]) == ("worker", worker.process.pid, ["greeter"])


# -- reload, refuse, roll back ------------------------------------------------------------------


def test_r18_reload_forces_a_new_generation(shop: User) -> None:
    """Also without a change; --all takes every enabled plugin; it waits until that serves."""
    shop.plugin("off", manifest={"version": "1.0", "enabled": False})
    with serving(shop):
        one = shop.types("reload", "greeter")
        assert (one.code, one.out) == (0, "greeter: generation 2 serves\n")
        every = shop.types("reload", "--all", "--json").lines
        assert [(told["plugin"], told["outcome"], told["serving"]) for told in every] == [
            ("greeter", "reloaded", 3),
            ("second", "reloaded", 2),
        ]


def test_a_refused_reload_is_1_and_says_what_serves(shop: User) -> None:
    """Plugin, file and line, what keeps serving, what to do."""
    with serving(shop):
        shop.plugin("greeter", BROKEN)
        ran = shop.types("reload", "greeter", "second")
        assert (ran.code, ran.out) == (1, "second: generation 2 serves\n")
        assert "greeter: not reloaded, generation 1 keeps serving." in ran.err
        assert "plugins/greeter/main.py:1  SyntaxError" in ran.err
        assert shop.types("reload", "greeter", "--json").json["outcome"] == "kept"


def test_reload_needs_to_know_what(shop: User) -> None:
    """Names or --all, not both, not neither."""
    for arguments in (("reload",), ("reload", "--all", "greeter"), ("reload", "--local", "--worker", "x", "greeter")):
        assert shop.types(*arguments).code == 4, arguments
    assert reload.name == "reload"


def test_without_a_worker_nothing_pretends_to_be_done(shop: User) -> None:
    """Exit code 1, the place that was looked at, and the way out; never a silent success."""
    for command in (
        ("reload", "greeter"), ("health",), ("why", "greeter"), ("rollback", "greeter"), ("events",),
        ("stop",), ("workers",), ("metrics",), ("wait", "greeter"), ("remove", "greeter", "--yes"),
    ):  # fmt: skip
        ran = shop.types(*command)
        assert (ran.code, ran.out) == (1, ""), command
        assert "no worker answers at .hotplug/run/worker.sock" in ran.err, command
        assert "[no-worker]" in ran.err
    for on_disk in ("list", "status greeter", "run greeter", "history greeter", "check", "enable", "disable"):
        assert shop.types(*on_disk.split()).code == 0, on_disk


def test_reload_here_shows_that_it_loads_and_says_that_no_worker_was_asked(shop: User) -> None:
    """--local is an honest answer: this process, which ends."""
    ran = shop.types("reload", "greeter", "--local")
    assert ran.code == 0
    assert "no worker was asked" in ran.out
    shop.plugin("greeter", BROKEN)
    assert shop.types("reload", "--all", "--local").code == 1


def test_rollback_and_its_end(shop: User) -> None:
    """The version before serves at once, until I say otherwise."""
    with serving(shop) as worker:
        shop.plugin("greeter", GOODBYE, {"version": "2.0"})
        worker.until(event="reloaded")
        back = shop.types("rollback", "greeter")
        assert back.code == 0
        assert "version 1.0" in back.out
        assert posted(shop, "/plugins/greeter/execute").json()["result"] == {"text": "hello world"}
        assert shop.types("why", "greeter").out.startswith("rolled-back\n")
        ended = shop.types("rollback", "greeter", "--end", "--json").json
        assert (ended["outcome"], ended["version"]) == ("ended", "2.0")
        assert shop.types("rollback", "greeter", "--to", "0000000").code == 4
        assert shop.types("rollback", "greeter", "--to", "0000000", "--end").code == 4


def test_the_end_of_a_rollback_to_what_is_refused_says_that_it_is_over(shop: User) -> None:
    """No pin is left, the older version serves on, degraded; the words say both, and which line is to be mended."""
    with serving(shop) as worker:
        shop.plugin("greeter", GOODBYE, {"version": "2.0"})
        worker.until(event="reloaded")
        needs = shop.write("needed.txt", "x")
        shop.plugin("greeter", f"open({str(needs)!r}).close()\n{GREET}", {"version": "3.0"})
        worker.until(event="reloaded")
        assert shop.types("rollback", "greeter").code == 0
        needs.unlink()
        ended = shop.types("rollback", "greeter", "--end")
        assert (ended.code, ended.out) == (1, "")
        first, place, *_ = ended.err.splitlines()
        over = "the rollback is over; generation 4 keeps serving, since what lies on disk is refused."
        assert first == f"hotplug: greeter: {over}"
        assert place.startswith("  plugins/greeter/main.py:1  FileNotFoundError")
        assert shop.types("history", "greeter", "--json").json["pinned"] is None
        now = shop.types("status", "greeter", "--json").json
        assert (now["version"], now["state"]) == ("2.0", "degraded")


def test_r14_r15_disable_and_enable_are_heeded_at_once(shop: User) -> None:
    """What is disabled keeps what it serves; what waited is applied when it is enabled."""
    with serving(shop):
        said = shop.types("disable", "greeter", "--reason", "frozen", "--for", "2h")
        assert said.code == 0
        assert "greeter: paused until" in said.out
        assert "(frozen)" in said.out
        shop.plugin("greeter", GOODBYE)
        assert shop.types("run", "greeter").out == '{\n  "text": "hello world"\n}\n'
        assert shop.types("why", "greeter").out.startswith("paused\n")
        assert shop.types("enable", "greeter", "--json").json["paused"] == {}
        assert posted(shop, "/plugins/greeter/execute").json()["result"] == {"text": "goodbye world"}
        assert shop.types("disable").out.startswith("hot reload is disabled")
        assert shop.types("enable").out.startswith("hot reload is enabled")
        assert shop.types("disable", "nobody").code == 4


# -- deploy, wait, remove -----------------------------------------------------------------------


def release(user: User, main: str, version: str) -> str:
    user.write("releases/greeter/main.py", main)
    user.write("releases/greeter/plugin.json", {"name": "greeter", "version": version})
    return "releases/greeter"


def test_deploy_puts_in_place_and_waits_until_it_serves(shop: User) -> None:
    """One command: tried, exchanged, loaded; the next call is answered by the new version."""
    with serving(shop):
        ran = shop.types("deploy", "greeter", "--from", release(shop, GOODBYE, "2.0"))
        assert ran.code == 0
        assert "worker: generation 2 serves, version 2.0" in ran.out
        assert posted(shop, "/plugins/greeter/execute").json()["version"] == "2.0"
        waited = shop.types("wait", "greeter")
        assert (waited.code, "generation 2 serves" in waited.out) == (0, True)


def test_what_a_worker_refuses_is_taken_back(shop: User) -> None:
    """A version that loads in a child process and not in the worker: directory and calls are as before."""
    trap = (
        GOODBYE + "\nimport sys\nif 'pytest_hotplug.worker.process' in sys.modules:\n    raise RuntimeError('trap')\n"
    )
    with serving(shop):
        before = (shop.here / "plugins/greeter/main.py").read_bytes()
        ran = shop.types("deploy", "greeter", "--from", release(shop, trap, "2.0"))
        assert ran.code == 1
        assert "not deployed, nothing changed" in ran.err
        assert "RuntimeError: trap" in ran.err
        assert (shop.here / "plugins/greeter/main.py").read_bytes() == before
        assert sorted(path.name for path in (shop.here / "plugins").iterdir()) == ["greeter", "second"]
        assert posted(shop, "/plugins/greeter/execute").json()["version"] == "1.0"
        assert shop.types("health").code == 0


def test_run_says_when_the_newest_was_refused(shop: User) -> None:
    """The version before answers, and it is said that it did, and why; with a worker, and after it."""
    said = r"hotplug: greeter: version 1\.0 \(\w{12}\) answered; what lies on disk was refused: .*main\.py:1"
    with serving(shop):
        assert shop.types("run", "greeter").err == ""
        shop.plugin("greeter", BROKEN)
        ran = shop.types("run", "greeter")
        assert (ran.code, bool(re.search(said, ran.err))) == (0, True)
        assert "main.py:1" in shop.types("run", "--json", "greeter").json["refused"]
    ran = shop.types("run", "greeter")
    assert (ran.code, bool(re.search(said, ran.err))) == (0, True)
    told = shop.types("run", "--json", "greeter").json
    assert (told["source"], told["version"], "main.py:1" in told["refused"]) == ("disk", "1.0", True)


def test_a_run_is_told_as_who_asked(shop: User) -> None:
    """What an execution brought about says so, as the watch's reloads do."""
    with serving(shop, HOTPLUG_FORCE_POLLING="true", HOTPLUG_POLL_INTERVAL="60"):
        shop.plugin("greeter", GOODBYE)
        assert shop.types("run", "greeter").code == 0
        assert "(asked by: call)" in shop.types("events", "--tail", "1").out


def test_wait_tells_of_what_lies_on_disk_now(shop: User) -> None:
    """A refusal of what lay there before is no verdict; with --digest it is one on that version alone."""
    with serving(shop, HOTPLUG_SETTLE_MAX="5"):
        good = shop.types("digest", "greeter").out.split()[0]
        shop.plugin("greeter", BROKEN)
        broken = shop.types("digest", "greeter").out.split()[0]
        refused = shop.types("wait", "greeter", "--digest", broken)
        assert (refused.code, "refused: plugins/greeter/main.py:1" in refused.err) == (1, True)
        assert shop.types("status", "greeter", "--json").json["refused"] == broken
        other = shop.types("wait", "greeter", "--digest", "0123456", "--timeout", "0.1")
        assert "[wait-timeout]" in other.err
        for _ in range(3):
            shop.plugin("greeter", GOODBYE)
            mended = shop.types("wait", "greeter")
            assert (mended.code, "serves, version 1.0" in mended.out) == (0, True)
            shop.plugin("greeter", BROKEN)
            assert shop.types("wait", "greeter").code == 1
        shop.plugin("greeter", GREET)
        assert shop.types("wait", "greeter", "--digest", good).code == 0


@pytest.mark.parametrize("started_in", [".", "plugins"])
def test_what_a_worker_refuses_is_told_by_the_file_that_was_deployed(shop: User, started_in: str) -> None:
    """The file in place is good again by then: what is to be mended lies in the release."""
    raises = GOODBYE + "\ndef on_load(context):\n    raise RuntimeError('no licence')\n"
    shop.write("hotplug.toml", "")  # the project is the same wherever inside of it one stands
    with shop.starts("start", "--json", "-C", started_in) as worker:
        worker.until(event="serving")
        ran = shop.types("deploy", "greeter", "--from", release(shop, raises, "2.0"))
        assert ran.code == 1
        assert "\n  releases/greeter/main.py:5  RuntimeError: no licence\n" in ran.err
        assert "      raise RuntimeError('no licence')\n" in ran.err
        assert "Fix the file, then deploy it again." in ran.err
        assert "plugins/greeter" not in ran.err
        assert "raise" not in (shop.here / "plugins/greeter/main.py").read_text()


def test_wait_tells_a_refusal_and_the_end_of_its_time(shop: User) -> None:
    """It doesn't wait for what can't come."""
    with serving(shop) as worker:
        shop.plugin("greeter", BROKEN)
        worker.until(event="kept")
        refused = shop.types("wait", "greeter")
        assert refused.code == 1
        assert "greeter: refused: plugins/greeter/main.py:1" in refused.err
        late = shop.types("wait", "second", "--digest", "0123456", "--timeout", "0.1")
        assert late.code == 1
        assert "[wait-timeout]" in late.err


def test_remove_takes_it_out_of_the_worker(shop: User) -> None:
    """Its directory is gone, and nothing of it serves."""
    with serving(shop):
        ran = shop.types("remove", "second", "--yes")
        assert ran.code == 0
        assert "worker: it no longer serves" in ran.out
        assert posted(shop, "/plugins/second/execute").status_code == 404
        assert [p["name"] for p in shop.types("list", "--json").json["plugins"]] == ["greeter"]


# -- health, events, metrics --------------------------------------------------------------------


def test_r38_health_for_people_and_probes(shop: User) -> None:
    """ok is 0; degraded is 1 with the reason; live and ready are told apart."""
    with serving(shop) as worker:
        assert (shop.types("health").out, shop.types("health", "--live").out) == ("ok\n", "live (serving)\n")
        assert shop.types("health", "--ready").out == "ready\n"
        shop.plugin("greeter", BROKEN)
        worker.until(event="kept")
        sick = shop.types("health")
        assert sick.code == 1
        assert sick.out.startswith("degraded\n  greeter: plugins/greeter/main.py:1")
        assert shop.types("health", "second").code == 0
        assert shop.types("health", "greeter", "--json").json["status"] == "degraded"
        assert shop.types("health", "--ready").code == 0
        assert shop.types("health", "--live", "--ready").code == 4


def test_health_here(shop: User) -> None:
    """--local judges what would be served if a worker started now."""
    assert shop.types("health", "--local").out == "ok\n"
    shop.plugin("greeter", BROKEN)
    sick = shop.types("health", "--local")
    assert (sick.code, sick.out.splitlines()[0]) == (1, "failed")


def test_why_says_that_a_call_is_what_the_next_attempt_waits_for(shop: User) -> None:
    """Once the pause after an exception at import is over; "in 0 s" would be said for as long as nobody calls."""
    with serving(shop):
        shop.plugin("greeter", "raise OSError('no database yet')\n")
        assert shop.types("wait", "greeter").code == 1
        eventually(lambda: asked(shop, "/plugins/greeter/why").json()["next_try"] == 0)
        assert (
            shop.types("why", "greeter").out.splitlines()[-1] == "  tried again at the next call, and when it changes"
        )


def test_events_are_kept_over_restarts_with_who_asked(shop: User) -> None:
    """Each line says when, where, what, and who asked for it."""
    with serving(shop) as worker:
        shop.types("reload", "greeter")
        worker.end(signal.SIGTERM)
    with serving(shop):
        told = shop.types("events", "greeter", "--json").lines
        assert [event["kind"] for event in told if event["kind"] == "loaded"] == ["loaded"] * 3
        assert told[0]["asked_by"] == "start"
        assert told[1]["asked_by"].startswith("reload by uid ")
        assert all(event["worker"] == "worker" for event in told)
        assert len(shop.types("events", "--tail", "2").out.splitlines()) == 2
        assert shop.types("events", "--since", "0.001s").out == ""
        assert shop.types("events", "--since", "soon").code == 4
    assert shop.types("events", "greeter", "--local").code == 0


def test_events_follow_what_happens(shop: User) -> None:
    """-f goes on until the worker ends."""
    with serving(shop) as worker, shop.starts("events", "-f", "--json", "--tail", "1") as following:
        following.line()
        reloading = threading.Thread(target=shop.types, args=("reload", "second"))
        reloading.start()
        assert following.until(kind="loaded", plugin="second", generation=2)["source"] == "worker"
        reloading.join()
        worker.end(signal.SIGTERM)
        assert following.process.wait(60) == 0


def test_events_between_the_past_and_the_stream_are_told_once(shop: User, capsys: pytest.CaptureFixture[str]) -> None:
    """What happens while -f asks for the past is neither missed nor told twice."""
    with serving(shop) as worker:

        class Eventful(Client):
            """A worker of which something becomes just before, and just after, it tells the past."""

            def ask(self, *arguments: Any, **named: Any) -> Reply:
                shop.plugin("greeter", GOODBYE)
                posted(shop, "/plugins/greeter/reload")
                reply = super().ask(*arguments, **named)
                shop.plugin("greeter", GREET)
                posted(shop, "/plugins/greeter/reload")
                worker.process.send_signal(signal.SIGTERM)
                return reply

        assert _follow([Eventful("worker", socket_of(shop))], {}, as_json=True) == 0
        told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    loaded = [event["generation"] for event in told if (event["plugin"], event["kind"]) == ("greeter", "loaded")]
    assert loaded == [1, 2, 3]


def test_events_of_the_past_and_of_the_stream_are_told_once(shop: User) -> None:
    """Who asks the worker itself for both gets each event once; a plugin that nobody knows is refused."""
    with serving(shop):
        with (
            client(shop) as open_client,
            open_client.stream("GET", "/events", params={"follow": 1, "since": 0}) as stream,
        ):
            lines = (line for line in stream.iter_lines() if line.startswith("data: "))
            told = [json.loads(next(lines).removeprefix("data: ")) for _ in range(2)]
            shop.plugin("greeter", GOODBYE)
            posted(shop, "/plugins/greeter/reload")
            told.append(json.loads(next(lines).removeprefix("data: ")))
        assert [(event["plugin"], event["generation"]) for event in told] == [
            ("greeter", 1),
            ("second", 1),
            ("greeter", 2),
        ]
        assert asked(shop, "/events", follow=1, plugin="greter").status_code == 404


def test_events_that_a_worker_refuses_to_follow_are_a_refusal(shop: User) -> None:
    """A worker that has readers enough is exit code 1, with the reason for people and for programs."""
    with serving(shop), ExitStack() as readers:
        for _ in range(MOST_READERS):
            following = readers.enter_context(client(shop))
            readers.enter_context(following.stream("GET", "/events", params={"follow": "1"}))
        refused = shop.types("events", "-f", "--tail", "0")
        assert (refused.code, refused.out) == (1, "")
        assert "[worker-busy]" in refused.err
        told = shop.types("events", "-f", "--tail", "0", "--json").json
        assert (told["exit_code"], "[worker-busy]" in told["error"]) == (1, True)


def test_events_of_a_plugin_that_nobody_knows_are_a_usage_error(served: User) -> None:
    """As with every other command that takes a name."""
    assert served.types("events", "greter").code == 4
    assert served.types("events", "greter", "--json").json["exit_code"] == 4


def test_metrics_are_prometheus_text(shop: User) -> None:
    """By the promised names, for a scraper that has no socket."""
    with serving(shop):
        posted(shop, "/plugins/greeter/execute")
        ran = shop.types("metrics")
        assert ran.code == 0
        assert 'hotplug_calls_total{plugin="greeter",result="ok"} 1.0' in ran.out
        assert "hotplug_watcher_up 1.0" in ran.out


# -- several workers ----------------------------------------------------------------------------


def test_commands_address_every_worker_of_the_state_directory(shop: User) -> None:
    """A row each; --worker takes some; an unknown one is named; one that refuses is exit code 1."""
    with serving(shop, "--worker", "blue"), serving(shop, "--worker", "green"):
        rows = shop.types("list").out.splitlines()
        assert rows[0].split()[0] == "worker"
        assert {row.split()[0] for row in rows[1:]} == {"blue", "green"}
        both = shop.types("reload", "greeter")
        assert both.out == "blue: greeter: generation 2 serves\ngreen: greeter: generation 2 serves\n"
        one = shop.types("reload", "greeter", "--worker", "green")
        assert one.out == "greeter: generation 3 serves\n"
        unknown = shop.types("status", "greeter", "--worker", "gren")
        assert unknown.code == 1
        assert "did you mean 'green'?" in unknown.err
        assert {told["worker"] for told in shop.types("run", "--json", "greeter").lines} == {"blue", "green"}
        metrics = shop.types("metrics").out
        assert 'hotplug_watcher_up{worker="blue"} 1.0' in metrics
        assert 'hotplug_watcher_up{worker="green"} 1.0' in metrics
        assert {w["name"] for w in shop.types("workers", "--json").json["workers"]} == {"blue", "green"}
        stopped = shop.types("stop", "--worker", "blue")
        assert (stopped.code, stopped.out) == (0, "worker blue has stopped\n")
        assert [w["name"] for w in shop.types("workers", "--json").json["workers"]] == ["green"]
        assert shop.types("stop", "--json").json["stopped"] is True


def test_completion_knows_workers(shop: User) -> None:
    """--worker <TAB> offers those that run."""
    with serving(shop, "--worker", "blue"):
        words = shop.types(COMP_WORDS="hotplug reload --worker ", COMP_CWORD="3", _HOTPLUG_COMPLETE="bash_complete").out
        assert "blue" in words


def test_a_plugin_whose_directory_is_gone_is_shown_until_it_is_removed(shop: User) -> None:
    """It serves on from memory, `list` and `why` say so, and `remove` ends it although nothing lies on disk."""
    with serving(shop):
        for name in ("greeter", "second"):
            shutil.rmtree(shop.here / "plugins" / name)
        assert shop.types("run", "greeter").code == 0
        listed = shop.types("list", "--json")
        assert (listed.code, [plugin["name"] for plugin in listed.json["plugins"]]) == (0, ["greeter", "second"])
        why = shop.types("why", "second").out.splitlines()
        assert why[0] == "unreadable"
        assert "is gone" in why[1]
        removed = shop.types("remove", "greeter", "--yes")
        assert (removed.code, removed.out) == (0, "greeter: no longer serves\n")
        assert [plugin["name"] for plugin in shop.types("list", "--json").json["plugins"]] == ["second"]
        assert shop.types("remove", "greter", "--yes").code == 4


def test_the_end_of_a_rollback_of_what_is_disabled_says_that_nothing_serves(shop: User) -> None:
    """Disabled by its manifest it serves nothing, and has no version to name."""
    with serving(shop):
        shop.plugin("second", manifest={"version": "1.0", "enabled": False})
        assert shop.types("reload", "second").code == 0
        ended = shop.types("rollback", "second", "--end")
        assert (ended.code, ended.out) == (0, "second: nothing serves, and no rollback lasts\n")


def test_a_deployment_whose_worker_ends_is_taken_back(shop: User) -> None:
    """A version that takes the process along as it starts was tried by nobody: the one before lies there again."""
    deadly = "import os\n\ndef on_load():\n    os._exit(9)\n\ndef run():\n    return 2\n"
    shop.write("new/main.py", deadly)
    shop.write("new/plugin.json", {"version": "2.0"})
    before = (shop.here / "plugins/greeter/main.py").read_bytes()
    with serving(shop) as worker:
        ran = shop.types("deploy", "greeter", "--from", "new")
        assert (ran.code, ran.out) == (1, "")
        assert "[worker-gone]" in ran.err
        assert worker.process.wait(60) == 9
    assert (shop.here / "plugins/greeter/main.py").read_bytes() == before
    assert sorted(path.name for path in (shop.here / "plugins").iterdir()) == ["greeter", "second"]
    with serving(shop):
        assert shop.types("status", "greeter", "--json").json["version"] == "1.0"


@pytest.mark.parametrize("probe", ["--live", "--ready"])
def test_a_probe_of_a_worker_that_hangs_fails(shop: User, probe: str) -> None:
    """Whoever restarts workers that don't answer must hear of it, and not hang as well."""
    with serving(shop) as worker:
        worker.process.send_signal(signal.SIGSTOP)
        try:
            ran = shop.types("health", probe)
        finally:
            worker.process.send_signal(signal.SIGCONT)
        assert (ran.code, ran.out) == (1, "")
        assert "worker worker" in ran.err


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can let another process's disk be full")
def test_what_can_not_be_remembered_is_said_when_it_is_asked_for(shop: User) -> None:
    """With a full disk a rollback and a pause hold in the worker; that a restart would forget them is no surprise."""
    with serving(shop) as worker:
        shop.plugin("greeter", GOODBYE, {**MANIFEST, "version": "2.0"})
        assert shop.types("reload", "greeter").code == 0
        with full_disk(worker.process.pid):
            for command in (("rollback", "greeter"), ("disable", "second")):
                ran = shop.types(*command)
                assert ran.code == 0
                assert "hotplug: warning: until it can be written down it is lost at a restart" in ran.err
            assert shop.types("run", "greeter").json == {"text": "hello world"}
        assert shop.types("disable", "second").err == ""
        worker.end(signal.SIGKILL)
    with serving(shop):
        assert shop.types("status", "greeter", "--json").json["state"] == "rolled-back"
        assert shop.types("status", "second", "--json").json["state"] == "paused"
