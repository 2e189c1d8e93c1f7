"""Human gates on the page: what was asked, who decided it, when, why, and on which authority."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from converge_cli.report.chronicle import moment
from converge_cli.report.facts import FactPages
from converge_cli.report.markup import Markup, element
from converge_cli.report.wording import DONE, one_line, why_asked
from converge_core.ledger.history import History, RecordedGate


def gates(history: History, facts: FactPages) -> Iterable[Markup]:
    """Return the gates of a run as a table."""
    if not history.gates:
        return [element("p", "No proposal needed a human.", class_="quiet")]
    passed = {fact.gate.gate: fact.promotion["authority"] for fact in history.facts.values() if fact.gate is not None}
    rows = [
        (
            gate.cycle,
            [facts.link(gate.ref), element("small", gate.gate)],
            [one_line(gate.proposal["payload"]["body"]), element("small", _edited(gate))],
            [gate.proposer, element("small", f"confidence {gate.proposal['confidence']:g}")],
            why_asked(gate.code),
            _decision(gate, passed.get(gate.gate)),
        )
        for gate in history.gates.values()
    ]
    columns = ("cycle", "proposal", "says", "proposer", "asked because", "decision")
    return [element("div", table(columns, rows), class_="wide")]


def _edited(gate: RecordedGate) -> str:
    edited = gate.decision.payload if gate.decision is not None else None
    return "" if edited is None else f"edited to: {one_line(edited.get('body'))}"


def _decision(gate: RecordedGate, authority: str | None) -> Iterator[object]:
    for approval in gate.approvals:
        yield element("small", f"{approval.have} of {approval.needs}: {approval.actor}")
    decision = gate.decision
    if decision is None:
        yield element("span", "open", class_="verdict open")
        return
    yield element("span", DONE.get(decision.verdict, decision.verdict), class_=f"verdict {decision.verdict}")
    yield f" {decision.actor}"
    for note in (
        authority and f"authority: {authority}",
        decision.at and f"at {moment(decision.at)} UTC",
        decision.reason,
    ):
        if note:
            yield element("small", note)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Markup:
    """Return a table."""
    return element(
        "table",
        element("thead", element("tr", [element("th", column) for column in columns])),
        element("tbody", [element("tr", [element("td", cell) for cell in row]) for row in rows]),
    )
