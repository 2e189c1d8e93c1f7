"""The page: one HTML file that holds a run, to be read, printed and kept, without the program that made it.

It asks nothing of the network, which its content security policy also forbids, and works without its script, which only
filters. The policy names the script and the style by their hashes, so that even a text that found its way into the
markup could run nothing.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from importlib.resources import files
from typing import Any

from converge_cli.report import asked, people, timeline
from converge_cli.report.charts import bars, dollars, meter, number
from converge_cli.report.chronicle import Chronicle, moment
from converge_cli.report.facts import FactPages, definitions
from converge_cli.report.graph import provenance
from converge_cli.report.markup import Markup, element, raw
from converge_cli.report.wording import one_line
from converge_core import Head, StoredEntry
from converge_core.ledger import events
from converge_core.ledger.history import History
from converge_core.llm.trace import model_calls

MAX_TURNED_AWAY = 1_000
"""Proposals that were turned away and are listed one by one."""


def page(history: History, stored: Sequence[StoredEntry], head: Head, standing: tuple[str, str]) -> str:
    """Return the page of a run that is intact. ``standing`` is its status and the reason, in words."""
    chronicle, facts = Chronicle.of(stored), FactPages(history)
    style, script = (files(__package__).joinpath(name).read_text("utf-8") for name in ("page.css", "page.js"))
    body = element(
        "body",
        _header(history, chronicle, head, standing),
        element(
            "main",
            _section("budgets", "Budgets over time", _budgets(history, chronicle)),
            _section("provenance", "Provenance", _provenance(history)),
            _section("timeline", "Timeline", timeline.cycles(chronicle, history, facts)),
            _section("people", "Human gates", people.gates(history, facts)),
            _section("models", "Models", asked.section(list(model_calls(history.notes)))),
            _section("facts", "Facts", _facts(history, facts)),
            _section("turned-away", "Turned away", _turned_away(history, facts)),
            _section("constitution", "Constitution", _constitution(history)),
        ),
        element("script", raw(script)),
    )
    policy = f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; base-uri 'none'"
    top = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", f"{history.run_id}: {standing[0]}"),
        element("style", raw(style)),
    )
    return f"<!doctype html>\n{element('html', top, body, lang='en')}\n"


def _hash(text: str) -> str:
    """Return the source expression of an inline text (Content Security Policy, level 3)."""
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"


def _section(name: str, title: str, content: object) -> Markup:
    return element("section", element("h2", title), content, id=name)


def _header(history: History, chronicle: Chronicle, head: Head, standing: tuple[str, str]) -> Markup:
    intent: dict[str, Any] = dict((history.started and history.started.intent) or {})
    status, reason = standing
    decided = sum(gate.decision is not None for gate in history.gates.values())
    figures = [
        (len(history.facts), "fact", "facts", "facts"),
        (history.cycles, "cycle", "cycles", "timeline"),
        (decided, "human decision", "human decisions", "people"),
        (len(history.refused), "proposal turned away", "proposals turned away", "turned-away"),
    ]
    return element(
        "header",
        element("p", "Converge run ", element("code", history.run_id), class_="eyebrow"),
        element("h1", intent.get("objective") or intent.get("id") or history.run_id),
        element("p", element("span", status, class_=f"status {status}"), " ", reason, class_="standing"),
        element(
            "ul",
            [
                element(
                    "li", element("a", element("strong", number(count)), one if count == 1 else many, href=f"#{place}")
                )
                for count, one, many, place in figures
            ],
            class_="figures",
        ),
        _criteria(history, intent),
        definitions(
            [
                ("Intent", f"{intent.get('id', 'none')} ({intent.get('kind', 'without an intent file')})"),
                *_scope(intent),
                *_parent(history),
                ("Recorded", f"{moment(chronicle.began)} to {moment(chronicle.ended)} UTC"),
                ("Ledger head", element("code", head)),
                ("Merkle root", _root(history)),
            ]
        ),
        element(
            "p",
            "The head covers every entry of the run, the Merkle root its facts. ",
            element("code", f"converge verify {history.run_id} --head {head}"),
            " checks a ledger against this page.",
            class_="quiet",
        ),
    )


def _scope(intent: dict[str, Any]) -> Iterator[tuple[str, object]]:
    if intent.get("scope"):
        yield "Scope", ", ".join(one_line(part) for part in intent["scope"])


def _parent(history: History) -> Iterator[tuple[str, object]]:
    if history.started is not None and history.started.parent is not None:
        yield "Forked from", one_line(history.started.parent)


def _root(history: History) -> object:
    return element("code", history.stop.merkle_root) if history.stop is not None else "not stopped yet"


def _criteria(history: History, intent: dict[str, Any]) -> Markup | None:
    if not history.criteria:
        return None
    named = {item.get("id"): item.get("description") for item in intent.get("success", ()) if isinstance(item, dict)}
    return element(
        "ul",
        [
            element(
                "li",
                element("span", event.result, class_=f"verdict {event.result}"),
                element(
                    "span",
                    named.get(event.criterion) or event.criterion,
                    None if event.required else element("span", " · optional", class_="quiet"),
                    element("span", f" · {event.reason}", class_="quiet") if event.reason else None,
                ),
            )
            for event in history.criteria
        ],
        class_="criteria",
    )


def _budgets(history: History, chronicle: Chronicle) -> Markup:
    cycles, budget = chronicle.cycles, chronicle.budget
    tokens, cost = sum(cycle.tokens for cycle in cycles), sum(cycle.usage["cost_microusd"] for cycle in cycles)
    times = [cycle.elapsed_ms for cycle in cycles if cycle.elapsed_ms is not None]
    cards = [
        _card("Cycles", history.cycles, budget.get("max_cycles")),
        _card("Facts", len(history.facts), budget.get("max_facts")),
        _card("Tokens", tokens, budget.get("max_tokens")),
        _card("Cost", cost, budget.get("max_cost_microusd"), dollars),
        _card("Working time", max(times, default=0), budget.get("time_limit_ms"), _seconds),
    ]
    charts = [
        ("Facts per cycle", "facts", [(cycle.number, cycle.facts) for cycle in cycles]),
        ("Suggestors asked per cycle", "calls", [(cycle.number, len(cycle.calls)) for cycle in cycles]),
        ("Turned away per cycle", "proposals", [(cycle.number, cycle.turned_away.total()) for cycle in cycles]),
        ("Tokens per cycle", "tokens", [(cycle.number, cycle.tokens) for cycle in cycles]),
        ("Cost per cycle", "micro-dollars", [(cycle.number, cycle.usage["cost_microusd"]) for cycle in cycles]),
        (
            "Working time, in all",
            "ms since the start",
            [(c.number, c.elapsed_ms) for c in cycles if c.elapsed_ms is not None],
        ),
    ]
    drawn = [
        element("figure", element("figcaption", title), bars(values, unit))
        for title, unit, values in charts
        if any(value for _, value in values)
    ]
    return element("div", element("ul", cards, class_="cards"), element("div", drawn, class_="charts"))


def _card(name: str, used: int, limit: object, shown: Any = number) -> Markup | None:
    if not used and not limit:
        return None
    bounded = isinstance(limit, int)
    return element(
        "li",
        element("span", name, class_="quiet"),
        element("strong", shown(used)),
        element("span", f"of {shown(limit)}" if bounded else "no limit", class_="quiet"),
        meter(used, limit) if isinstance(limit, int) else None,
    )


def _seconds(milliseconds: int) -> str:
    return f"{milliseconds / 1000:,.1f} s"


def _provenance(history: History) -> Iterable[Markup]:
    if not history.facts:
        return [element("p", "No facts.", class_="quiet")]
    lead = "Each box is the facts of a key from one proposer, each line how often they cite those on its left. "
    more = "What a single fact rests on is shown with it, below; a dot marks what people have decided."
    return [
        element("p", lead, more, class_="lead"),
        element("div", provenance(history), class_="wide"),
    ]


def _facts(history: History, facts: FactPages) -> Iterable[Markup]:
    if not history.facts:
        return [element("p", "No facts.", class_="quiet")]
    field = element("input", type="search", placeholder="Filter by id, words or proposer", aria_label="Filter facts")
    count = element("span", class_="quiet", id="found", role="status")
    return [
        element("div", field, element("span", class_="chips"), count, class_="filter", hidden=True),
        element("div", facts.sections(), class_="keys"),
    ]


def _turned_away(history: History, facts: FactPages) -> Iterable[Markup]:
    if not history.refused:
        return [element("p", "No proposal was rejected, contradicted a fact or repeated one.", class_="quiet")]
    rows = []
    for event in history.refused[:MAX_TURNED_AWAY]:
        told: dict[str, Any] = event.to_json()
        proposal = history.proposal(told["proposer"], told.get("proposal"))
        code = told.get("code") or "conflict"
        what = code if not isinstance(event, events.ProposalDuplicate) else f"duplicate of a {code}"
        said = one_line(proposal["payload"]["body"]) if proposal is not None else ""
        name = facts.link(f"{told['key']}/{told['id']}")
        reason = told.get("reason", "")
        rows.append((told["cycle"], name, said, told["proposer"], what.replace("_", " "), reason))
    table = people.table(("cycle", "proposal", "says", "proposer", "why", "reason"), rows)
    left = len(history.refused) - len(rows)
    note = element("p", f"… and {number(left)} more: converge show --json lists them.", class_="quiet")
    return [element("div", table, class_="wide"), *([note] if left else [])]


def _constitution(history: History) -> Iterable[Markup]:
    started = history.started
    if started is None:
        return
    yield element("p", "What was fixed before the first cycle.", class_="lead")
    for title, value in (
        ("Suggestors", started.suggestors),
        ("Gates", started.gates),
        ("Invariants", started.invariants),
        ("Budget", started.budget),
    ):
        text = json.dumps(value, ensure_ascii=False, indent=2)
        yield element("details", element("summary", element("h3", title)), element("pre", text), class_="key")
