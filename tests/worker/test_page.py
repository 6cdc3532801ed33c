"""The status page: who may see it, what it shows in a real browser, and that it never stands in the way."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import re
import signal
import socket
import stat
import tempfile
import threading
import time
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import httpx
import pytest

from pytest_hotplug import PluginManager
from pytest_hotplug.reloader.errors import HotplugError
from pytest_hotplug.worker.journal import Feed
from pytest_hotplug.worker.page import Page, listen
from pytest_hotplug.worker.service import Service
from tests.cli.terminal import GREET, PATIENCE, User
from tests.safety.browser import Tab, browser
from tests.testing.watched import delete
from tests.worker.serving import asked, posted, serving, socket_of
from tests.worker.test_worker import WAITS

pytestmark = pytest.mark.skipif(os.name != "posix", reason="workers are commanded over unix sockets")
BROKEN = "def run(:\n"
EVIL = "<img src=x onerror=alert(1)><script>throw Error('ran')</script>"


def address_of(user: User) -> str:
    """Return the address with the token, as `hotplug workers` shows it."""
    return str(user.types("workers", "--json").json["workers"][0]["page"])


def parts_of(address: str) -> tuple[str, str]:
    """Return the origin and the token."""
    origin, _, token = address.partition("/?token=")
    return origin, token


@contextlib.contextmanager
def let_in(address: str) -> Iterator[httpx.Client]:
    """Give a client that has exchanged the token for the cookie."""
    with httpx.Client(base_url=parts_of(address)[0], timeout=PATIENCE) as known:
        assert known.get(address).status_code == 303
        yield known


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[User, str]]:
    """Give the tests one worker with a page, which they leave as it is, and the page's address."""
    user = User(Path(tempfile.mkdtemp(prefix="hp-")))
    user.plugin("greeter")
    try:
        with serving(user, "--page", "0"):
            yield user, address_of(user)
    finally:
        delete(user.here)


# -- who may see it -----------------------------------------------------------------------------


def test_the_start_tells_the_address_and_workers_shows_it_again(user: User) -> None:
    """I click what `hotplug start` printed; who lost it asks `hotplug workers`, and no log file has it."""
    user.plugin("greeter")
    with user.starts("start", "--json", "--page", "0") as worker:
        told = worker.until(event="serving")
        address = told["page"]
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/\?token=[\w-]{43}", address)
        assert address in told["text"]
        assert address_of(user) == address
        assert asked(user, "/worker").json()["page"] == address
        assert httpx.get(address).status_code == 303
        assert worker.end(signal.SIGTERM) == 0
    written = "".join(path.read_text() for path in (user.here / "logs").iterdir())
    assert "hotplug.serving" in written
    assert parts_of(address)[1] not in written
    assert "token" not in written


def test_a_token_is_exchanged_for_a_cookie_that_no_script_reads(shown: tuple[User, str]) -> None:
    """The token leaves the address bar; the cookie is HttpOnly, of this site alone, and not the token."""
    answer = httpx.get(shown[1])
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= {part.strip() for part in cookie.split(";")}
    assert parts_of(shown[1])[1] not in cookie
    with let_in(shown[1]) as known:
        assert known.get("/").status_code == 200
        assert known.get("/", params={"token": "of yesterday"}).headers["location"] == "/"


@pytest.mark.parametrize(
    "path", ["/", "/plugins", "/events", "/no/such", "/?token=", "/?token=wrong", "/%ff?token=%ff"]
)
@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "OPTIONS", "DELETE"])
def test_without_token_or_cookie_everything_is_refused(shown: tuple[User, str], method: str, path: str) -> None:
    """Another user of this machine learns nothing, not even which addresses there are."""
    origin, token = parts_of(shown[1])
    port = origin.rpartition(":")[2]
    cookies: tuple[dict[str, str], ...] = ({}, {"cookie": "hotplug-page=x"}, {"cookie": f"hotplug-page-{port}=\xe9"})
    for headers in cookies:
        with httpx.Client(base_url=origin) as stranger:
            raw = {name.encode(): value.encode("latin-1") for name, value in headers.items()}
            answer = stranger.request(method, path, headers=raw)
        assert answer.status_code == 403
        assert token not in answer.text


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1", "localhost", "127.0.0.1:1", "", "[::1]:{port}"]
)
def test_a_foreign_name_is_refused_even_with_the_token(shown: tuple[User, str], host: str) -> None:
    """A page whose name was turned to 127.0.0.1 does not get in with my browser's cookie."""
    origin, _ = parts_of(shown[1])
    headers = {"host": host.format(port=origin.rpartition(":")[2])}
    with let_in(shown[1]) as known:
        assert known.get("/plugins", headers=headers).status_code == 403
        assert known.get(shown[1], headers=headers).status_code == 403
        assert (
            known.get("/plugins", headers={"host": origin.replace("http://127.0.0.1", "localhost")}).status_code == 200
        )


