"""Provenance as a Mermaid flowchart (https://mermaid.js.org/syntax/flowchart.html): evidence points to who cites it.

Labels are quoted, and every character in them that is neither a letter, a digit nor harmless is written as Mermaid's
entity code (``#34;``), so that no text of a run can end its label and become a part of the chart.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from converge_cli.output import safe
from converge_cli.report.wording import DONE, cut, one_line
from converge_core.ledger.history import RecordedFact
from converge_core.ledger.lineage import Origin, origin_of

MAX_EDGES = 500
"""Mermaid draws no more edges unless it is told to (its setting ``maxEdges``)."""

_HARMLESS = frozenset(" .,:/()-+_·…")
_SHAPES = {Origin.INPUT: ("([", "])"), Origin.CARRIED: ("([", "])")}
_STYLES = (
    "  classDef input fill:#e8f1ec,stroke:#3d7a5d,color:#16281f",
    "  classDef human fill:#fdf1dc,stroke:#b7791f,color:#3b2a0a,stroke-width:2px",
    "  classDef source fill:#f2f2f2,stroke:#8a8a8a,color:#333333,stroke-dasharray:4 3",
)


def flowchart(facts: Iterable[RecordedFact], citations: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Yield the lines of the chart of some facts and of who cites whom: pairs of what is cited, and the fact citing.

    What is cited and not among the facts is drawn as a source outside.
    """
    names: dict[str, str] = {}
    yield "flowchart LR"
    for fact in facts:
        name = names[fact.ref] = f"f{len(names)}"
        opening, closing = _SHAPES.get(origin_of(fact), ("[", "]"))
        yield f'  {name}{opening}"{_label(fact)}"{closing}{_class(fact)}'
    for cited, citing in citations:
        if cited not in names:
            names[cited] = f"s{len(names)}"
            yield f'  {names[cited]}[/"{escape(cut(cited, 80))}"/]:::source'
        yield f"  {names[cited]} --> {names[citing]}"
    yield from _STYLES


def escape(text: str) -> str:
    """Return a text as a part of a quoted label."""
    return "".join(c if c.isalnum() or c in _HARMLESS else f"#{ord(c)};" for c in safe(text))


def _label(fact: RecordedFact) -> str:
    decision = fact.gate.decision if fact.gate is not None else None
    lines = [cut(fact.ref, 80), one_line(fact.body, 48)]
    if origin_of(fact) is not Origin.INPUT:
        lines.append(f"by {fact.promotion['proposer']}, cycle {fact.promotion['cycle']}")
    if decision is not None:
        lines.append(f"{DONE.get(decision.verdict, decision.verdict)} by {decision.actor}")
    return "<br/>".join(map(escape, lines))


def _class(fact: RecordedFact) -> str:
    if fact.gate is not None or fact.correction is not None:
        return ":::human"
    return ":::input" if origin_of(fact) in _SHAPES else ""
