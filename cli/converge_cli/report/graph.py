"""The whole of a run's provenance in one picture: who wrote which key, and which facts rest on which.

A run has thousands of facts and a picture has room for a few dozen boxes, so a box is all the facts of a key that come
from the same proposer (or all of a key, where those are too many), and a line is all the citations between two boxes.
Boxes stand in columns by the cycle of their first fact, which is how conclusions come after what they rest on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from math import log10

from converge_cli.report.charts import number
from converge_cli.report.markup import Markup, element
from converge_cli.report.wording import cut
from converge_core.ledger.history import History, RecordedFact

MAX_BOXES = 32
MAX_FITTING = 1_500
"""The width up to which the picture is made to fit the page; a wider one is scrolled."""

WIDTH, HEIGHT = 172, 46
GAP_X, GAP_Y = 38, 14
MARGIN_X, MARGIN_Y = 2, 24

Name = tuple[str, str]
OUTSIDE: Name = ("outside", "no facts of this run")
OTHERS: Name = ("others", "keys that have no room here")


@dataclass(slots=True)
class Box:
    """Facts that are drawn as one, and where: ``column`` and ``row`` count from 0."""

    name: Name
    cycle: int
    facts: int = 0
    decided: int = 0
    column: int = 0
    row: float = 0.0

    @property
    def x(self) -> float:
        """The left edge."""
        return MARGIN_X + self.column * (WIDTH + GAP_X)

    @property
    def y(self) -> float:
        """The upper edge."""
        return MARGIN_Y + self.row * (HEIGHT + GAP_Y)


def provenance(history: History) -> Markup:
    """Return the picture of a run."""
    names = _names(history)
    boxes: dict[Name, Box] = {}
    citations: Counter[tuple[Name, Name]] = Counter()
    for ref, fact in history.facts.items():
        box = boxes.setdefault(names[ref], Box(names[ref], fact.promotion["cycle"]))
        box.facts += 1
        box.decided += fact.gate is not None or fact.correction is not None
        for cited in fact.evidence:
            citations[names.get(cited, OUTSIDE), box.name] += 1
    if any(source == OUTSIDE for source, _ in citations):
        boxes[OUTSIDE] = Box(OUTSIDE, 0)
    _arrange(boxes, citations)
    width = max((box.x for box in boxes.values()), default=0) + WIDTH + MARGIN_X
    height = max((box.y for box in boxes.values()), default=0) + HEIGHT + MARGIN_Y
    return element(
        "svg",
        [_line(boxes[source], boxes[target], count) for (source, target), count in citations.items()],
        [_box(box) for box in boxes.values()],
        viewBox=f"0 0 {width:g} {height:g}",
        width=f"{width:g}",
        class_="graph fitting" if width <= MAX_FITTING else "graph",
        role="img",
        aria_label="Which facts rest on which",
    )


def _names(history: History) -> dict[str, Name]:
    """Say in which box each fact is drawn: by key and proposer, or by key alone, or, beyond all measure, in one."""
    facts = history.facts
    names = {ref: (fact.promotion["key"], _writer(fact)) for ref, fact in facts.items()}
    if len(set(names.values())) > MAX_BOXES:
        writers: dict[str, set[str]] = {}
        for key, writer in names.values():
            writers.setdefault(key, set()).add(writer)
        shown = list(writers)[:MAX_BOXES]
        by_key = {key: (key, cut(", ".join(sorted(writers[key])), 60)) for key in shown}
        names = {ref: by_key.get(key, OTHERS) for ref, (key, _) in names.items()}
    return names


def _writer(fact: RecordedFact) -> str:
    return str(fact.gate.proposer if fact.gate is not None else fact.promotion["proposer"])


def _arrange(boxes: dict[Name, Box], citations: Counter[tuple[Name, Name]]) -> None:
    """Place the boxes: columns by cycle; within a column near what they cite; columns centred."""
    cycles = sorted({box.cycle for box in boxes.values()})
    columns = [[box for box in boxes.values() if box.cycle == cycle] for cycle in cycles]
    tallest = max(map(len, columns), default=0)
    for place, column in enumerate(columns):
        heights = {box.name: _mean(boxes[s].row for s, t in citations if t == box.name) for box in column}
        column.sort(key=lambda box: heights[box.name])
        for row, box in enumerate(column):
            box.column, box.row = place, row + (tallest - len(column)) / 2


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found) if found else 0.0


def _line(source: Box, target: Box, count: int) -> Markup:
    x1, y1, x2, y2 = source.x + WIDTH, source.y + HEIGHT / 2, target.x, target.y + HEIGHT / 2
    if source is target:
        x, y = target.x + WIDTH - 24, target.y
        path = f"M{x} {y}C{x + 12} {y - 24} {x - 42} {y - 24} {x - 30} {y}"
    elif source.column < target.column:
        path = f"M{x1} {y1}C{x1 + GAP_X * 0.55} {y1} {x2 - GAP_X * 0.55} {y2} {x2} {y2}"
    else:
        x2 += WIDTH
        path = f"M{x1} {y1}C{x1 + GAP_X * 0.6} {y1} {x2 + GAP_X * 0.6} {y2} {x2} {y2}"
    title = element("title", f"{_title(target)} cites {_title(source)}: {number(count)} times")
    return element("path", title, d=path, class_="edge", stroke_width=round(1 + 1.2 * log10(count), 2))


def _box(box: Box) -> Markup:
    key, writer = box.name
    counted = f"{number(box.facts)} " if box.facts else ""
    people = f", {number(box.decided)} decided by people" if box.decided else ""
    return element(
        "g",
        element("title", f"{_title(box)}: {number(box.facts)} facts{people}"),
        element("rect", x=0, y=0, width=WIDTH, height=HEIGHT, rx=7),
        element("text", counted, element("tspan", cut(key, 20 - len(counted)), class_="key"), x=12, y=19),
        element("text", cut(writer, 22), x=12, y=36, class_="who"),
        element("circle", cx=WIDTH - 14, cy=14, r=4, class_="person") if box.decided else None,
        transform=f"translate({box.x:g} {box.y:g})",
        class_="box human" if box.decided else "box",
    )


def _title(box: Box) -> str:
    return f"{box.name[0]} by {box.name[1]}"
