"""Plots as inline SVG: lines of what was measured, lanes of what took how long. Colours come from the page's style."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape

from pytest_hotplug.safety.report.record import Series, Span
from pytest_hotplug.safety.slope import slope_of

__all__ = ["caption", "line_plot", "timeline"]

_WIDTH, _HEIGHT = 360, 170
_LEFT, _RIGHT, _TOP, _BOTTOM = 68, 12, 14, 30
_LANE = 26
_KINDS = 5  # colours that the style has


def line_plot(series: Series) -> str:
    """Draw the points of a series."""
    xs, ys = [x for x, _ in series.points], [y for _, y in series.points]
    x_low, x_high = min(xs), max(xs)
    ticks = _ticks(min(ys), max(ys), least=1.0 if all(y == int(y) for y in ys) else 0.0)
    y_low, y_high = min(ticks[0], *ys), max(ticks[-1], *ys)

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - x_low) / (x_high - x_low or 1)
        up = (y - y_low) / (y_high - y_low or 1)
        return _LEFT + across * (_WIDTH - _LEFT - _RIGHT), _HEIGHT - _BOTTOM - up * (_HEIGHT - _TOP - _BOTTOM)

    parts = [f'<svg class="plot" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(caption(series))}">']
    decimals = max(0, -math.floor(math.log10(ticks[1] - ticks[0])))
    for tick in ticks:
        _, y = place(x_low, tick)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        said = f"{tick:,.{decimals}f}"
        parts.append(f'<text class="tick" x="{_LEFT - 8}" y="{y + 3.5:.1f}" text-anchor="end">{said}</text>')
    for x in dict.fromkeys((x_low, x_high)):
        at, _ = place(x, y_low)
        anchor = "start" if x == x_low else "end"
        parts.append(f'<text class="tick" x="{at:.1f}" y="{_HEIGHT - 9}" text-anchor="{anchor}">{_number(x)}</text>')
    points = [place(x, y) for x, y in series.points]
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(f'<text class="tick" x="{middle}" y="{_HEIGHT - 9}" text-anchor="middle">{escape(series.step)}</text>')
    parts.append(f'<polyline class="line" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in points)}"/>')
    for (x, y), (_, value) in zip(points, series.points, strict=True):
        title = f"{_number(value)} {escape(series.unit)}"
        parts.append(f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="2.6"><title>{title}</title></circle>')
    return "".join([*parts, "</svg>"])


def caption(series: Series) -> str:
    """Return what the plot shows, and how much there is more with each step."""
    if not series.step or len(series.points) < 2:
        return f"{series.title} ({series.unit})"
    slope = round(slope_of([y for _, y in series.points]), 2)
    return f"{series.title}: {f'{_more(slope)} {series.unit} per {series.step}' if slope else 'steady'}"


def _more(slope: float) -> str:
    return f"{slope:+,.0f}" if slope == int(slope) else f"{slope:+,.2f}"


def _ticks(low: float, high: float, least: float) -> list[float]:
    """Return two to six round numbers that span the values, at least so far apart."""
    if high == low:
        return [low - 1, low, low + 1]
    step = 10.0 ** math.floor(math.log10((high - low) / 3))
    step *= next(times for times in (1, 2, 5, 10) if (high - low) / (step * times) <= 4)
    step = max(step, least)
    return [step * n for n in range(math.floor(low / step), math.ceil(high / step) + 1)]


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:,.2f}"


def timeline(spans: Sequence[Span]) -> str:
    """Draw lanes, one below the other, with a bar for each span; what has no length is a mark."""
    lanes = {lane: place for place, lane in enumerate(dict.fromkeys(span.lane for span in spans))}
    kinds = {kind: place % _KINDS for place, kind in enumerate(dict.fromkeys(span.kind for span in spans))}
    start, end = min(span.start for span in spans), max(span.end for span in spans)
    width, left, height = 720, 110, _TOP + _LANE * len(lanes) + _BOTTOM - 8
    scale = (width - left - _RIGHT) / (end - start or 1)
    parts = [f'<svg class="plot timeline" viewBox="0 0 {width} {height}" role="img" aria-label="what ran when">']
    for lane, place in lanes.items():
        y = _TOP + _LANE * place
        parts.append(f'<line class="grid" x1="{left}" x2="{width - _RIGHT}" y1="{y + 10}" y2="{y + 10}"/>')
        parts.append(f'<text class="tick" x="{left - 8}" y="{y + 14}" text-anchor="end">{escape(lane[:16])}</text>')
    parts += _bars(spans, lanes, kinds, left, start, scale)
    for x, moment, anchor in ((left, 0.0, "start"), (width - _RIGHT, end - start, "end")):
        parts.append(f'<text class="tick" x="{x}" y="{height - 9}" text-anchor="{anchor}">{moment:.2f} s</text>')
    legend = "".join(f'<span class="kind k{place}">{escape(kind)}</span>' for kind, place in kinds.items() if kind)
    return "".join([*parts, "</svg>", f'<p class="legend">{legend}</p>' if legend else ""])


def _bars(
    spans: Sequence[Span], lanes: dict[str, int], kinds: dict[str, int], left: float, start: float, scale: float
) -> Iterator[str]:
    for span in spans:
        x, wide = left + (span.start - start) * scale, max((span.end - span.start) * scale, 1.5)
        title = ", ".join(filter(None, (span.kind, span.text, f"{span.end - span.start:.3f} s")))
        yield (
            f'<rect class="bar k{kinds[span.kind]}" x="{x:.2f}" y="{_TOP + _LANE * lanes[span.lane] + 3}" '
            f'width="{wide:.2f}" height="14" rx="2"><title>{escape(title)}</title></rect>'
        )
