"""Conditions in CEL: what must hold (the invariant ``cel``), and what counts as success (the criterion ``cel``).

A condition sees the facts of every key that it mentions, as a list under the key's name::

    size(evaluations) >= size(seeds)
    seeds.all(s, evaluations.exists(e, e.claim == s.id))

Each of these lists is converted once a check, however often the expression goes through it.

An invariant with ``for_each`` is asked about single facts instead, and then a violation names those at fault. It is
checked for each fact that is new since the invariant last held; one that has passed is not looked at again, so let
such a condition speak of the fact itself, or of facts that must be there before it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from converge_core import Context, ContextKey, Criterion, Met, Site, Unmet, Violation
from converge_core.context.facts import AnyFact
from converge_plugins.rules.cel_values import fact_value, fact_values
from converge_plugins.rules.expressions import Bindings, CelEvaluationError, CelExpression, name_faults, shortened

MAX_NAMED = 1_000
"""Facts that a violation names; the reason tells how many there are."""


class CriterionConfig(BaseModel):
    """The configuration of a success criterion."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    expression: CelExpression = Field(description="The condition; it sees the facts of each key as a list.")

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        if faults := name_faults(("expression",), self.expression, self._names()):
            raise ValidationError.from_exception_data(type(self).__name__, faults)
        return self

    def _names(self) -> Iterator[str]:
        yield from ContextKey


class InvariantConfig(CriterionConfig):
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
            holds = expression.test(_lists(expression, ctx))
            return None if holds else Violation(_not_true(expression))
        fresh = ctx.fresh(self._for_each)
        if not fresh:
            return None
        bindings = _lists(expression, ctx)
        faulty = [fact for fact in fresh if not _holds(expression, fact, bindings)]
        if not faulty:
            return None
        reason = f"{_not_true(expression)} for {len(faulty)} of {len(fresh)} new facts"
        return Violation.with_facts(reason, faulty[:MAX_NAMED])


class CelCriterion:
    """The evaluator of a success criterion. What cannot be evaluated leaves it indeterminate."""

    def __init__(self, config: CriterionConfig, site: Site) -> None:
        self._expression = config.expression

    def evaluate(self, criterion: Criterion, ctx: Context) -> Met | Unmet:
        """Return whether the condition holds. Raises CelEvaluationError."""
        expression = self._expression
        return Met() if expression.test(_lists(expression, ctx)) else Unmet(_not_true(expression))


def _lists(expression: CelExpression, ctx: Context) -> Bindings:
    """Bind the facts of every key that an expression mentions."""
    return Bindings({key: fact_values(ctx.get(key)) for key in ContextKey if key in expression.variables})


def _holds(expression: CelExpression, fact: AnyFact, bindings: Bindings) -> bool:
    bindings.bind("fact", fact_value(fact))
    try:
        return expression.test(bindings)
    except CelEvaluationError as error:
        raise CelEvaluationError(expression, f"fact {fact.ref}: {error.reason}") from error


def _not_true(expression: CelExpression) -> str:
    return f"`{shortened(expression)}` is false"
