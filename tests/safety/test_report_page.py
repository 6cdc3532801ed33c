"""The report's page in a real browser: quiet, complete, readable in the dark and on a phone."""

from __future__ import annotations

from pathlib import Path

import msgspec

from pytest_hotplug.safety.report.record import Report, Span
from pytest_hotplug.safety.report.writing import write_report
from tests.safety.browser import browser
from tests.safety.test_report_forms import EVIL, LEAKS, POLLER, REPORT, THREAD

DEEP = f"plugins/{'deep/' * 40}main.py"
LONG = msgspec.structs.replace(THREAD, message="x" * 500, path=DEEP, chain=("y" * 300, EVIL))
SPANS = tuple(
    Span(lane=f"caller {n % 3}", start=n / 10, end=n / 10 + 0.2, kind=("old", "new", "torn")[n % 3], text=EVIL)
    for n in range(30)
)
PHONE, DESK = 320, 1100


def test_a_browser_shows_it_without_complaint(tmp_path: Path) -> None:
    """No error, no request, nothing wider than the window, plots with a size, and colours for both schemes."""
    leaks = msgspec.structs.replace(LEAKS, findings=(THREAD, LONG))
    poller = msgspec.structs.replace(POLLER, checks=(leaks, *POLLER.checks[1:]), timeline=SPANS)
    page = tmp_path / "report.html"
    write_report(Report(plugins=(poller, *REPORT.plugins[1:])), page)
    colours = set()
    with browser(tmp_path / "profile") as tab:
        for width in (PHONE, DESK):
            for dark in (False, True):
                tab.opens(page, width=width, dark=dark)
                assert tab.evaluates("document.documentElement.scrollWidth") <= width
                assert tab.evaluates("window.innerWidth") == width
                sizes = "[...document.querySelectorAll('svg')].map(s => s.getBoundingClientRect().height)"
                heights = tab.evaluates(sizes)
                assert len(heights) == 2, "a plot of memory, and a timeline"
                assert min(heights) > 40
                colours.add(tab.evaluates("getComputedStyle(document.body).backgroundColor"))
        assert len(colours) == 2, "light and dark"
        assert EVIL in tab.evaluates("document.body.textContent")
        assert tab.evaluates("document.scripts.length + document.images.length") == 0
        assert tab.complaints == []
        assert set(tab.requests) == {page.as_uri()}


def test_a_page_that_complains_is_found_out(tmp_path: Path) -> None:
    """The browser's ears work: an error in a script, a request, and what is too wide are all noticed."""
    page = tmp_path / "bad.html"
    page.write_text("<script>throw Error('no')</script><img src=gone.png><div style='width:5000px'>x</div>")
    with browser(tmp_path / "profile") as tab:
        tab.opens(page, width=DESK, dark=False)
        assert any("Error: no" in complaint for complaint in tab.complaints)
        assert any(address.endswith("gone.png") for address in tab.requests)
        assert tab.evaluates("document.documentElement.scrollWidth") > DESK