def test_a_request_without_a_host_or_with_two_is_refused(shown: tuple[User, str]) -> None:
    """There is no way around the name."""
    origin, token = parts_of(shown[1])
    place = origin.removeprefix("http://")
    for hosts in ("", f"Host: {place}\r\nHost: evil.example\r\n"):
        with socket.create_connection(("127.0.0.1", int(place.partition(":")[2])), timeout=30) as raw:
            raw.sendall(f"GET /?token={token} HTTP/1.0\r\n{hosts}\r\n".encode())
            answer = raw.recv(65536)
        assert re.match(rb"HTTP/1\.[01] 40[03] ", answer), answer
        assert b"set-cookie" not in answer.lower()


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "HEAD", "OPTIONS"])
def test_the_page_only_shows(shown: tuple[User, str], method: str) -> None:
    """Nothing can be done over it, also by who is let in."""
    with let_in(shown[1]) as known:
        for path in ("/", "/plugins", "/plugins/greeter/reload", "/stop"):
            assert known.request(method, path).status_code == 405
        assert known.get("/stop").status_code == 404
        assert known.get("/worker").status_code == 404


@pytest.mark.parametrize("path", ["/", "/plugins", "/no/such"])
def test_every_answer_is_shut(shown: tuple[User, str], path: str) -> None:
    """Not stored, not framed, not guessed at, and scripts run only as they stand in the page."""
    origin, _ = parts_of(shown[1])
    with let_in(shown[1]) as known:
        for answer in (known.get(path), httpx.get(origin + path)):
            assert answer.headers["cache-control"] == "no-store"
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["referrer-policy"] == "no-referrer"
            policy = answer.headers["content-security-policy"]
            assert policy.startswith("default-src 'none'; connect-src 'self'")
            assert "unsafe" not in policy
            assert len(re.findall("'sha256-", policy)) == 2
            assert "access-control-allow-origin" not in answer.headers


def test_only_this_machine_reaches_the_port(shown: tuple[User, str]) -> None:
    """The socket is bound to 127.0.0.1: at the machine's other addresses nobody listens."""
    port = int(parts_of(shown[1])[0].rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=30):
        pass
    with socket.socket() as other:
        other.settimeout(5)
        with pytest.raises(OSError, match=r"refused|timed out|assign"):
            other.connect(("127.0.0.2", port))


def test_the_key_of_the_cookie_is_its_users_alone(user: User) -> None:
    """It lies beside the socket, 0600; one that others could read or that is no key is not taken."""
    user.plugin("greeter")
    path = socket_of(user).with_suffix(".page")
    keys = []
    for mode in (0o600, 0o644, 0o600):
        with serving(user, "--page", "0") as worker:
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            keys.append(path.read_text())
            worker.end(signal.SIGTERM)
        path.chmod(mode)
    assert keys[0] == keys[1] != keys[2], "kept over a restart, until others could read it"
    path.unlink()
    path.symlink_to(user.write("somebody's", keys[0]))
    with serving(user, "--page", "0"):
        assert not path.is_symlink()
        assert path.read_text() not in keys
    os.utime(path, (time.time() - 8 * 24 * 3600,) * 2)
    old = path.read_text()
    with serving(user, "--page", "0"):
        assert path.read_text() != old, "a week is over"


# -- what it tells ------------------------------------------------------------------------------


def test_it_tells_what_the_socket_tells_but_not_the_token(shown: tuple[User, str]) -> None:
    """The plugins are the same facts; the address with the token is none of them."""
    user, address = shown
    with let_in(address) as known:
        told = known.get("/plugins")
    assert told.json()["plugins"] == asked(user, "/plugins").json()["plugins"]
    assert told.json()["worker"] == "worker"
    assert parts_of(address)[1] not in told.text


