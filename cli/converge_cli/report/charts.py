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


def bars(values: Sequence[int], first: int, label: str) -> Markup:
    """Return a bar chart of one value a cycle; the first is of cycle ``first``. ``label`` says what is counted."""
    size = max(1, ceil(len(values) / MAX_BARS))
    sums = [sum(values[start : start + size]) for start in range(0, len(values), size)]
    top, pitch = max([1, *sums]), WIDTH / max(1, len(sums))
    drawn = []
    for place, value in enumerate(sums):
        begin = first + place * size
        end = min(begin + size, first + len(values)) - 1
        name = f"cycle {begin}" if begin == end else f"cycles {begin} to {end}"
        height = round(value / top * (BASE - 14), 2)
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
    last = first + len(values) - 1
    return element(
        "svg",
        drawn,
        element("line", x1=0, y1=BASE, x2=WIDTH, y2=BASE, class_="axis"),
        element("text", f"cycle {first}", x=0, y=HEIGHT - 2, class_="tick"),
        element("text", last, x=WIDTH, y=HEIGHT - 2, class_="tick end") if last > first else None,
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        class_="chart",
        role="img",
        aria_label=f"{label} in each cycle",
    )


def meter(used: int, limit: int) -> Markup:
    """Return a bar that shows how much of a limit is used."""
    share = min(1.0, used / limit) if limit else 1.0
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
