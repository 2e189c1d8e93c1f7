"""Conditions in CEL: what must hold (the invariant ``cel``), what counts as success (the criterion ``cel``), and what
a run is graded by (the eval ``cel``).

A condition sees the facts of every key that it mentions, as a list under the key's name::

    size(evaluations) >= size(seeds)
    seeds.all(s, evaluations.exists(e, e.claim == s.id))

Each of these lists is converted once a check, however often the expression goes through it.

A criterion may also say what shows its success (``evidence``, a list of ``key/id``), and when nobody but a human can
bring it about (``blocked_when``, with ``approval_ref`` for where that human is asked); the latter is asked only while
the condition is false.

An eval passes when its condition is true. Its score is 1 or 0 then, or whatever the number ``score`` comes to; it
depends on the keys that its expressions mention.

An invariant with ``for_each`` is asked about single facts instead, and then a violation names those at fault. It is
checked for each fact that is new since the invariant last held; one that has passed is not looked at again, so let
such a condition speak of the fact itself, or of facts that must be there before it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from converge_core import (
    Blocked,
    Context,
    ContextKey,
    Criterion,
    CriterionResult,
    EvalOutcome,
    EvalResult,
    Met,
    Site,
    Unmet,
    Violation,
)
from converge_core.context.facts import AnyFact
from converge_plugins.rules.cel_values import fact_value, fact_values
from converge_plugins.rules.expressions import Bindings, CelEvaluationError, CelExpression, name_faults, shortened

MAX_NAMED = 1_000
"""Facts that a violation names; the reason tells how many there are."""


class _ConditionConfig(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    expression: CelExpression = Field(description="The condition; it sees the facts of each key as a list.")

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        known = list(self._names())
        faults = [
            fault
            for field in type(self).model_fields
            if isinstance(expression := getattr(self, field), CelExpression)
            for fault in name_faults((field,), expression, known)
        ]
        if faults:
            raise ValidationError.from_exception_data(type(self).__name__, faults)
        return self

    def _names(self) -> Iterator[str]:
        yield from ContextKey


class CriterionConfig(_ConditionConfig):
    """The configuration of a success criterion."""

    evidence: CelExpression | None = Field(None, description="The facts that show it: a list of `key/id`.")
    blocked_when: CelExpression | None = Field(None, description="True where only a human can bring it about.")
    approval_ref: str | None = Field(None, min_length=1, description="Where that human is asked.")


class EvalConfig(_ConditionConfig):
    """The configuration of an eval."""

    score: CelExpression | None = Field(None, description="How good it is: a number, 0 to 1.")
    evidence: CelExpression | None = Field(None, description="The facts it rests on: a list of `key/id`.")


class InvariantConfig(_ConditionConfig):
    """The configuration of an invariant."""

    for_each: ContextKey | None = Field(None, description="Ask about each fact under this key; it is `fact`.")

    def _names(self) -> Iterator[str]:
        if self.for_each is not None:
            yield "fact"
        yield from super()._names()


class CelInvariant:
    """The check of an invariant: a callable, as `converge_core.invariants` wants it."""

    def __init__(self, config: InvariantConfig, site: Site) -> None:
        self._expression = config.expression
        self._for_each = config.for_each

    def __call__(self, ctx: Context) -> Violation | None:
        """Return the violation, or None. Raises CelEvaluationError, which counts as one."""
        expression = self._expression
        if self._for_each is None:
            holds = expression.test(_lists(expression.variables, ctx))
            return None if holds else Violation(_not_true(expression))
        fresh = ctx.fresh(self._for_each)
        if not fresh:
            return None
        bindings = _lists(expression.variables, ctx)
        faulty = [fact for fact in fresh if not _holds(expression, fact, bindings)]
        if not faulty:
            return None
        reason = f"{_not_true(expression)} for {len(faulty)} of {len(fresh)} new facts"
        return Violation.with_facts(reason, faulty[:MAX_NAMED])


class CelCriterion:
    """The evaluator of a success criterion. What cannot be evaluated leaves it indeterminate."""

    def __init__(self, config: CriterionConfig, site: Site) -> None:
        self._config = config
        used = (config.expression, config.evidence, config.blocked_when)
        self._names = frozenset().union(*(expression.variables for expression in used if expression is not None))

    def evaluate(self, criterion: Criterion, ctx: Context) -> CriterionResult:
        """Return whether the condition holds, and what shows it or bars it. Raises CelEvaluationError."""
        config, bindings = self._config, _lists(self._names, ctx)
        if config.expression.test(bindings):
            return Met(() if config.evidence is None else config.evidence.references(bindings))
        if config.blocked_when is not None and config.blocked_when.test(bindings):
            return Blocked(f"`{shortened(config.blocked_when)}` is true", config.approval_ref)
        return Unmet(_not_true(config.expression))


class CelEval:
    """An eval. What cannot be evaluated leaves it indeterminate."""

    def __init__(self, config: EvalConfig, site: Site) -> None:
        self.name = site.name
        self.description = shortened(config.expression)
        self._config = config
        used = (config.expression, config.score, config.evidence)
        self._names = frozenset().union(*(expression.variables for expression in used if expression is not None))
        self.dependencies = tuple(key for key in ContextKey if key in self._names)

    def evaluate(self, ctx: Context) -> EvalResult:
        """Return whether the condition holds, and how good that is. Raises CelEvaluationError."""
        config, bindings = self._config, _lists(self._names, ctx)
        passed = config.expression.test(bindings)
        outcome = EvalOutcome.PASS if passed else EvalOutcome.FAIL
        score = float(passed) if config.score is None else config.score.number(bindings, "a score")
        facts = () if config.evidence is None else config.evidence.references(bindings)
        rationale = f"`{shortened(config.expression)}` is {'true' if passed else 'false'}"
        return EvalResult(self.name, outcome, score, rationale, facts)


def _lists(names: Collection[str], ctx: Context) -> Bindings:
    """Bind the facts of every key that is among the names of an expression."""
    return Bindings({key: fact_values(ctx.get(key)) for key in ContextKey if key in names})


def _holds(expression: CelExpression, fact: AnyFact, bindings: Bindings) -> bool:
    bindings.bind("fact", fact_value(fact))
    try:
        return expression.test(bindings)
    except CelEvaluationError as error:
        raise CelEvaluationError(expression, f"fact {fact.ref}: {error.reason}") from error


def _not_true(expression: CelExpression) -> str:
    return f"`{shortened(expression)}` is false"
