"""The control channel: who gets in, what may be asked, and what is answered to everything else."""

from __future__ import annotations

import json
import os
import shutil
import socket
import stat
import subprocess
import threading
from pathlib import Path

import pytest

from pytest_hotplug.reloader.errors import HotplugError
from pytest_hotplug.worker import listening
from pytest_hotplug.worker.openapi import ENDPOINTS
from pytest_hotplug.worker.run_dir import answers
from tests.cli.terminal import User
from tests.worker.serving import asked, client, posted, serving, socket_of

pytestmark = pytest.mark.skipif(os.name != "posix", reason="workers are commanded over unix sockets")
SLOWLY = 6.0  # seconds after which a request that never came is over, with room


# -- who gets in --------------------------------------------------------------------------------


def test_s29_only_its_user_reaches_the_socket(user: User) -> None:
    """The socket is 0600 in a directory that is 0700, whatever the umask."""
    user.plugin("greeter")
    with serving(user):
        path = socket_of(user)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_s29_nobody_gets_in_before_the_socket_is_closed_to_others(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between bind and chmod a connection is refused: it does not listen yet."""
    path = user.here / "x.sock"
    seen: list[str] = []
    real = os.chmod

    def chmod(target: str | Path, mode: int) -> None:
        with socket.socket(socket.AF_UNIX) as early:
            with pytest.raises(ConnectionRefusedError):
                early.connect(str(path))
            seen.append("refused")
        real(target, mode)

    monkeypatch.setattr(os, "chmod", chmod)
    ours = listening.listen(path)
    listening.close(ours, path, os.lstat(path).st_ino)
    assert seen == ["refused"]
    assert not path.exists()


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="becomes another user, which only root can")
def test_s30_another_user_is_let_go_before_a_byte_is_read(user: User) -> None:
    """Even where the modes would let them: the system says who they are."""
    user.plugin("greeter")
    with serving(user):
        path = socket_of(user)
        os.chmod(path, 0o666)
        for place in (user.here, user.here / ".hotplug", path.parent):
            os.chmod(place, 0o755)
        code = (
            "import socket, sys\n"
            "s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.settimeout(30)\n"
            "try:\n"
            "    s.sendall(b'GET /health HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n')\n"
            "    print(len(s.recv(100)))\n"
            "except (BrokenPipeError, ConnectionResetError):\n    print(0)\n"
        )
        python = shutil.which("python3", path="/usr/bin:/bin") or "python3"
        ran = subprocess.run(
            [python, "-c", code, str(path)], user=65534, group=65534, extra_groups=[], cwd="/", capture_output=True,
            text=True, timeout=60,
        )  # fmt: skip
        if "No module" in ran.stderr or (ran.returncode != 0 and "ermission" in ran.stderr):
            pytest.skip("no Python that another user may run")
        assert (ran.stdout.strip(), ran.stderr) == ("0", "")
        assert asked(user, "/health").status_code == 200
    log = (user.here / "logs" / "app.log").read_text()
    assert "hotplug.peer_refused" in log
    assert "uid 65534" in log


@pytest.mark.parametrize("kind", ["file", "link", "listener"])
def test_s31_what_is_not_ours_is_not_touched(user: User, kind: str) -> None:
    """A file, a link or somebody's socket at our place is named, and stays as it is."""
    path = user.here / "w.sock"
    other = socket.socket(socket.AF_UNIX)
    if kind == "file":
        path.write_text("precious")
    elif kind == "link":
        (user.here / "target").write_text("precious")
        path.symlink_to(user.here / "target")
    else:
        other.bind(str(path))
        other.listen()
    inode = os.lstat(path).st_ino
    with other, pytest.raises(HotplugError, match=r"\[socket-in-the-way\]"):
        listening.listen(path)
    assert os.lstat(path).st_ino == inode


def test_s31_what_a_killed_worker_left_is_replaced(user: User) -> None:
    """A socket at which nobody listens, and that is ours, is no obstacle."""
    path = user.here / "w.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    ours = listening.listen(path)
    assert answers(path)
    listening.close(ours, path, os.lstat(path).st_ino)
    assert not path.exists()


def test_a_path_that_no_system_takes_is_named(user: User) -> None:
    """A deep project gets a remedy, not the system's number."""
    with pytest.raises(HotplugError, match=r"choose a shorter state_dir.*\[socket-path-too-long\]"):
        listening.listen(user.here / ("d" * 100) / "w.sock")


# -- what may be asked --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"[]", "expected an object, got an array"),
        (b'{"parameters": {}, "parameters": {}}', "stands twice"),
        (b'{"parameters": {"n": NaN}}', "NaN is no JSON number"),
        (b'{"parameters": {"n": 99999999999999999999999}}', "does not fit into 64 bits"),
        (b'{"parameters": ' + b'{"a": ' * 40 + b"1" + b"}" * 40 + b"}", "nested deeper"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
        (b'{"parameters": "\xff"}', "is not UTF-8"),
        (b'{"parameters": {"n": "\\ud800"}}', "lone surrogate"),
        (b'{"paramters": {}}', "did you mean 'parameters'?"),
        (b'{"newest": "yes"}', "Expected `bool`, got `str`"),
        (b"{" + b" " * 70_000 + b"}", "larger than 65,536 bytes"),
        (b"__import__('os')", "is no JSON"),
    ],
)
def test_s32_a_body_that_is_not_strict_json_is_refused(served: User, body: bytes, said: str) -> None:
    """The same rules as for a manifest; nothing was executed."""
    answer = posted(served, "/plugins/greeter/execute", content=body)
    assert (answer.status_code, answer.json()["slug"], answer.json()["exit_code"]) == (400, "bad-request", 4)
    assert said in answer.json()["error"]


