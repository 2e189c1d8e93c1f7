"""The facts of a run on the page: each one line, which opens to everything that is known of it.

A fact shows its payload, how it came to be, what it rests on (its lineage, a few levels deep, with links to go on) and
who cites it. A page must stay usable with ten thousand facts, so the detail that each gets is a share of a whole.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice

from converge_cli.report.charts import number
from converge_cli.report.markup import Markup, element
from converge_cli.report.wording import account, cut, one_line, plain
from converge_core.ledger.history import History, RecordedFact
from converge_core.ledger.lineage import Origin, Sight, Step, lineage, origin_of

ALL_PAYLOADS = 8_000_000
"""Characters of all payloads together; each fact has its share, from 400 to 6,000."""

ALL_STEPS = 60_000
"""Places of all lineages together; each fact has its share, from 6 to 40."""

DEPTH = 3
OPEN_UP_TO = 12
"""Facts of a key that are listed without having to be opened."""


class FactPages:
    """The facts of a run, with the places by which the rest of the page refers to them."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._anchors = {ref: f"fact-{place}" for place, ref in enumerate(history.facts, 1)}
        self._citing: dict[str, list[str]] = {}
        for ref, fact in history.facts.items():
            for cited in dict.fromkeys(fact.evidence):
                self._citing.setdefault(cited, []).append(ref)
        count = max(1, len(history.facts))
        self._characters = min(6_000, max(400, ALL_PAYLOADS // count))
        self._steps = min(40, max(6, ALL_STEPS // count))

    def link(self, ref: str) -> Markup:
        """Return a fact's name, as a link to it where the run has it."""
        anchor = self._anchors.get(ref)
        name = element("code", plain(ref))
        return name if anchor is None else element("a", name, href=f"#{anchor}")

    def sections(self) -> Iterator[Markup]:
        """Yield a section for each key."""
        by_key: dict[str, list[RecordedFact]] = {}
        for fact in self._history.facts.values():
            by_key.setdefault(fact.promotion["key"], []).append(fact)
        for place, (key, facts) in enumerate(by_key.items()):
            yield element(
                "details",
                element("summary", element("h3", key), element("span", number(len(facts)), class_="count")),
                map(self._fact, facts),
                class_="key",
                id=f"key-{place}",
                data_key=key,
                open=len(facts) <= OPEN_UP_TO,
            )

    def _fact(self, fact: RecordedFact) -> Markup:
        superseded = self._history.superseded.get(fact.ref)
        return element(
            "details",
            element(
                "summary",
                element("code", plain(fact.promotion["id"])),
                element("span", one_line(fact.body, 140), class_="says"),
                element("span", _tags(fact, superseded), class_="tags"),
            ),
            element("div", self._body(fact, superseded), class_="body", id=self._anchors[fact.ref]),
            class_="fact",
        )

    def _body(self, fact: RecordedFact, superseded: str | None) -> Iterable[Markup]:
        for line in account(fact):
            yield element("p", line[0].upper() + line[1:], class_="account")
        if superseded is not None:
            yield element("p", "Superseded by ", self.link(superseded), class_="account")
        text = json.dumps(fact.body, ensure_ascii=False, indent=2)
        yield element("pre", cut(text, self._characters))
        if len(text) > self._characters:
            yield element("p", f"Cut here: {number(len(text))} characters are in the ledger.", class_="quiet")
        yield definitions(_record(fact))
        if fact.evidence:
            yield element("h4", "Rests on")
            yield self._tree(fact.ref)
        if citing := self._citing.get(fact.ref):
            yield element("h4", "Cited by")
            more = len(citing) - self._steps
            shown = [element("li", self.link(ref)) for ref in citing[: self._steps]]
            yield element("ul", shown, _more(more) if more > 0 else None, class_="citing")

    def _tree(self, ref: str) -> Markup:
        """Return the lineage of a fact, as nested lists."""
        steps = lineage(self._history, ref, DEPTH)
        next(steps)  # the fact itself
        children: dict[str | None, list[Step]] = {}
        for step in islice(steps, self._steps):
            children.setdefault(step.parent, []).append(step)
        rest = sum(1 for _ in islice(steps, 10_000))
        return element("ul", self._branches(ref, children), _more(rest) if rest else None, class_="tree")

    def _branches(self, ref: str, children: Mapping[str | None, list[Step]]) -> Iterator[Markup]:
        for step in children.get(ref, ()):
            below = element("ul", self._branches(step.ref, children)) if step.sight is Sight.FACT else None
            yield element("li", self.link(step.ref), " ", element("span", _remark(step), class_="quiet"), below)


def _more(count: int) -> Markup:
    return element("li", f"… and {number(count)} more", class_="quiet")


def _remark(step: Step) -> str:
    if step.fact is None:
        return "no fact of this run"
    if step.sight is Sight.AGAIN:
        return "↑ as above"
    further = f" … rests on {len(step.fact.evidence)} more" if step.sight is Sight.CUT else ""
    return f"{one_line(step.fact.body, 80)}{further}"


def _tags(fact: RecordedFact, superseded: str | None) -> Iterator[Markup]:
    origin = origin_of(fact)
    if superseded is not None:
        yield element("span", "superseded", class_="tag warn")
    if origin not in (Origin.SUGGESTOR, Origin.INPUT):
        yield element("span", origin.value, class_="tag")
    if fact.gate is not None:
        yield element("span", "decided by a person", class_="tag human")
    if fact.proposal["confidence"] < 1:
        yield element("span", f"{fact.proposal['confidence']:.0%}", class_="tag", title="confidence")
    yield element("span", fact.promotion["proposer"], class_="tag who")


def _record(fact: RecordedFact) -> Iterator[tuple[str, object]]:
    promotion, proposal = fact.promotion, fact.proposal
    yield "Provenance", proposal["provenance"]
    if "subject" in proposal:
        yield "Subject", proposal["subject"]
    yield "Payload", f"{proposal['payload']['family']}, version {proposal['payload']['version']}"
    yield "Promoted", f"cycle {promotion['cycle']}, Lamport time {promotion['lamport']}, gate {promotion['gate']}"
    yield "Approver", f"{promotion['approver']}, on the authority of {promotion['authority']}"
    yield "Entries", f"proposed in {fact.proposed_at}, promoted in {fact.promoted_at}"
    yield "Proposal hash", element("code", promotion["proposal"])
    yield "Policy hash", element("code", promotion["policy"])


def definitions(pairs: Iterable[tuple[str, object]]) -> Markup:
    """Return names and what they stand for, as a definition list."""
    return element("dl", [element("div", element("dt", name), element("dd", value)) for name, value in pairs])
