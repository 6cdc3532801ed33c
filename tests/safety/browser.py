"""A real browser without a window, asked through its debugging pipe: what a page looks like, what it complains of."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

fcntl = pytest.importorskip("fcntl", reason="the pipe to the browser needs POSIX")

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
# The browser reads its pipe at 3 and answers at 4.
LAUNCH = (
    "import os, sys; reads, writes, browser = sys.argv[1:4]; os.dup2(int(reads), 3); os.dup2(int(writes), 4); "
    "os.execv(browser, sys.argv[3:])"
)
OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-pipe")


@contextmanager
def browser(profile: Path) -> Iterator[Tab]:
    """Give a tab of a browser that ends with the block; skips the test where there is no browser."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip("no Chromium is installed that could show the page")
    theirs_in, ours_out = os.pipe()
    ours_in, theirs_out = os.pipe()
    high = [fcntl.fcntl(number, fcntl.F_DUPFD, 10) for number in (theirs_in, theirs_out)]
    process = subprocess.Popen(
        [sys.executable, "-c", LAUNCH, *map(str, high), found, *OPTIONS, f"--user-data-dir={profile}", "about:blank"],
        pass_fds=high, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    for number in (theirs_in, theirs_out, *high):
        os.close(number)
    try:
        with open(ours_out, "wb", buffering=0) as asks, open(ours_in, "rb") as answers:
            yield Tab(asks, answers)
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # with the helpers that it started
        process.wait()


class Tab:
    """One page. `complaints` are errors of the console and of scripts, `requests` the addresses it asked for."""

    def __init__(self, asks: Any, answers: Any) -> None:
        self._asks, self._answers, self._number = asks, answers, 0
        self._session: str | None = None
        self.complaints: list[str] = []
        self.requests: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> Any:
        """Ask for something and return the answer."""
        self._number += 1
        order = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            order["sessionId"] = self._session
        self._asks.write(json.dumps(order).encode() + b"\0")
        while True:
            said = self._next()
            if said.get("id") == self._number:
                assert "error" not in said, said
                return said["result"]

    def _next(self) -> dict[str, Any]:
        said = b""
        while not said.endswith(b"\0"):
            byte = self._answers.read(1)
            assert byte, "the browser ended"
            said += byte
        message: dict[str, Any] = json.loads(said[:-1])
        facts = message.get("params", {})
        if message.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled"):
            self.complaints.append(json.dumps(facts))
        elif message.get("method") == "Network.requestWillBeSent":
            self.requests.append(facts["request"]["url"])
        return message

    def opens(self, page: Path, *, width: int, dark: bool) -> None:
        """Show a page in a window of so many pixels, and wait until it stands."""
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", features=scheme)
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600
        )
        self.call("Page.navigate", url=page.as_uri())
        while self._next().get("method") != "Page.loadEventFired":
            continue

    def evaluates(self, expression: str) -> Any:
        """Return what an expression is in the page."""
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")