def events(lines: Iterator[str]) -> Iterator[tuple[str, Any]]:
    """Yield server-sent events: name and data."""
    name = "message"
    for line in lines:
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))
            name = "message"


def test_events_begin_with_the_past_and_go_on(user: User) -> None:
    """Each is told once, with its reason."""
    user.plugin("greeter")
    with serving(user, "--page", "0"), let_in(address_of(user)) as known, known.stream("GET", "/events") as stream:
        told = events(stream.iter_lines())
        name, past = next(told)
        assert (name, [event["kind"] for event in past]) == ("past", ["loaded"])
        user.plugin("greeter", BROKEN)
        name, event = next(told)
        assert (name, event["kind"], event["plugin"], event["slug"]) == (
            "message",
            "refused",
            "greeter",
            "syntax-error",
        )


# -- it never stands in the way -----------------------------------------------------------------


def test_a_port_in_use_is_told_before_anything_serves(user: User) -> None:
    """One line with the remedy; no plugin ran, and nothing is left behind."""
    user.plugin("greeter", "import pathlib\npathlib.Path(__file__).with_name('ran').touch()\n" + GREET)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ran = user.types("start", "--page", str(port))
    assert (ran.code, ran.out) == (1, "")
    assert f"port {port} of the status page is in use; choose another one" in ran.err
    assert "[page-port-in-use]" in ran.err
    assert not (user.here / "plugins/greeter/ran").exists()
    assert sorted(path.name for path in socket_of(user).parent.iterdir()) == ["worker.lock"]


def test_a_port_that_the_system_refuses_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ports under 1024 are not everybody's: the line says what the system says."""

    def refuse(self: socket.socket, address: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", refuse)
    with pytest.raises(HotplugError, match=r"port 80 for the status page: Permission denied \[cannot-listen\]"):
        listen(80)


def test_open_pages_do_not_hold_up_the_end(user: User) -> None:
    """Their streams tell the last events and end by themselves; the worker stops as if there were none."""
    user.plugin("greeter")
    with serving(user, "--page", "0") as worker, let_in(address_of(user)) as known:
        with known.stream("GET", "/events") as first, known.stream("GET", "/events") as second:
            lines = first.iter_lines(), second.iter_lines()
            assert [next(events(one))[0] for one in lines] == ["past", "past"]
            began = time.monotonic()
            worker.process.send_signal(signal.SIGTERM)
            worker.until(event="stopped")
            assert time.monotonic() - began < 2.0, "less than what a server grants those that do not end"
            for one in lines:  # raises where it is broken off
                assert [event["kind"] for _, event in events(one)][:1] == ["unloaded"]
        assert worker.process.wait(PATIENCE) == 0
    assert sorted(path.name for path in socket_of(user).parent.iterdir()) == ["worker.lock", "worker.page"]


def test_a_page_that_asks_until_the_end_is_no_error(user: User) -> None:
    """What is asked while the worker stops is answered or refused, and its error log stays empty."""
    user.plugin("slow", "def on_unload():\n    import time\n    time.sleep(0.5)\n" + GREET)
    codes = set()
    with serving(user, "--page", "0") as worker, let_in(address_of(user)) as known:
        worker.process.send_signal(signal.SIGTERM)
        with contextlib.suppress(httpx.TransportError):  # until nobody listens any more
            while True:
                codes.add(known.get("/plugins").status_code)
                with known.stream("GET", "/events") as stream:
                    codes.add(stream.status_code)
                    next(stream.iter_lines(), "")
        assert worker.process.wait(PATIENCE) == 0
    assert 200 in codes <= {200, 503}
    assert (user.here / "logs/error.log").read_text() == ""


def test_a_stream_that_begins_at_the_end_ends_at_once(user: User) -> None:
    """Who connects between the last event and the server's end is not waited for."""
    user.plugin("greeter")
    with PluginManager(plugin_dirs=[str(user.here / "plugins")]) as manager, listen(0) as ours:
        page = Page(Service(manager, "worker"), Feed(manager, "worker"), ours, user.here / "worker.page")
        page.close()

        async def read() -> list[bytes]:
            return [part async for part in page._stream()]

        async def read_in_time() -> list[bytes]:
            return await asyncio.wait_for(read(), PATIENCE)

        assert asyncio.run(read_in_time()) == []


def test_calls_are_seen_while_they_run(user: User) -> None:
    """The page is answered while every thread for calls is busy."""
    user.plugin("slow", WAITS)
    with serving(user, "--page", "0", "--threads", "1") as _, let_in(address_of(user)) as known:
        call = threading.Thread(target=posted, args=(user, "/plugins/slow/execute"))
        call.start()
        wait_until(lambda: (user.here / "plugins/slow/begun.txt").exists())
        assert [plugin["in_flight"] for plugin in known.get("/plugins").json()["plugins"]] == [1]
        (user.here / "plugins/slow/go.txt").touch()
        call.join()


# -- in a real browser --------------------------------------------------------------------------


def wait_until(holds: Any) -> Any:
    """Ask until it holds, and return what it gave; nobody tells us when a page has drawn."""
    deadline = time.monotonic() + PATIENCE
    while not (found := holds()):
        assert time.monotonic() < deadline, "never came to be"
        time.sleep(0.02)
    return found


def visits(tab: Tab, address: str, *, width: int = 1100, dark: bool = False) -> None:
    """Open an address in a window of so many pixels."""
    scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
    tab.call("Emulation.setEmulatedMedia", features=scheme)
    tab.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600)
    tab.call("Page.navigate", url=address)
    wait_until(lambda: tab.evaluates("document.readyState") == "complete")


