"""The detector ``cel``: when two facts under one key cannot both guide a decision.

    detectors:
      - use: cel
        name: rival-offers
        with:
          for_each: strategies
          same: "fact.vendor"
          when: "fact.price != other.price"
          reason: "two prices for {fact.vendor}"

Each new fact under ``for_each`` is held against those that were there before it, as ``fact`` and ``other``. With
``same`` only facts for which that expression comes to the same are held against each other. What it comes to for a
fact is remembered by what the fact says, and so evaluated once; the condition is asked about the fact's kin alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from converge_core import Context, ContextKey, Site
from converge_core.context.facts import AnyFact
from converge_core.context.tensions import ConflictType, Tension
from converge_plugins.rules.cel_values import fact_value
from converge_plugins.rules.expressions import Bindings, CelExpression, Template, name_faults

FACT, OTHER = "fact", "other"


class DetectorConfig(BaseModel):
    """The configuration of a detector of tensions."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    for_each: ContextKey = Field(description="Hold each new fact under this key against the earlier ones.")
    when: CelExpression = Field(description="True when `fact` and `other` are in conflict.")
    same: CelExpression | None = Field(default=None, description="Only facts for which this comes to the same.")
    conflict_type: ConflictType = Field(default=ConflictType.CONTRADICTION, description="What sort of tension it is.")
    reason: Template | None = Field(default=None, description="Why, with `{fact.…}` and `{other.…}`; the condition.")

    @model_validator(mode="after")
    def _speaks_of_both(self) -> Self:
        used = (
            ("when", self.when, (FACT, OTHER)),
            ("same", self.same, (FACT,)),
            ("reason", self.reason, (FACT, OTHER)),
        )
        faults = [
            fault
            for field, expression, known in used
            if expression is not None
            for fault in name_faults((field,), expression, known)
        ]
        if faults:
            raise ValidationError.from_exception_data(type(self).__name__, faults)
        return self


class CelDetector:
    """A detector. Raises CelEvaluationError for facts that its expressions do not fit, which the engine states."""

    def __init__(self, config: DetectorConfig, site: Site) -> None:
        self.name = site.name
        self._config = config
        self._kin: dict[str, str] = {}

    def detect(self, fact: AnyFact, ctx: Context) -> Iterable[Tension]:
        """Return the tensions between a new fact and the earlier ones."""
        config = self._config
        if fact.key is not config.for_each:
            return ()
        return list(self._tensions(fact, ctx))

    def _tensions(self, fact: AnyFact, ctx: Context) -> Iterator[Tension]:
        config, mine = self._config, fact_value(fact)
        kin = self._kinship(fact)
        for other in ctx.get(config.for_each):
            if other.ref == fact.ref or self._kinship(other) != kin:
                continue
            both = Bindings({FACT: mine, OTHER: fact_value(other)})
            if config.when.test(both):
                reason = str(config.when) if config.reason is None else config.reason.render(both)
                yield Tension(left=other.ref, right=fact.ref, conflict_type=config.conflict_type, reason=reason)

    def _kinship(self, fact: AnyFact) -> str:
        """Return what facts have in common that are held against each other."""
        same, content = self._config.same, fact.promotion.proposal_hash
        if same is None:
            return ""
        if content not in self._kin:
            self._kin[content] = f"{same.evaluate(Bindings({FACT: fact_value(fact)}))!r}"
        return self._kin[content]
