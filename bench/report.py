"""From samples to what is read: a table of workloads and systems, and one of targets, as text and for the docs."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from bench.table import OWN, SYSTEMS, TARGETS, WORKLOADS, Cell, Shown, Target

BEGIN, END = "<!-- bench: begin -->", "<!-- bench: end -->"

Rows = list[list[str]]


def values(results: dict[str, Any], cell: Cell) -> list[float]:
    """Return the measure of every sample of a cell, round by round; seconds are those of one unit."""
    samples = results["samples"].get(cell.workload, {}).get(cell.system, [])
    each = cell.measure in ("seconds", "run")
    return [s[cell.measure] / (s["units"] if each else 1) for s in samples if cell.measure in s]


def ratio(results: dict[str, Any], cell: Cell, over: Cell) -> float | None:
    """Return the median ratio of two cells: round by round where both were measured in the same rounds."""
    above, below = values(results, cell), values(results, over)
    if not above or not below:
        return None
    if cell.workload == over.workload and len(above) == len(below):
        return median(a / b for a, b in zip(above, below, strict=True))
    return median(above) / median(below)


def measured(results: dict[str, Any], target: Target) -> float | None:
    """Return what a target is about, or None where it was not measured."""
    if target.over is not None:
        return ratio(results, target.cell, target.over)
    found = values(results, target.cell)
    return median(found) * target.factor if found else None


def numbers(results: dict[str, Any]) -> Rows:
    """Return the table of workloads and systems; in brackets, how many times ours it is."""
    columns = [name for name in SYSTEMS if any(name in systems for systems in results["samples"].values())]
    rows = [["workload", "", *columns]]
    for workload in WORKLOADS.values():
        if workload.id in results["samples"]:
            for shown in workload.shown:
                cells = [_cell(results, workload.id, name, shown) for name in columns]
                rows.append([f"{workload.id} {workload.title}", shown.unit, *cells])
    return rows


def _cell(results: dict[str, Any], workload: str, system: str, shown: Shown) -> str:
    if system in results["unavailable"].get(workload, {}):
        return "not available"
    if not (found := values(results, Cell(workload, system, shown.measure))):
        return ""
    number = _number(median(found) * shown.factor)
    if system == OWN:
        return number
    times = ratio(results, Cell(workload, system, shown.measure), Cell(workload, OWN, shown.measure))
    return number if times is None else f"{number} ({_number(times)})"


def _number(value: float, digits: int = 3) -> str:
    """So many digits, or all of those before the point."""
    return f"{value:,.0f}" if abs(value) >= 10 ** (digits - 1) else f"{value:.{digits}g}"


def targets(results: dict[str, Any]) -> Rows:
    """Return the table of targets: what was asked, what was measured, and whether it was met."""
    rows = [["workload", "target", "measured", "met"]]
    for target in TARGETS:
        if target.workload in results["samples"]:
            value = measured(results, target)
            if value is None:
                said = ["not measured", ""]
            else:
                said = [_number(value, digits=4), "yes" if target.is_met_by(value) else "NO"]
            rows.append([target.workload, target.bound, *said])
    return rows


def absent(results: dict[str, Any]) -> Iterator[str]:
    """Yield a sentence for everyone who could not take part, once for each reason."""
    said = dict.fromkeys(
        f"{name} is not available: {why}"
        for missing in results["unavailable"].values()
        for name, why in missing.items()
    )
    yield from said


def text(results: dict[str, Any]) -> str:
    """Return what is printed."""
    missing = list(absent(results))
    parts = [_aligned(numbers(results)), "In brackets: times ours, round by round.", _aligned(targets(results))]
    return "\n\n".join([*parts, "\n".join(missing)] if missing else parts)


def _aligned(rows: Rows) -> str:
    widths = [max(_width(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(_padded(word, width) for word, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(lines)


def _width(word: str) -> int:
    return sum(not unicodedata.combining(letter) for letter in word)


def _padded(word: str, width: int) -> str:
    return word + " " * (width - _width(word))


def markdown(results: dict[str, Any]) -> str:
    """Return the part of the documentation that comes from a run."""
    machine, versions = results["machine"], results["versions"]
    told = ", ".join(f"{name} {number}" for name, number in versions.items())
    met = [row[3] for row in targets(results)[1:]]
    where = f"{machine['cores']} cores of {machine['processor']}, {machine['system']}, Python {machine['python']}"
    return "\n\n".join(
        [
            f"Measured on {where}; medians of {results['rounds']} rounds. Versions: {told}.",
            *(f"{sentence}." for sentence in absent(results)),
            _markdown_table(numbers(results)),
            f"Of {len(met)} targets {met.count('yes')} are met and {met.count('NO')} are not.",
            _markdown_table(targets(results)),
        ]
    )


def _markdown_table(rows: Rows) -> str:
    rule = ["---", "---", *["--:"] * (len(rows[0]) - 2)]
    return "\n".join(f"| {' | '.join(row)} |" for row in [rows[0], rule, *rows[1:]])


def write_docs(page: Path, results: dict[str, Any]) -> None:
    """Put the tables of a run between the two markers of a page. Raises ValueError for a page without them."""
    before, begin, rest = page.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{page} has no {BEGIN} ... {END}")
    page.write_text(f"{before}{BEGIN}\n\n{markdown(results)}\n\n{END}{after}")