def is_live(tab: Tab) -> None:
    wait_until(lambda: tab.evaluates("document.getElementById('link')?.className") == "live")


def cells(tab: Tab, name: str) -> dict[str, str]:
    """Return what the table shows of a plugin."""
    said = tab.evaluates(
        "(name => {const row = [...document.querySelectorAll('#rows tr')].find(r => r.cells[0].textContent === name);"
        " return row ? JSON.stringify(Object.fromEntries([...row.cells].slice(1).map("
        f"c => [c.dataset.label, c.textContent]))) : '{{}}'}})({json.dumps(name)})"
    )
    shown: dict[str, str] = json.loads(said)
    return shown


def timeline(tab: Tab) -> list[str]:
    """Return the rows of the timeline, the newest first."""
    rows: list[str] = tab.evaluates("[...document.querySelectorAll('#timeline li')].map(r => r.textContent)")
    return rows


def test_a_browser_shows_plugins_an_edit_and_a_refusal_as_they_happen(user: User, tmp_path: Path) -> None:
    """I leave the page open and edit: it follows without a reload of mine, silently, and asks nobody else."""
    user.plugin("greeter")
    user.plugin("broken", BROKEN)
    with serving(user, "--page", "0"), browser(tmp_path / "profile") as tab:
        address = address_of(user)
        origin, token = parts_of(address)
        visits(tab, address)
        is_live(tab)
        assert token not in tab.evaluates("location.href")
        assert tab.evaluates("document.cookie") == ""
        facts = asked(user, "/plugins/greeter").json()
        told = cells(tab, "greeter")
        assert (told["state"], told["version"], told["generation"]) == ("serving", "1.0", "1")
        assert (told["digest"], told["reloads"]) == (facts["digest"][:12], "0")
        assert (told["calls in flight"], told["old generations alive"], told["last error"]) == ("0", "0", "–")
        assert "[syntax-error]" in cells(tab, "broken")["last error"]
        before = timeline(tab)
        assert len(before) == 2

        user.plugin("greeter", GREET.replace("hello", "goodbye"))
        wait_until(lambda: cells(tab, "greeter")["generation"] == "2")
        wait_until(lambda: any("loaded" in row and "greeter" in row for row in timeline(tab)[: -len(before)]))
        user.plugin("greeter", BROKEN)
        wait_until(lambda: cells(tab, "greeter")["state"] == "degraded")
        newest = wait_until(lambda: [row for row in timeline(tab)[:1] if "refused" in row])[0]
        assert "✕" in newest, "told apart by a sign and a word, not by colour alone"
        assert "[syntax-error]" in newest
        assert cells(tab, "greeter")["generation"] == "2"
        assert tab.complaints == []
        assert {request.partition("?")[0] for request in tab.requests if not request.startswith("data:")} == {
            f"{origin}/", f"{origin}/plugins", f"{origin}/events",
        }  # fmt: skip


