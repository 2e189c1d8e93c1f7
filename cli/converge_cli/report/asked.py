"""Which models a run has asked, in words: a line for everybody who was considered, the one who answered and the others.

`show` prints them as a table, the page as well, and `explain` below the fact that came of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from converge_cli.output import counted
from converge_cli.report.charts import dollars, number
from converge_cli.report.markup import Markup, element
from converge_cli.report.people import table
from converge_cli.report.wording import plain
from converge_core.ledger.history import RecordedFact
from converge_core.llm.trace import Considered, ModelCall

COLUMNS = ("cycle", "suggestor", "model", "outcome", "took", "tokens", "cost", "")
SHOWN = 3
"""Calls that are told of below a fact; one effect may hold hundreds."""


def rows(calls: Iterable[ModelCall]) -> Iterator[tuple[object, ...]]:
    """Yield a row for everybody who was considered, under `COLUMNS`."""
    for call in calls:
        for each in call.considered:
            yield (call.cycle, call.suggestor, _name(each), _words(each.outcome), *_cost(each), plain(each.note))


def notes(fact: RecordedFact, calls: Sequence[ModelCall]) -> Iterator[str]:
    """Yield who was asked in the call that proposed a fact."""
    made = [call for call in calls if call.led_to(fact)]
    for call in made[:SHOWN]:
        yield plain("asked " + ", ".join(map(_told, call.considered)))
    if len(made) > SHOWN:
        yield f"and {counted(len(made) - SHOWN, 'call')} more"


def section(calls: Sequence[ModelCall]) -> Iterable[Markup]:
    """Return the calls as a table of the page."""
    if not calls:
        return [element("p", "No model was asked.", class_="quiet")]
    return [element("div", table(COLUMNS, rows(calls)), class_="wide")]


def _told(each: Considered) -> str:
    if each.latency_ms is None:
        return f"{each.backend}: passed over ({each.note})"
    took, tokens, cost = _cost(each)
    why = f" ({each.note})" if each.note else ""
    return f"{_name(each)}: {_words(each.outcome)}{why} in {took}, {tokens} tokens, {cost}"


def _name(each: Considered) -> str:
    return f"{each.backend} ({each.model})" if each.model else each.backend


def _cost(each: Considered) -> tuple[str, str, str]:
    if each.latency_ms is None:
        return "", "", ""
    return f"{number(each.latency_ms)} ms", number(each.usage.tokens), dollars(each.usage.cost_microusd)


def _words(outcome: str) -> str:
    return outcome.replace("_", " ")
