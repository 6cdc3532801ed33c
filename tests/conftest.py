"""How long the soaks last: bounded by default, longer by `--soak`; and what no test may inherit."""

from __future__ import annotations

import os
import signal

import pytest

# Below tox, pytest would keep one cache for all the projects that tests make at the same time.
os.environ.pop("TOX_ENV_DIR", None)

# A shell without job control starts what it puts in the background deaf to Ctrl-C, and every child inherits that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the one option of this suite."""
    text = "make the soaks (memory, hammer, stateful, faults) this many times as long (1)"
    parser.addoption("--soak", type=float, default=1.0, metavar="TIMES", help=text)


@pytest.fixture(scope="session")
def soak(request: pytest.FixtureRequest) -> float:
    """Give the factor by which soaks are longer than in an ordinary run."""
    return float(request.config.getoption("--soak"))
