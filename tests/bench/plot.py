"""The figures as one SVG: bars for the candidates, and lines for what the cost of a record depends on."""

from collections.abc import Iterator, Mapping
from html import escape
from statistics import median
from typing import Any, Final

WIDTH: Final = 720
ROW: Final = 26
INK, OURS, OTHERS, RULE = "#222222", "#1f6feb", "#9aa4b2", "#d7dce2"


def _text(x: float, y: float, words: str, anchor: str = "start", size: int = 13) -> str:
    style = f'font-size="{size}" fill="{INK}" text-anchor="{anchor}"'
    return f'<text x="{x:.0f}" y="{y:.0f}" {style}>{escape(words)}</text>'


def _bars(micros: Mapping[str, float], top: int) -> Iterator[str]:
    most = max(micros.values(), default=1.0)
    for at, (name, value) in enumerate(sorted(micros.items(), key=lambda row: row[1])):
        y = top + at * ROW
        length = value / most * (WIDTH - 300)
        colour = OURS if name.startswith("connector") else OTHERS
        yield _text(190, y + 14, name, "end")
        yield f'<rect x="200" y="{y}" width="{length:.1f}" height="18" rx="2" fill="{colour}"/>'
        yield _text(208 + length, y + 14, f"{value:.1f} µs")


def _curve(name: str, points: Mapping[str, Any], left: float, top: float) -> Iterator[str]:
    width, height = 150.0, 90.0
    ratios = [median(point["ratios"]) for point in points.values()]
    most = max(2.0, *ratios)
    yield _text(left, top - 10, name, size=12)
    for level in (0.0, 1.0, most):
        y = top + height - level / most * height
        yield f'<line x1="{left}" y1="{y:.1f}" x2="{left + width}" y2="{y:.1f}" stroke="{RULE}"/>'
        yield _text(left + width + 4, y + 4, f"{level:.3g}", size=10)
    xs = [left + 10 + at * (width - 20) / max(1, len(ratios) - 1) for at in range(len(ratios))]
    ys = [top + height - ratio / most * height for ratio in ratios]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(xs, ys, strict=True))
    yield f'<polyline points="{path}" fill="none" stroke="{OURS}" stroke-width="2"/>'
    for x, y, point in zip(xs, ys, points, strict=True):
        yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{OURS}"/>'
        yield _text(x, top + height + 14, point, "middle", 10)


def draw(micros: Mapping[str, float], rest: Mapping[str, Any]) -> str:
    """The whole picture."""
    parts = [_text(20, 28, "CPU a record, one machine, one run: compare the bars, not the numbers", size=14)]
    parts += _bars(micros, 44)
    top = 44 + len(micros) * ROW + 40
    curves: Mapping[str, Any] = rest.get("curves", {})
    if curves:
        parts.append(_text(20, top, "What it depends on: CPU a record, as a ratio to the leftmost point", size=14))
    for at, (name, points) in enumerate(curves.items()):
        parts += _curve(name, points, 30 + at % 3 * 230, top + 40 + at // 3 * 150)
    height = top + (len(curves) + 2) // 3 * 150 + 20
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif">'
    return "\n".join([head, f'<rect width="{WIDTH}" height="{height}" fill="white"/>', *parts, "</svg>", ""])
