"""The timeline on the page: what each cycle asked, what came of it, and what else happened."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from converge_cli.report.charts import dollars, number
from converge_cli.report.chronicle import Chronicle, Cycle, amount, moment
from converge_cli.report.facts import FactPages
from converge_cli.report.markup import Markup, element
from converge_cli.report.people import table
from converge_cli.report.wording import DONE
from converge_core.ledger import events
from converge_core.ledger.history import History

MAX_TOLD = 200
"""Sentences of a cycle."""


def cycles(chronicle: Chronicle, history: History, facts: FactPages) -> Iterable[Markup]:
    """Return the cycles, each on one line that opens."""
    gated = {gate.gate: gate.ref for gate in history.gates.values()}
    return [
        element(
            "details",
            element("summary", element("h3", f"Cycle {cycle.number}"), _summary(cycle)),
            element("div", _body(cycle, gated, facts), class_="body"),
            class_="cycle",
        )
        for cycle in chronicle.cycles
    ]


def _summary(cycle: Cycle) -> Iterator[Markup]:
    asked = sum(isinstance(event, events.ProposalGated) for event in cycle.told)
    failed = sum(isinstance(event, events.SuggestorFailedEvent) for event in cycle.told)
    for count, one, many, kind in (
        (cycle.facts, "fact", "facts", "strong"),
        (len(cycle.calls), "suggestor asked", "suggestors asked", ""),
        (cycle.turned_away.total(), "turned away", "turned away", ""),
        (asked, "human gate", "human gates", "human"),
        (failed, "failure", "failures", "warn"),
    ):
        if count:
            yield element("span", f"{number(count)} {one if count == 1 else many}", class_=f"fig {kind}")
    for event in cycle.told:
        if isinstance(event, events.RunStopped):
            yield element("span", str(event.stop.get("reason")).replace("_", " "), class_="fig")
    yield element("time", moment(cycle.recorded_at), class_="quiet")


def _body(cycle: Cycle, gated: Mapping[str, str], facts: FactPages) -> Iterator[Markup]:
    if cycle.calls:
        columns, rows = _calls(cycle)
        yield element("div", table(columns, rows), class_="wide")
    others = {
        who: count for who, count in cycle.promoted.items() if who not in {call.suggestor for call in cycle.calls}
    }
    if others:
        yield element("p", "Promoted: ", ", ".join(f"{number(count)} from {who}" for who, count in others.items()), ".")
    for title, counts in (("Turned away", cycle.turned_away), ("Not asked", cycle.skipped)):
        if counts:
            yield element("p", f"{title}: {_counted(counts)}.")
    told = [sentence for event in cycle.told[:MAX_TOLD] if (sentence := _tell(event, gated, facts)) is not None]
    left = len(cycle.told) - MAX_TOLD
    if told:
        more = element("li", f"… and {number(left)} more", class_="quiet") if left > 0 else None
        yield element("ul", told, more, class_="told")


def _calls(cycle: Cycle) -> tuple[list[str], list[list[object]]]:
    """Return who was asked and what came of it; what they spent, and how they failed, only where somebody did."""
    spent, failed = any(call.usage for call in cycle.calls), any(call.failure for call in cycle.calls)
    columns = ["suggestor", "proposed", "promoted"]
    columns += ["tokens", "cost"] * spent + ["failure"] * failed
    rows = []
    for call in cycle.calls:
        row: list[object] = [element("code", call.suggestor), len(call.proposals), cycle.promoted[call.suggestor]]
        if spent:
            tokens = amount(call.usage, "input_tokens") + amount(call.usage, "output_tokens")
            row += [number(tokens), dollars(amount(call.usage, "cost_microusd"))]
        if failed:
            why = f"{call.failure.get('code')}: {call.failure.get('reason')}" if call.failure else ""
            row.append(element("span", why, class_="warn"))
        rows.append(row)
    return columns, rows


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{number(count)} {code.replace('_', ' ')}" for code, count in counts.most_common())


def _tell(event: events.Event, gated: Mapping[str, str], facts: FactPages) -> Markup | None:
    """Return what happened, as a line of a list. ``gated`` names the fact that each gate is about."""

    def about(gate: str) -> Markup:
        return facts.link(gated[gate]) if gate in gated else element("code", gate)

    match event:
        case events.ProposalGated():
            said: tuple[object, ...] = ("A human is asked about ", facts.link(f"{event.key}/{event.id}"), ".")
        case events.DecisionReceived():
            verdict = DONE.get(event.verdict, event.verdict)
            said = (event.actor, f" {verdict} ", about(event.gate), f": {event.reason}" if event.reason else ".")
        case events.DecisionRefused():
            said = ("The answer of ", event.actor, " on ", about(event.gate), " does not count: ", event.reason)
        case events.ApprovalCounted():
            said = (f"{event.have} of the {event.needs} approvals that ", about(event.gate), " needs.")
        case events.SuggestorFailedEvent():
            said = (element("code", event.suggestor), f" failed ({event.code}): ", event.reason)
        case events.CorrectionEvent():
            said = (event.actor, " corrects ", facts.link(event.fact), f" ({event.reason_code}): ", event.reason)
        case events.CorrectionRefused():
            said = (
                "The correction of ",
                facts.link(event.fact),
                " by ",
                event.actor,
                " does not count: ",
                event.reason,
            )
        case events.InvariantViolatedEvent():
            said = (f"The {event.invariant_class} invariant {event.invariant} is violated: ", event.reason)
        case events.CancelRequested():
            said = (event.actor, " called the run off: ", event.reason)
        case events.ChangesAccepted():
            said = (event.actor, " let the run go on with a changed setup.")
        case events.RunReopened():
            said = ("The run went on after its stop.",)
        case events.RunStopped():
            held = f", {number(event.held)} proposals unjudged" if event.held else ""
            said = (f"The run stopped with {number(event.facts)} facts{held}: ", str(event.stop.get("reason")))
        case _:
            return None
    return element("li", said, class_=event.kind)
