"""Small charts as inline SVG: bars over the cycles of a run, and how much of a limit is used.

Colours and fonts are the page's; nothing here needs a script. A run may have thousands of cycles: beyond `MAX_BARS`,
each bar stands for several.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

from converge_cli.report.markup import Markup, element

MAX_BARS = 120
WIDTH, HEIGHT, BASE = 320, 96, 80
"""The size of a chart in its own units; bars stand on ``BASE``."""


def bars(values: Sequence[tuple[int, int]], label: str) -> Markup:
    """Return a bar chart of (cycle, value) pairs in order. ``label`` says what is counted."""
    size = max(1, ceil(len(values) / MAX_BARS))
    groups = [values[start : start + size] for start in range(0, len(values), size)]
    sums = [sum(value for _, value in group) for group in groups]
    top, pitch = max([1, *sums]), WIDTH / max(1, len(sums))
    drawn = []
    for place, (group, value) in enumerate(zip(groups, sums, strict=True)):
        begin, end = group[0][0], group[-1][0]
        name = f"cycle {begin}" if begin == end else f"cycles {begin} to {end}"
        height = max(0.0, round(value / top * (BASE - 14), 2))
        drawn.append(
            element(
                "rect",
                element("title", f"{name}: {number(value)} {label}"),
                x=round(place * pitch + pitch * 0.12, 2),
                y=round(BASE - height, 2),
                width=round(min(pitch * 0.76, 44), 2),
                height=height,
                class_="bar",
            )
        )
    return element(
        "svg",
        drawn,
        element("line", x1=0, y1=BASE, x2=WIDTH, y2=BASE, class_="axis"),
        element("text", f"cycle {values[0][0]}", x=0, y=HEIGHT - 2, class_="tick") if values else None,
        element("text", values[-1][0], x=WIDTH, y=HEIGHT - 2, class_="tick end") if len(values) > 1 else None,
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        class_="chart",
        role="img",
        aria_label=f"{label} in each cycle",
    )


def meter(used: int, limit: int) -> Markup:
    """Return a bar that shows how much of a limit is used."""
    share = min(1.0, max(0.0, used / limit)) if limit else 1.0
    return element(
        "svg",
        element("rect", x=0, y=0, width=WIDTH, height=6, rx=3, class_="track"),
        element("rect", x=0, y=0, width=round(share * WIDTH, 2), height=6, rx=3, class_="used"),
        viewBox=f"0 0 {WIDTH} 6",
        class_="meter",
        role="img",
        aria_label=f"{share:.0%} of the limit",
    )


def number(value: int) -> str:
    """Return a number as it is read: ``12,345``."""
    return f"{value:,}"


def dollars(microusd: int) -> str:
    """Return micro-dollars as money: ``$0.0125``."""
    return f"${microusd / 1e6:,.4f}"