def test_s32_unknown_addresses_and_methods_are_refused_in_json(served: User) -> None:
    """A closed list: anything else says where the list is."""
    for method, path, code in (
        ("GET", "/no/such", 404),
        ("POST", "/health", 405),
        ("GET", "/plugins/greeter/stop", 404),
    ):
        with client(served) as open_client:
            answer = open_client.request(method, path)
        assert (answer.status_code, answer.json()["slug"]) == (code, "no-such-route"), path


def test_s32_names_are_looked_up_and_never_joined_to_a_path(served: User) -> None:
    """What can't be a plugin's name is refused before anybody looks for it."""
    for name, code, slug in (
        ("..%2F..%2Fetc", 404, None),
        ("a.b", 400, "invalid-name"),
        ("greter", 404, "unknown-plugin"),
        ("%0agreeter", 400, "invalid-name"),
    ):
        answer = posted(served, f"/plugins/{name}/reload")
        assert answer.status_code == code, name
        assert slug in (None, answer.json()["slug"]), name
    assert "did you mean 'greeter'?" in posted(served, "/plugins/greter/reload").json()["error"]


def test_s32_garbage_and_silence_cost_one_connection_each(served: User) -> None:
    """No HTTP, half a request, or nothing at all: it is let go within seconds, and others are answered meanwhile."""
    path = str(socket_of(served))
    silent = [socket.socket(socket.AF_UNIX) for _ in range(20)]
    for number, one in enumerate(silent):
        one.settimeout(30)
        one.connect(path)
        if number % 2:
            one.sendall(b"GET /health HTTP/1.1\r\nX: ")
    with socket.socket(socket.AF_UNIX) as garbage:
        garbage.settimeout(30)
        garbage.connect(path)
        garbage.sendall(b"\x00\x16\x03\x01 garbage \xff\r\n\r\n")
        assert garbage.recv(4096).startswith(b"HTTP/1.1 400 ")
    assert asked(served, "/health").status_code == 200
    for one in silent:
        assert one.recv(4096) == b""  # let go
        one.close()
    assert asked(served, "/health").status_code == 200


def test_s32_a_body_that_does_not_arrive_is_not_waited_for(served: User) -> None:
    """A promised body that never comes is refused after five seconds."""
    with socket.socket(socket.AF_UNIX) as slow:
        slow.settimeout(30)
        slow.connect(str(socket_of(served)))
        slow.sendall(b"POST /plugins/greeter/execute HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        answer = b""
        while b"bad-request" not in answer and (part := slow.recv(65536)):
            answer += part
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"did not arrive within 5 s" in answer


def test_every_route_is_described_and_answers(served: User) -> None:
    """/openapi.json lists what there is, and each reading route of it answers."""
    described = asked(served, "/openapi.json").json()
    assert described["openapi"] == "3.1.0"
    listed = {(method.upper(), path) for path, methods in described["paths"].items() for method in methods}
    assert listed == {(endpoint.method, endpoint.path) for endpoint in ENDPOINTS}
    for endpoint in ENDPOINTS:
        if endpoint.method == "GET":
            answer = asked(served, endpoint.path.replace("{name}", "greeter"))
            assert answer.status_code == 200, endpoint.path
            if endpoint.media_type == "application/json" and endpoint.operation != "openapi":
                assert answer.json()["schema_version"] == 1


def test_parameters_are_checked_before_anything_runs(served: User) -> None:
    """A wrong parameter is the asker's fault, and says which one."""
    answer = posted(served, "/plugins/greeter/execute", {"parameters": {"nme": "Ada"}})
    assert (answer.status_code, answer.json()["exit_code"]) == (422, 4)


def test_curl_speaks_to_it(served: User) -> None:
    """No client of ours is needed."""
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("curl is not installed")
    command = [curl, "-s", "--unix-socket", str(socket_of(served)), "http://localhost/plugins/greeter/execute"]
    body = json.dumps({"parameters": {"name": "Ada"}})
    ran = subprocess.run([*command, "-d", body], capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(ran.stdout)["result"] == {"text": "hello Ada"}


def test_events_are_sent_as_they_happen(served: User) -> None:
    """A stream begins with what I ask of the past and goes on with what happens, with who asked."""
    with client(served) as open_client, open_client.stream("GET", "/events", params={"follow": 1, "tail": 1}) as stream:
        lines = stream.iter_lines()
        told = (json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: "))
        assert next(told)["kind"] in ("loaded", "refused")
        reloading = threading.Thread(target=posted, args=(served, "/plugins/greeter/reload"))
        reloading.start()
        event = next(told)
        reloading.join()
        assert (event["kind"], event["plugin"], event["worker"]) == ("loaded", "greeter", "worker")
        assert event["asked_by"].startswith("reload by uid ")


def test_results_that_json_can_not_hold_are_told_all_the_same(served: User) -> None:
    """An object becomes its repr, NaN a text: an answer is always JSON."""
    main = "def run():\n    return {'o': object, 'nan': float('nan'), 1: (1, 2)}\n"
    served.plugin("odd", main, {"version": "1"})
    answer = posted(served, "/plugins/odd/execute", {"newest": True})
    assert answer.json()["result"] == {"o": "<class 'object'>", "nan": "nan", "1": [1, 2]}
