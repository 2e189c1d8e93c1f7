"""Evals: graded judgements of what a run has concluded, of one that is over or of one that goes on.

An eval reads a context and gives an outcome and a score; it decides nothing, and no eval keeps a run from anything. A
criterion says whether a run has succeeded; an eval says how good it was, and may be thought of years later.

In a run, an `EvalSuggestor` asks the evals that depend on what is new, and proposes what they say: their outcomes are
facts under ``evaluations``, and pass the gates as all facts do. An eval that raises, or cites what is no fact, is
indeterminate, with the reason.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import ClassVar, Protocol

from pydantic import Field

from converge_core.context.facts import ENGINE, ProposedFact
from converge_core.context.keys import ContextKey
from converge_core.context.payloads import FactPayload, FrozenDict, FrozenObject
from converge_core.context.state import Context
from converge_core.errors import MisuseError
from converge_core.ledger.canonical import JsonValue, canonical
from converge_core.ledger.events import printable
from converge_core.ledger.hashes import ContentHash
from converge_core.suggestors.contract import AgentEffect, Suggestor

MAX_NAME_BYTES = 200
"""The longest name of an eval in UTF-8: the id of its outcome, which has more in it, is one that the gate takes."""


class EvalOutcome(StrEnum):
    """What an eval comes to."""

    PASS = "pass"  # noqa: S105  # a verdict
    FAIL = "fail"
    INDETERMINATE = "indeterminate"


class EvalFact(FactPayload):
    """The outcome of an eval, as a fact; ``facts`` (``key/id``) are those that it rests on."""

    family: ClassVar[str] = "converge.eval.outcome"

    eval: str = Field(min_length=1)
    outcome: EvalOutcome
    score: float = Field(ge=0, le=1)
    rationale: str
    facts: tuple[str, ...] = ()
    metadata: FrozenObject = Field(default_factory=FrozenDict)

    def summary(self) -> str:
        return f"Outcome: {self.outcome.capitalize()} | Score: {self.score:.2f} | {self.rationale}"


@dataclass(frozen=True, slots=True)
class EvalResult:
    """What an eval says: an outcome, how good that is, and why.

    A ``score`` out of 0.0 to 1.0 becomes the nearer end. ``fact_ids`` name facts as ``key/id``. Raises MisuseError for
    a score that is no number.
    """

    eval_name: str
    outcome: EvalOutcome
    score: float
    rationale: str = ""
    fact_ids: tuple[str, ...] = ()
    metadata: Mapping[str, JsonValue] | None = None

    def __post_init__(self) -> None:
        if math.isnan(self.score):
            raise MisuseError(f"the score of {self.eval_name!r} is no number")
        object.__setattr__(self, "score", min(max(float(self.score), 0.0), 1.0))

    def to_json(self) -> dict[str, JsonValue]:
        """Return the result as JSON."""
        return {
            "eval": self.eval_name,
            "outcome": self.outcome.value,
            "score": self.score,
            "rationale": self.rationale,
            "facts": list(self.fact_ids),
            "metadata": dict(self.metadata or {}),
        }

    def fact(self) -> EvalFact:
        """Return the result as what a fact says."""
        return EvalFact.model_validate(self.to_json())

    def proposal(self, id: str | None = None) -> ProposedFact[EvalFact]:
        """Return the result as a proposal for ``evaluations``: ``eval:name``, or ``eval:name:id``."""
        fact_id = f"eval:{self.eval_name}" if id is None else f"eval:{self.eval_name}:{id}"
        return ProposedFact(ContextKey.EVALUATIONS, fact_id, self.fact(), evidence=self.fact_ids)


class Eval(Protocol):
    """Judges a context. Pure: the same facts, the same result."""

    @property
    def name(self) -> str:
        """Its name, unique within a registry."""
        ...

    @property
    def description(self) -> str:
        """What it judges, for people."""
        ...

    @property
    def dependencies(self) -> Iterable[ContextKey]:
        """The keys whose facts it reads; all of them, if there are none."""
        ...

    def evaluate(self, ctx: Context) -> EvalResult:
        """Return the result on a context."""
        ...


class EvalRegistry:
    """Evals by name, in the order in which they were registered."""

    def __init__(self, evals: Iterable[Eval] = ()) -> None:
        self._evals: dict[str, Eval] = {}
        for one in evals:
            self.register(one)

    def register(self, one: Eval) -> None:
        """Register an eval. Raises MisuseError for a name that is taken, or that no fact could bear."""
        if not one.name.strip() or not one.name.isprintable() or len(one.name.encode()) > MAX_NAME_BYTES:
            raise MisuseError(f"an eval needs a printable name of {MAX_NAME_BYTES} bytes at most, not {one.name!r:.80}")
        if one.name in self._evals:
            raise MisuseError(f"an eval named {one.name!r} is registered already")
        self._evals[one.name] = one

    @property
    def evals(self) -> tuple[Eval, ...]:
        """The evals."""
        return tuple(self._evals.values())

    def evaluate_all(self, ctx: Context) -> tuple[EvalResult, ...]:
        """Return the result of every eval."""
        return tuple(judged(one, ctx) for one in self.evals)

    def evaluate_dependent(self, ctx: Context, dirty: Iterable[ContextKey]) -> tuple[EvalResult, ...]:
        """Return the results of the evals that read any of these keys, or all keys."""
        changed = frozenset(dirty)
        concerned = (one for one in self.evals if not (reads := frozenset(one.dependencies)) or reads & changed)
        return tuple(judged(one, ctx) for one in concerned) if changed else ()

    def evaluate_named(self, ctx: Context, name: str) -> EvalResult:
        """Return the result of one eval. Raises MisuseError for a name that nobody has registered."""
        if name not in self._evals:
            raise MisuseError(f"no eval is named {name!r}; there are {', '.join(map(repr, self._evals)) or 'none'}")
        return judged(self._evals[name], ctx)


def judged(one: Eval, ctx: Context) -> EvalResult:
    """Return what an eval says of a context; whatever goes wrong is indeterminate, with the reason."""
    try:
        result = replace(one.evaluate(ctx), eval_name=one.name)
        result.fact()  # refuses what no fact can hold
    except Exception as error:  # an eval that cannot answer says nothing
        reason = printable(f"the eval raised {type(error).__name__}: {error}")
        return EvalResult(one.name, EvalOutcome.INDETERMINATE, 0.0, reason)
    if missing := [ref for ref in result.fact_ids if ctx.resolve(ref) is None]:
        reason = f"it cites {missing[0]!r}, which is no fact"
        return EvalResult(one.name, EvalOutcome.INDETERMINATE, 0.0, reason)
    return result


class EvalSuggestor(Suggestor):
    """Proposes what evals say of the run so far: at its beginning, and whenever what they read makes them say another.

    It depends on no key, so that an eval of what nobody ever says is asked too, once. Outcomes of evals wake no eval.
    """

    writes = (ContextKey.EVALUATIONS,)

    def __init__(self, registry: EvalRegistry, name: str = "evals", config: JsonValue = None) -> None:
        self.name, self.config, self._registry = name, config, registry

    def accepts(self, ctx: Context) -> bool:
        """Say whether anything is new but outcomes of evals; at the beginning everything is."""
        return _is_beginning(ctx) or bool(_dirty(ctx))

    def execute(self, ctx: Context) -> AgentEffect:
        """Return the outcomes that are not what their evals last said."""
        said = {fact.payload.eval: fact.payload for fact in ctx.get(EvalFact)}
        dirty = ContextKey if _is_beginning(ctx) else _dirty(ctx)
        moment = _moment(ctx)
        return AgentEffect.with_proposals(
            result.proposal(f"{moment}:{_digest(result)}")
            for result in self._registry.evaluate_dependent(ctx, dirty)
            if said.get(result.eval_name) != result.fact()
        )


def _is_beginning(ctx: Context) -> bool:
    """Say whether nothing is known yet of what there is, if there is anything."""
    return ctx.version > 0 and all(len(ctx.fresh(key)) == ctx.count(key) for key in ContextKey)


def _dirty(ctx: Context) -> list[ContextKey]:
    """Return the keys under which something is new but outcomes of evals."""
    return [key for key in ContextKey if any(not isinstance(fact.payload, EvalFact) for fact in ctx.fresh(key))]


def _moment(ctx: Context) -> int:
    """Return what tells one moment of a run from another: how many facts it has.

    Neither outcomes of evals count nor what the engine has noted: it notes that somebody has turned down an outcome,
    and that very outcome would be another then, and be asked about again.
    """
    noted = sum(fact.proposer == ENGINE.id for fact in ctx.get(ContextKey.DIAGNOSTIC))
    return ctx.version - ctx.count(EvalFact) - noted


def _digest(result: EvalResult) -> str:
    """Return a few digits that tell results apart: those of an eval that was changed meanwhile contradict nobody."""
    return str(ContentHash.of(canonical(result.to_json())))[:8]
