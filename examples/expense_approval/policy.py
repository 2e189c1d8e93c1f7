"""What the rules in intent.yaml cannot say: how a claim is read, what only shows across claims, and the sums.

Each suggestor reads one layer of facts and writes the next: seeds, hypotheses, signals, evaluations, strategies,
proposals. A cycle merges everything its suggestors propose before anybody is asked again, so whoever reads a layer
finds it complete. All money is whole cents.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from decimal import ROUND_HALF_UP, Decimal
from difflib import SequenceMatcher
from itertools import combinations

from converge_core import Context, ContextKey, DataPayload, DiagnosticPayload, Fact, ProposedFact, suggestor

DataFact = Fact[DataPayload]
Proposal = ProposedFact[DataPayload]

CERTAIN = 95  # points of confidence in a claim without a flag


# Hypotheses: each claim as the policy reads it.


@suggestor(reads=ContextKey.SEEDS, writes=ContextKey.HYPOTHESES)
def read_claims(ctx: Context) -> Iterator[Proposal]:
    """Read claims in EUR cents and in one spelling, each beside the limit of its category."""
    for seed in ctx.fresh(ContextKey.SEEDS, DataPayload):
        row = seed.payload
        category, currency = _plain(row["category"]).lower(), _plain(row["currency"]).upper()
        limit = _policy(ctx, f"limit:{category}")
        rate = _policy(ctx, f"rate:{currency}")
        if rate is None:
            raise LookupError(f"{row['id']} is in {currency}, for which rates.csv has no rate")
        data = {
            "claim": row["id"],
            "employee_no": row["employee_no"],
            "employee": _plain(row["employee"]),
            "category": category,
            "merchant": _plain(row["merchant"]),
            "description": _plain(row["description"]),
            "spent_on": row["spent_on"],
            "submitted_on": row["submitted_on"],
            "amount": _cents(Decimal(row["amount"]) / Decimal(rate["per_eur"])),
            "claimed": row["amount"],
            "currency": currency,
            "receipt": re.sub(r"\W", "", row["receipt"]).upper(),
            "limit": None if limit is None else limit["limit"],
            "weekend": "ask" if limit is None else limit["weekend"],
        }
        read_by = [f"constraints/rate:{currency}"] + ([f"constraints/limit:{category}"] if limit is not None else [])
        yield _propose(ContextKey.HYPOTHESES, f"claim:{row['id']}", data, [seed, *read_by])


# Signals: what only shows across claims. The others are rules in intent.yaml.


@suggestor(reads=ContextKey.HYPOTHESES, writes=ContextKey.SIGNALS)
def duplicates(ctx: Context) -> Iterator[Proposal]:
    """Flag what was submitted before, by the same employee or by another."""
    for copy, original in _repeats(_claims(ctx)):
        yield _flag("duplicate", copy, [copy, original], of=original.payload["claim"])


@suggestor(reads=ContextKey.HYPOTHESES, writes=ContextKey.SIGNALS)
def split_claims(ctx: Context) -> Iterator[Proposal]:
    """Flag claims within a limit that one employee spent at one place on one day, and that exceed it together."""
    bills: dict[tuple[str, ...], list[DataFact]] = defaultdict(list)
    for claim in _originals(_claims(ctx)):
        data = claim.payload
        if data["limit"] is not None and data["amount"] <= data["limit"]:
            bills[data["employee_no"], data["category"], data["spent_on"], _spelling(data["merchant"])].append(claim)
    for parts in bills.values():
        total = sum(part.payload["amount"] for part in parts)
        if total > parts[0].payload["limit"]:
            for part in parts:
                yield _flag("split", part, parts, together=total)


@suggestor(reads=ContextKey.HYPOTHESES, writes=ContextKey.SIGNALS)
def monthly_budgets(ctx: Context) -> Iterator[Proposal]:
    """State what each employee claims in the month, and flag the claims that go beyond the budget."""
    month = _month(ctx)
    totals: dict[str, int] = defaultdict(int)
    for claim in _originals(_claims(ctx)):
        employee = claim.payload["employee_no"]
        totals[employee] += claim.payload["amount"]
        if totals[employee] > month["employee_budget"]:
            yield _flag("over-budget", claim, [claim], claimed_so_far=totals[employee])
    for employee, total in totals.items():
        yield _propose(ContextKey.SIGNALS, f"total:{employee}", {"employee_no": employee, "claimed": total})


# Evaluations: one assessment a claim, which cites all its flags.


@suggestor(reads=ContextKey.SIGNALS, writes=ContextKey.EVALUATIONS)
def assess(ctx: Context) -> Iterator[Proposal]:
    """Weigh the flags of each claim by policy.yaml. That there are signals says that all flags are there."""
    flags: dict[str, list[DataFact]] = defaultdict(list)
    for signal in ctx.get(ContextKey.SIGNALS, DataPayload):
        if "flag" in signal.payload.data:
            flags[signal.payload["claim"]].append(signal)
    for claim in _claims(ctx):
        data = claim.payload
        raised = sorted(flags[data["claim"]], key=lambda signal: str(signal.payload["flag"]))
        names = [signal.payload["flag"] for signal in raised]
        meanings = [_meaning(ctx, name) for name in names]
        refusing = [meaning for meaning in meanings if meaning["effect"] == "refuse"]
        points = CERTAIN - sum(0 if refusing else meaning["points"] for meaning in meanings)
        assessment = {
            "claim": data["claim"],
            "employee_no": data["employee_no"],
            "employee": data["employee"],
            "amount": data["amount"],
            "flags": names,
            "refuse": bool(refusing),
            "certainty": max(points, 0) / 100,
            "because": "; ".join(meaning["says"] for meaning in refusing or meanings) or "within the policy",
            "what": _sentence(data),
        }
        yield _propose(ContextKey.EVALUATIONS, f"assessment:{data['claim']}", assessment, [claim, *raised])


# Strategies: the decisions. Rules in intent.yaml propose them; here is what follows from a human's no.


@suggestor(reads=ContextKey.DIAGNOSTIC, writes=ContextKey.STRATEGIES)
def turn_down(ctx: Context) -> Iterator[Proposal]:
    """Decide the claims that a human would not pay.

    A human's answers come together, so once there is a no, an assessed claim without a decision is one of those.
    """
    refusals = [fact for fact in ctx.fresh(ContextKey.DIAGNOSTIC, DiagnosticPayload) if fact.payload.source == "hitl"]
    decided = {decision.payload["claim"] for decision in ctx.get(ContextKey.STRATEGIES, DataPayload)}
    for assessment in ctx.get(ContextKey.EVALUATIONS, DataPayload) if refusals else ():
        data = assessment.payload
        if data["claim"] not in decided:
            decision = {
                **{name: data[name] for name in ("claim", "employee_no", "employee", "what")},
                "action": "reject",
                "amount": 0,
                "because": f"a human would not pay it ({data['because']})",
            }
            yield _propose(ContextKey.STRATEGIES, f"decision:{data['claim']}", decision, [assessment])


# Proposals: what is to be paid.


def _all_decided(ctx: Context) -> bool:
    return ctx.count(ContextKey.STRATEGIES) == ctx.count(ContextKey.EVALUATIONS)


@suggestor(reads=ContextKey.STRATEGIES, writes=ContextKey.PROPOSALS, accepts=_all_decided)
def pay_out(ctx: Context) -> Iterator[Proposal]:
    """Propose a line for each employee who is paid anything, and the total of the month, once all is decided."""
    payout = f"payout:{_month(ctx)['month']}"
    lines: dict[str, list[DataFact]] = defaultdict(list)
    for decision in ctx.get(ContextKey.STRATEGIES, DataPayload):
        if decision.payload["action"] == "approve":
            lines[decision.payload["employee_no"]].append(decision)
    for employee, decisions in sorted(lines.items()):
        line = {
            "employee_no": employee,
            "employee": Counter(decision.payload["employee"] for decision in decisions).most_common(1)[0][0],
            "claims": len(decisions),
            **_sum(decisions),
        }
        yield _propose(ContextKey.PROPOSALS, f"{payout}:{employee}", line, decisions)
    approved = [decision for decisions in lines.values() for decision in decisions]
    total = {"employees": len(lines), "claims": len(approved), **_sum(approved)}
    yield _propose(ContextKey.PROPOSALS, payout, total, approved)


# The words of this policy.


def _propose(
    key: ContextKey, fact_id: str, data: Mapping[str, object], evidence: Iterable[DataFact | str] = ()
) -> Proposal:
    return ProposedFact(key, fact_id, DataPayload(data=data), evidence=evidence)


def _flag(flag: str, claim: DataFact, evidence: Iterable[DataFact], **details: object) -> Proposal:
    name = claim.payload["claim"]
    return _propose(ContextKey.SIGNALS, f"{flag}:{name}", {"flag": flag, "claim": name, **details}, evidence)


def _policy(ctx: Context, name: str) -> DataPayload | None:
    fact = ctx.find(ContextKey.CONSTRAINTS, name)
    return fact.payload if fact is not None and isinstance(fact.payload, DataPayload) else None


def _meaning(ctx: Context, flag: str) -> DataPayload:
    meaning = _policy(ctx, f"flag:{flag}")
    if meaning is None:
        raise LookupError(f"policy.yaml does not say what the flag {flag!r} means")
    return meaning


def _month(ctx: Context) -> DataPayload:
    month = _policy(ctx, "month")
    if month is None:
        raise LookupError("intent.yaml gives no month")
    return month


def _claims(ctx: Context) -> list[DataFact]:
    """Return the claims in the order in which they were submitted."""
    claims = ctx.get(ContextKey.HYPOTHESES, DataPayload)
    return sorted(claims, key=lambda claim: (str(claim.payload["submitted_on"]), str(claim.payload["claim"])))


def _repeats(claims: Iterable[DataFact]) -> list[tuple[DataFact, DataFact]]:
    """Return the claims that repeat an earlier one, each with the first that it repeats."""
    by_amount: dict[tuple[int, str], list[DataFact]] = defaultdict(list)
    for claim in claims:
        by_amount[claim.payload["claimed"], claim.payload["currency"]].append(claim)
    repeats: dict[str, tuple[DataFact, DataFact]] = {}
    for alike in by_amount.values():
        for earlier, later in combinations(alike, 2):
            if earlier.id not in repeats and _same_receipt(earlier.payload, later.payload):
                repeats.setdefault(later.id, (later, earlier))
    return list(repeats.values())


def _originals(claims: list[DataFact]) -> list[DataFact]:
    copies = {copy.id for copy, _ in _repeats(claims)}
    return [claim for claim in claims if claim.id not in copies]


def _same_receipt(one: DataPayload, other: DataPayload) -> bool:
    """Whether two claims over the same amount are the same: by the receipt's number, or by who, when and where."""
    if one["receipt"] and one["receipt"] == other["receipt"]:
        return True
    if (one["employee_no"], one["spent_on"]) != (other["employee_no"], other["spent_on"]):
        return False
    return SequenceMatcher(None, _spelling(one["merchant"]), _spelling(other["merchant"])).ratio() >= 0.8