def test_it_is_readable_on_a_phone_and_in_the_dark(user: User, tmp_path: Path) -> None:
    """Nothing is wider than the window, and both schemes have their colours, also with the longest texts."""
    user.plugin("greeter")
    user.plugin("a" * 60, "raise RuntimeError('x' * 500)\n" + GREET)
    colours = set()
    with serving(user, "--page", "0"), browser(tmp_path / "profile") as tab:
        address = address_of(user)
        for width in (320, 1056, 1060):  # a phone, the widest cards, the narrowest table
            for dark in (False, True):
                visits(tab, address, width=width, dark=dark)
                is_live(tab)
                tab.evaluates("document.querySelectorAll('details').forEach(d => d.open = true)")
                assert tab.evaluates("document.documentElement.scrollWidth") <= width
                assert tab.evaluates("window.innerWidth") == width
                colours.add(tab.evaluates("getComputedStyle(document.body).backgroundColor"))
        assert len(colours) == 2, "light and dark"
        assert tab.complaints == []


def test_what_plugins_say_is_text(user: User, tmp_path: Path) -> None:
    """A version or an error that looks like HTML is shown as it is, and runs nowhere."""
    user.plugin("evil", f"raise RuntimeError({EVIL!r})\n" + GREET, {"version": "1.0"})
    with serving(user, "--page", "0"), browser(tmp_path / "profile") as tab:
        visits(tab, address_of(user))
        is_live(tab)
        wait_until(lambda: EVIL in cells(tab, "evil").get("last error", ""))
        assert EVIL in timeline(tab)[0]
        assert tab.evaluates("document.images.length + document.scripts.length") == 1
        assert tab.complaints == []


def test_readers_of_screens_get_a_table_with_heads(shown: tuple[User, str], tmp_path: Path) -> None:
    """Also where it is laid out as cards: each cell has its row's and its column's head."""
    with browser(tmp_path / "profile") as tab:
        visits(tab, shown[1], width=320)
        is_live(tab)
        nodes = tab.call("Accessibility.getFullAXTree")["nodes"]
    found = [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes if not node["ignored"]]
    roles = [role for role, _ in found]
    assert ("heading", "Worker worker") in found
    assert ("heading", "Timeline") in found
    assert (roles.count("table"), roles.count("columnheader")) == (1, 10)
    assert ("rowheader", "greeter") in found
    assert "status" in roles


def test_the_page_says_that_the_worker_is_gone_and_finds_the_next_one(user: User, tmp_path: Path) -> None:
    """After a restart on the same port it goes on by itself: the browser is known, though the token is a new one."""
    user.plugin("greeter")
    with browser(tmp_path / "profile") as tab:
        with serving(user, "--page", "0") as worker:
            address = address_of(user)
            visits(tab, address)
            is_live(tab)
            tab.evaluates("window.untouched = true")
            worker.end(signal.SIGTERM)
        wait_until(lambda: "The worker is gone" in tab.evaluates("document.getElementById('link').textContent"))
        user.plugin("second")
        port = parts_of(address)[0].rpartition(":")[2]
        with serving(user, "--page", port):
            is_live(tab)
            wait_until(lambda: cells(tab, "second").get("state") == "serving")
            assert any("second" in row for row in timeline(tab))
            assert httpx.get(address).status_code == 403, "the old token is worth nothing"
        wait_until(lambda: "The worker is gone" in tab.evaluates("document.getElementById('link').textContent"))
        socket_of(user).with_suffix(".page").unlink()
        with serving(user, "--page", port):
            wait_until(lambda: "hotplug workers" in tab.evaluates("document.getElementById('link').textContent"))
        assert tab.evaluates("window.untouched") is True, "never loaded anew"


def test_the_timeline_is_bounded(shown: tuple[User, str], tmp_path: Path) -> None:
    """A page that is open for weeks keeps the newest 200 rows."""
    with browser(tmp_path / "profile") as tab:
        visits(tab, shown[1])
        is_live(tab)
        tab.evaluates("for (let n = 1; n <= 250; n++) happened({plugin: `p${n}`, kind: 'loaded', at: n})")
        rows = timeline(tab)
    assert len(rows) == 200
    assert "p250" in rows[0]
    assert "p51" in rows[-1]


def test_the_page_has_the_colours_of_the_report() -> None:
    """One look: the palette stands in both files, and is the same."""
    page = files("pytest_hotplug.worker").joinpath("status_page.html").read_text(encoding="utf-8")
    report = files("pytest_hotplug.safety.report").joinpath("page.css").read_text(encoding="utf-8")
    palette = report.partition("* {")[0]
    assert palette.count("--") > 20
    assert palette in page
