"""How two ledgers are told to mean the same: what may match, how far apart it is, how sure a match is, what is left.

The distance of two lines is counted in points: for the amounts, the days between them, the names, the references. A
line that stays alone costs points too (`alone` in intent.yaml), so two lines further apart than both of these together
are better left alone. Which lines go together is for the solvers to say: here are the problems they get, and what
follows from their plans. All money is whole cents.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import date
from itertools import combinations
from typing import Any, NamedTuple

from converge_core import Context, ContextKey, DataPayload, Fact, FactPayload, ProposedFact, suggestor
from converge_plugins.solvers.assignment import AssignmentPlan, AssignmentProblem, Pair
from converge_plugins.solvers.knapsack import KnapsackItem, KnapsackPlan, KnapsackProblem

Proposal = ProposedFact[FactPayload]


class Line(NamedTuple):
    """A line of either ledger; ``name`` is who it names as trigrams, ``number`` the last digits of its reference."""

    id: str
    fact: str
    day: int
    amount: int
    currency: str
    name: frozenset[str]
    number: str
    shown: str


Match = tuple[Sequence[Line], Sequence[Line]]
"""What the bank has, and what the book has for it."""


class Rules(NamedTuple):
    """The rules of intent.yaml, which says what each is."""

    alone: int
    days_before: int
    days_after: int
    fee: int
    discount_percent: int
    group_size: int
    noise: Sequence[str]


# The problems.


@suggestor(reads=ContextKey.SEEDS, writes=ContextKey.HYPOTHESES)
def pair_lines(ctx: Context) -> Proposal:
    """State the problem of matching line to line: the pairs that are close enough, and how far apart they are."""
    rules, bank, book = _rules(ctx), _lines(ctx, "bank"), _lines(ctx, "book")
    if shared := {line.id for line in bank} & {line.id for line in book}:
        raise ValueError(f"lines of both ledgers have the same name: {', '.join(sorted(shared)[:5])}")
    near = _ByAmount(book, rules)
    pairs = [
        Pair(line.id, other.id, points)
        for line in bank
        for other in near.to(line)
        if (points := _distance(line, other, rules)) is not None
    ]
    problem = AssignmentProblem(
        lefts=tuple(line.id for line in bank),
        rights=tuple(line.id for line in book),
        pairs=tuple(pairs),
        unmatched_left=rules.alone,
        unmatched_right=rules.alone,
    )
    return ProposedFact(ContextKey.HYPOTHESES, "lines", problem, evidence=["constraints/rules"])


@suggestor(reads=(ContextKey.STRATEGIES, AssignmentPlan), writes=ContextKey.HYPOTHESES)
def group_lines(ctx: Context) -> Iterator[Proposal]:
    """State the problem of matching one line to several, for the lines that stayed alone.

    A group may be chosen or not, a line belongs to one group at most: that is a knapsack in which every line is a
    resource of which there is 1. The id of a group says what it is: ``B0007=K0004+K0011``.
    """
    rules = _rules(ctx)
    for plan in ctx.fresh(ContextKey.STRATEGIES, AssignmentPlan):
        bank = [line for line in _lines(ctx, "bank") if line.id in set(plan.payload.unmatched_lefts)]
        book = [line for line in _lines(ctx, "book") if line.id in set(plan.payload.unmatched_rights)]
        groups: list[Match] = [((one,), several) for one in bank for several in _sums(one, book, rules)]
        groups += [(several, (one,)) for one in book for several in _sums(one, bank, rules)]
        items = []
        for banked, booked in groups:
            ids = [line.id for line in (*banked, *booked)]
            value = rules.alone * len(ids) - _group_distance(banked, booked)
            items.append(KnapsackItem(id=_group_id(banked, booked), value=value, costs=dict.fromkeys(ids, 1)))
        problem = KnapsackProblem(items=tuple(items), limits={name: 1 for item in items for name in item.costs})
        yield ProposedFact(ContextKey.HYPOTHESES, "groups", problem, evidence=[plan])


# The matches.


@suggestor(reads=ContextKey.STRATEGIES, writes=(ContextKey.EVALUATIONS, ContextKey.SIGNALS))
def state_matches(ctx: Context) -> Iterator[Proposal]:
    """Propose every match of a new plan, each as sure as it can be, and say how many there are."""
    lines = {line.id: line for ledger in ("bank", "book") for line in _lines(ctx, ledger)}
    for plan in ctx.fresh(ContextKey.STRATEGIES):
        matches = list(_matches(ctx, plan, lines))
        for (bank, book), sure in matches:
            fact_id, data = f"match:{_group_id(bank, book)}", _match(bank, book)
            evidence = [plan.ref, *(line.fact for line in (*bank, *book))]
            yield _say(ContextKey.EVALUATIONS, fact_id, data, evidence, sure)
        said = {"matches": len(matches), "plan": plan.payload.summary()}
        yield _say(ContextKey.SIGNALS, f"stated:{plan.id}", said, [plan.ref])


def _matches(ctx: Context, plan: Fact[FactPayload], lines: Mapping[str, Line]) -> Iterator[tuple[Match, float]]:
    """Yield what a plan matches, and how sure each of it is. An outcome without a plan matches nothing."""
    rules, chosen = _rules(ctx), plan.payload
    problem = ctx.resolve(plan.evidence[0])
    stated = None if problem is None else problem.payload
    if isinstance(chosen, AssignmentPlan) and isinstance(stated, AssignmentProblem):
        margins = _margins(stated, chosen, rules)
        for pair in chosen.pairs:
            yield ([lines[pair.left]], [lines[pair.right]]), _sureness(pair.cost, margins[pair], rules)
    elif isinstance(chosen, KnapsackPlan) and isinstance(stated, KnapsackProblem):
        for group in chosen.chosen:
            bank, book = ([lines[name] for name in side.split("+")] for side in group.split("="))
            yield (bank, book), _sureness(_group_distance(bank, book), _group_margin(group, stated), rules)


# What is left.


def _all_stated(ctx: Context) -> bool:
    return ctx.count(ContextKey.SIGNALS) == 2


@suggestor(reads=ContextKey.SIGNALS, writes=ContextKey.PROPOSALS, accepts=_all_stated)
def close(ctx: Context) -> Iterator[Proposal]:
    """List the lines without a match and state the balance of each currency, once people have decided what they must.

    What a human turned down is no match, so its lines are listed.
    """
    matches = [match.payload for match in ctx.get(ContextKey.EVALUATIONS, DataPayload)]
    sums: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(_SUMS, 0))
    for ledger in ("bank", "book"):
        matched = {name for match in matches for name in match[ledger]}
        for line in _lines(ctx, ledger):
            sums[line.currency][f"{ledger}_total"] += line.amount
            if line.id not in matched:
                sums[line.currency][f"{ledger}_unmatched"] += line.amount
                data = {"ledger": ledger, "line": line.id, "currency": line.currency, "amount": line.amount}
                yield _say(ContextKey.PROPOSALS, f"unmatched:{line.id}", {**data, "what": line.shown}, [line.fact])
        for match in matches:
            sums[match["currency"]][f"{ledger}_matched"] += match[f"{ledger}_amount"]
    for currency, balance in sorted(sums.items()):
        difference = balance["bank_matched"] - balance["book_matched"]
        data = {"currency": currency, **balance, "fees_and_discounts": difference}
        yield _say(ContextKey.PROPOSALS, f"balance:{currency}", data)


_SUMS = [f"{ledger}_{part}" for ledger in ("bank", "book") for part in ("total", "matched", "unmatched")]


# Distances.


def _distance(bank: Line, book: Line, rules: Rules) -> int | None:
    """Return how far apart two lines are, in points; None if they cannot be the same."""
    money = _money_points(abs(bank.amount), abs(book.amount), rules)
    days = bank.day - book.day
    if money is None or not -rules.days_before <= days <= rules.days_after:
        return None
    names, numbers = _name_points(bank, book), _number_points(bank, book)
    if money and names > 15 and numbers:
        return None  # another amount of somebody else
    points = money + (days if days >= 0 else -3 * days) + names + numbers
    return points if points < 2 * rules.alone else None


def _money_points(bank: int, book: int, rules: Rules) -> int | None:
    """Return 0 for the same amount; points for less than was booked, or for digits that changed places."""
    if bank == book:
        return 0
    if 0 < book - bank <= max(rules.fee, book * rules.discount_percent // 100):
        return 12
    if len(str(bank)) == len(str(book)) and sorted(str(bank)) == sorted(str(book)):
        return 20
    return None


def _name_points(one: Line, other: Line) -> int:
    """Return 0 to 30: the bank leaves out words and cuts names short, so the shorter of both is looked for."""
    shorter = min(len(one.name), len(other.name))
    return 30 - 30 * len(one.name & other.name) // shorter if shorter else 30


def _number_points(one: Line, other: Line) -> int:
    if not one.number or not other.number:
        return 6
    if one.number == other.number:
        return 0
    return 4 if sorted(one.number) == sorted(other.number) else 16


class _ByAmount:
    """The lines of one ledger by currency and amount, so that few of them have to be looked at."""

    def __init__(self, lines: Iterable[Line], rules: Rules) -> None:
        self._rules = rules
        self._ordered: dict[str, list[Line]] = defaultdict(list)
        self._by_digits: dict[tuple[str, bool, str], list[Line]] = defaultdict(list)
        for line in sorted(lines, key=lambda line: (line.amount, line.id)):
            self._ordered[line.currency].append(line)
            self._by_digits[_digits(line)].append(line)

    def to(self, line: Line) -> Iterator[Line]:
        """Yield the lines whose amount may be that of a line."""
        percent = self._rules.discount_percent
        room = max(self._rules.fee, abs(line.amount) * percent // (100 - percent))
        low, high = sorted((line.amount, line.amount + (room if line.amount > 0 else -room)))
        ordered = self._ordered[line.currency]
        first = bisect_left(ordered, low, key=lambda other: other.amount)
        last = bisect_right(ordered, high, key=lambda other: other.amount)
        yield from ordered[first:last]
        yield from (other for other in self._by_digits[_digits(line)] if not low <= other.amount <= high)


def _digits(line: Line) -> tuple[str, bool, str]:
    return line.currency, line.amount > 0, "".join(sorted(str(abs(line.amount))))


# Groups.


def _sums(one: Line, pool: Iterable[Line], rules: Rules) -> Iterator[tuple[Line, ...]]:
    """Yield the lines of the other ledger that make up the amount of one together."""
    parts = [
        line
        for line in pool
        if line.currency == one.currency
        and line.amount * one.amount > 0
        and abs(line.amount) < abs(one.amount)
        and abs(line.day - one.day) <= rules.days_after
        and _name_points(one, line) <= 15
    ]
    for size in range(2, rules.group_size + 1):
        yield from (several for several in combinations(parts, size) if sum(p.amount for p in several) == one.amount)


def _group_distance(bank: Sequence[Line], book: Sequence[Line]) -> int:
    """Return the points of a group: the worst name, the longest wait, the best number."""
    links = [(one, other) for one in bank for other in book]
    days = max(abs(one.day - other.day) for one, other in links)
    numbers = min(_number_points(one, other) for one, other in links)
    return max(_name_points(one, other) for one, other in links) + days + numbers


def _group_id(bank: Sequence[Line], book: Sequence[Line]) -> str:
    return "=".join("+".join(line.id for line in side) for side in (bank, book))


# How sure.


def _sureness(points: int, margin: int, rules: Rules) -> float:
    """Return the confidence in a match that is so far apart, and better by a margin than what could be instead."""
    close = 1 - points / (4 * rules.alone)
    alone = min(1.0, 0.5 + margin / rules.alone)
    return round(0.99 * close * alone, 2)


def _margins(problem: AssignmentProblem, plan: AssignmentPlan, rules: Rules) -> Mapping[Pair, int]:
    """Return for each pair how many points its lines would be further apart, had they been given to others.

    Others are partners that are alone, or that swap with them.
    """
    points = {(pair.left, pair.right): pair.cost for pair in problem.pairs}
    partner = {pair.right: pair for pair in plan.pairs} | {pair.left: pair for pair in plan.pairs}
    margins = {pair: 2 * rules.alone - pair.cost for pair in plan.pairs}
    for left, right, cost in problem.pairs:
        one, other = partner.get(left), partner.get(right)
        if one == other:
            continue
        if one is None or other is None:
            loser = one or other
            if loser is not None:
                margins[loser] = min(margins[loser], cost - loser.cost)
            continue
        back = points.get((other.left, one.right), 2 * rules.alone)
        margin = cost + back - one.cost - other.cost
        margins[one], margins[other] = min(margins[one], margin), min(margins[other], margin)
    return margins


def _group_margin(chosen: str, problem: KnapsackProblem) -> int:
    """Return how much a group is worth beyond the best that shares a line with it."""
    items = {item.id: item for item in problem.items}
    rivals = [item.value for item in problem.items if item.id != chosen and set(item.costs) & set(items[chosen].costs)]
    return items[chosen].value - max(rivals, default=0)


# The ledgers.


def _rules(ctx: Context) -> Rules:
    rules = ctx.find(ContextKey.CONSTRAINTS, "rules", DataPayload)
    if rules is None:
        raise LookupError("intent.yaml gives no rules")
    return Rules(**rules.payload.data)


def _lines(ctx: Context, ledger: str) -> list[Line]:
    """Return the lines of a ledger in the order of their ids."""
    noise = frozenset(_rules(ctx).noise)
    facts = (fact for fact in ctx.get(ContextKey.SEEDS, DataPayload) if fact.id.startswith(f"{ledger}:"))
    return sorted(_line(fact.ref, fact.payload.data, noise) for fact in facts)


def _line(ref: str, row: Mapping[str, Any], noise: Collection[str]) -> Line:
    """Read a row; the bank has one text for what the book has in two columns."""
    name = row.get("counterparty") or row.get("text", "")
    numbers = re.findall(r"\d+", row.get("reference", name))
    day = row.get("booked_on") or row["posted_on"]
    words = [row["line"], day, _money(row["amount"]), row["currency"], name, row.get("reference", "")]
    return Line(
        id=row["line"],
        fact=ref,
        day=date.fromisoformat(day).toordinal(),
        amount=row["amount"],
        currency=row["currency"],
        name=_trigrams(name, noise),
        number=numbers[-1][-4:] if numbers else "",
        shown=" ".join(filter(None, words)),
    )


_SPELLED = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ø": "o", "ł": "l", "&": " und ", "+": " und "})


def _trigrams(text: str, noise: Collection[str]) -> frozenset[str]:
    """Return the trigrams of the words of a name, in the bank's spelling, without those that are noise."""
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFC", text).casefold().translate(_SPELLED))
    letters = "".join(letter for letter in plain if not unicodedata.combining(letter)).replace(".", "")
    words = [word for word in re.findall(r"[a-z]+", letters) if word not in noise]
    return frozenset(padded[at : at + 3] for word in words for padded in [f" {word} "] for at in range(len(word)))


def _match(bank: Sequence[Line], book: Sequence[Line]) -> dict[str, Any]:
    sums = [sum(line.amount for line in side) for side in (bank, book)]
    return {
        "bank": [line.id for line in bank],
        "book": [line.id for line in book],
        "currency": bank[0].currency,
        "bank_amount": sums[0],
        "book_amount": sums[1],
        "what": " | ".join(line.shown for line in (*bank, *book)),
    }


def _money(cents: int) -> str:
    return f"{'-' if cents < 0 else ''}{abs(cents) // 100:,}.{abs(cents) % 100:02d}"


def _say(
    key: ContextKey, fact_id: str, data: Mapping[str, Any], evidence: Collection[str] = (), confidence: float = 1.0
) -> Proposal:
    return ProposedFact(key, fact_id, DataPayload(data=data), confidence=confidence, evidence=evidence)
