"""The timeline on the page: what each cycle asked, what came of it, and what else happened."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from converge_cli.report.charts import number
from converge_cli.report.chronicle import Chronicle, Cycle, amount
from converge_cli.report.facts import FactPages
from converge_cli.report.markup import Markup, element
from converge_cli.report.people import table
from converge_cli.report.wording import DONE
from converge_core.ledger import events

MAX_TOLD = 200
"""Sentences of a cycle."""

OPEN_UP_TO = 1
"""Cycles that are shown open."""


def cycles(chronicle: Chronicle, facts: FactPages) -> Iterable[Markup]:
    """Return the cycles, each on one line that opens."""
    return [
        element(
            "details",
            element("summary", element("h3", f"Cycle {cycle.number}"), _summary(cycle)),
            element("div", _body(cycle, facts), class_="body"),
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
    yield element("time", cycle.recorded_at.replace("T", " ").removesuffix("Z"), class_="quiet")


def _body(cycle: Cycle, facts: FactPages) -> Iterator[Markup]:
    if cycle.calls:
        yield element("div", table(("suggestor", "proposed", "promoted", "tokens", "cost", ""), _calls(cycle)))
    others = {
        who: count for who, count in cycle.promoted.items() if who not in {call.suggestor for call in cycle.calls}
    }
    if others:
        yield element("p", "Promoted: ", ", ".join(f"{number(count)} from {who}" for who, count in others.items()), ".")
    for title, counts in (("Turned away", cycle.turned_away), ("Not asked", cycle.skipped)):
        if counts:
            yield element("p", f"{title}: {_counted(counts)}.")
    told = [sentence for event in cycle.told[:MAX_TOLD] if (sentence := _tell(event, facts)) is not None]
    left = len(cycle.told) - MAX_TOLD
    if told:
        more = element("li", f"… and {number(left)} more", class_="quiet") if left > 0 else None
        yield element("ul", told, more, class_="told")


def _calls(cycle: Cycle) -> Iterator[tuple[object, ...]]:
    for call in cycle.calls:
        tokens = amount(call.usage, "input_tokens") + amount(call.usage, "output_tokens")
        cost = amount(call.usage, "cost_microusd")
        failure = f"{call.failure.get('code')}: {call.failure.get('reason')}" if call.failure else ""
        yield (
            element("code", call.suggestor),
            number(len(call.proposals)),
            number(cycle.promoted[call.suggestor]),
            number(tokens) if tokens else "",
            f"${cost / 1e6:,.4f}" if cost else "",
            element("span", failure, class_="warn"),
        )


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{number(count)} {code.replace('_', ' ')}" for code, count in counts.most_common())


def _tell(event: events.Event, facts: FactPages) -> Markup | None:
    """Return what happened, as a line of a list."""
    match event:
        case events.ProposalGated():
            said: tuple[object, ...] = ("A human is asked about ", facts.link(f"{event.key}/{event.id}"), ".")
        case events.DecisionReceived():
            verdict = DONE.get(event.verdict, event.verdict)
            said = (
                event.actor,
                f" {verdict} ",
                element("code", event.gate),
                f": {event.reason}" if event.reason else ".",
            )
        case events.DecisionRefused():
            said = ("The answer of ", event.actor, f" does not count ({event.code}): ", event.reason)
        case events.ApprovalCounted():
            said = (f"{event.have} of {event.needs} approvals for ", element("code", event.gate))
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
        case events.FactSuperseded():
            said = (facts.link(event.by), " supersedes ", facts.link(event.fact), ".")
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