_LEGAL_FORMS = frozenset(("ag", "bv", "ev", "gmbh", "inc", "ltd", "sa", "srl"))


def _spelling(merchant: str) -> str:
    """Return a merchant's name without case, accents, punctuation, legal form and order of words."""
    plain = unicodedata.normalize("NFKD", merchant.casefold().replace(".", ""))
    words = re.findall(r"\w+", "".join(letter for letter in plain if not unicodedata.combining(letter)))
    return " ".join(sorted(word for word in words if word not in _LEGAL_FORMS))


def _plain(text: str) -> str:
    return " ".join(text.split())


def _cents(amount: Decimal) -> int:
    return int(amount.quantize(Decimal(1), ROUND_HALF_UP))


def _sentence(data: DataPayload) -> str:
    paid = f"{_money(data['amount'])} EUR"
    if data["currency"] != "EUR":
        paid += f" ({_money(data['claimed'])} {data['currency']})"
    bought = f"{data['category']}, {data['description']}" if data["description"] else data["category"]
    return f"{paid} at {data['merchant']} on {data['spent_on']}: {bought}"


def _sum(decisions: Iterable[DataFact]) -> dict[str, object]:
    cents = sum(decision.payload["amount"] for decision in decisions)
    return {"amount": cents, "amount_eur": _money(cents)}


def _money(cents: int) -> str:
    return f"{cents // 100:,}.{cents % 100:02d}"
