"""The sections that both an intent and a truth are made of."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from converge_core.intent.criteria import Criterion
from converge_core.intent.root import ConstraintSeverity, IntentConstraint


class Section(BaseModel):
    """A mapping of the file: its fields and no others."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class ConstraintSection(Section):
    """A condition by name; a hard one is a fact that every suggestor sees."""

    key: str = Field(min_length=1, max_length=128, description="Its name.")
    value: str = Field(description="What it demands.")
    severity: ConstraintSeverity = Field(default=ConstraintSeverity.HARD, description="Whether it must hold.")

    def constraint(self) -> IntentConstraint:
        """Return the constraint as an intent takes it."""
        return IntentConstraint(self.key, self.value, self.severity)


class Condition(Section):
    """What must be true: a CEL expression, or a registered condition."""

    cel: str | None = Field(default=None, min_length=1, description="A CEL expression that must be true.")
    use: str | None = Field(default=None, description="The name of a registered condition, instead of `cel`.")
    with_: dict[str, Any] = Field(default_factory=dict, alias="with", description="Its configuration.")
    cel_fields: ClassVar[tuple[str, ...]] = ()
    """What goes with ``cel``."""

    @model_validator(mode="after")
    def _one_form(self) -> Condition:
        if (self.cel is None) == (self.use is None):
            raise ValueError("give either `cel` or `use`")
        if self.cel is not None and self.with_:
            raise ValueError("`with` belongs to `use`, not to `cel`")
        return self


class CriterionSection(Condition):
    """What the intent calls success."""

    cel_fields: ClassVar[tuple[str, ...]] = ("evidence", "blocked_when", "approval_ref")
    id: str = Field(min_length=1, max_length=128, description="Its name in results.")
    description: str = Field(default="", description="What it means, for people.")
    required: bool = Field(default=True, description="Whether the run fails (exit 8) when it is not met.")
    evidence: str | None = Field(
        default=None, min_length=1, description="A CEL list of the facts that show it, as `key/id`; with `cel`."
    )
    blocked_when: str | None = Field(
        default=None, min_length=1, description="A CEL expression: true where only a human can decide; with `cel`."
    )
    approval_ref: str | None = Field(
        default=None, min_length=1, description="Where that human is asked; with `blocked_when`."
    )

    @model_validator(mode="after")
    def _with_cel(self) -> CriterionSection:
        if self.cel is None and (self.evidence is not None or self.blocked_when is not None):
            raise ValueError("`evidence` and `blocked_when` belong to `cel`, not to `use`")
        if self.approval_ref is not None and self.blocked_when is None:
            raise ValueError("`approval_ref` belongs to `blocked_when`")
        return self

    def criterion(self, truth: str | None = None) -> Criterion:
        """Return the criterion as an intent takes it; that of a truth is called ``truth/id``."""
        return Criterion(self.id if truth is None else f"{truth}/{self.id}", self.description, self.required)


class EvalSection(Condition):
    """What a run is graded by, once it has stopped: `converge eval`."""

    cel_fields: ClassVar[tuple[str, ...]] = ("score", "evidence")
    name: str = Field(min_length=1, max_length=128, description="Its name in results.")
    score: str | None = Field(
        default=None, min_length=1, description="A CEL number, 0 to 1; with `cel`, and else 1 or 0 as that is true."
    )
    evidence: str | None = Field(
        default=None, min_length=1, description="A CEL list of the facts it rests on, as `key/id`; with `cel`."
    )

    @model_validator(mode="after")
    def _with_cel(self) -> EvalSection:
        if self.cel is None and (self.score is not None or self.evidence is not None):
            raise ValueError("`score` and `evidence` belong to `cel`, not to `use`")
        return self
