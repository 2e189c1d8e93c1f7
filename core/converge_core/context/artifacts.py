"""Governed artifacts: what a decision makes use of (an adapter, a pack, a policy) has a life of its own, and a say.

The life of an artifact is a table, and every step of it is a fact: a transition that the table does not have, or that
does not start where the artifact is, is turned away by the gate. So is the use of an artifact in a state, or with a
content, that does not allow it.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, model_validator

from converge_core.context.payloads import FactPayload
from converge_core.errors import ConvergeError

if TYPE_CHECKING:
    from converge_core.context.state import Context


class GovernedArtifactState(StrEnum):
    """Where an artifact is in its life."""

    DRAFT = "draft"
    APPROVED = "approved"
    ACTIVE = "active"
    QUARANTINED = "quarantined"
    DEPRECATED = "deprecated"
    ROLLED_BACK = "rolled_back"


class StateRule(NamedTuple):
    """What a state allows: new runs, replays of old ones, and the states that may follow."""

    new_runs: bool
    replay: bool
    following: frozenset[GovernedArtifactState]
    meaning: str


_S = GovernedArtifactState
LIFE: Mapping[GovernedArtifactState, StateRule] = MappingProxyType(
    {
        _S.DRAFT: StateRule(False, False, frozenset({_S.APPROVED, _S.DEPRECATED}), "in development"),
        _S.APPROVED: StateRule(
            True, True, frozenset({_S.ACTIVE, _S.QUARANTINED, _S.ROLLED_BACK}), "reviewed, ready for production"
        ),
        _S.ACTIVE: StateRule(
            True, True, frozenset({_S.QUARANTINED, _S.DEPRECATED, _S.ROLLED_BACK}), "deployed and in use"
        ),
        _S.QUARANTINED: StateRule(
            False, True, frozenset({_S.ACTIVE, _S.ROLLED_BACK, _S.DEPRECATED}), "stopped for investigation"
        ),
        _S.DEPRECATED: StateRule(False, False, frozenset(), "superseded"),
        _S.ROLLED_BACK: StateRule(False, False, frozenset(), "rolled back because of issues"),
    }
)
"""The life of an artifact. A state without followers is final."""


class InvalidStateTransition(ConvergeError):
    """The life of an artifact has no such step."""

    def __init__(self, old: GovernedArtifactState, new: GovernedArtifactState) -> None:
        super().__init__(old, new)
        self.old, self.new = old, new

    def __str__(self) -> str:
        return f"no artifact goes from {self.old} ({LIFE[self.old].meaning}) to {self.new} ({LIFE[self.new].meaning})"


def validate_transition(old: GovernedArtifactState, new: GovernedArtifactState) -> None:
    """Raise InvalidStateTransition unless the table has the step. Nothing goes from a state to itself."""
    if new not in LIFE[old].following:
        raise InvalidStateTransition(old, new)


class RollbackSeverity(StrEnum):
    """How bad it is; from ``high`` on somebody has to act at once."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


class RollbackImpact(BaseModel):
    """What a roll-back comes to: how bad it is, what was affected, and whether what was produced is void."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    severity: RollbackSeverity = RollbackSeverity.LOW
    invalidates_outputs: bool = False
    affected_count: int | None = Field(default=None, ge=0)
    affected_tenants: tuple[str, ...] = ()
    quality_issues: tuple[str, ...] = ()

    @property
    def is_urgent(self) -> bool:
        """Whether somebody has to act at once."""
        return self.severity in (RollbackSeverity.HIGH, RollbackSeverity.CRITICAL)


class LifecycleEvent(FactPayload):
    """A step in the life of an artifact, which then has this content (SHA-256, hex) in this version.

    A roll-back has an impact, and nothing else has one. ``reference`` is the ticket or incident that it goes back to.
    """

    family: ClassVar[str] = "converge.artifact.lifecycle"
    artifact: str = Field(min_length=1)
    old: GovernedArtifactState
    new: GovernedArtifactState
    reason: str = Field(min_length=1)
    content_hash: str = Field(pattern="^[0-9a-f]{64}$")
    artifact_version: str = Field(min_length=1)
    impact: RollbackImpact | None = None
    reference: str | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _rollback_has_an_impact(self) -> LifecycleEvent:
        if (self.new is GovernedArtifactState.ROLLED_BACK) != (self.impact is not None):
            raise ValueError("a roll-back has an impact, and nothing else has one")
        return self

    def summary(self) -> str:
        return f"{self.artifact}: {self.old} to {self.new}, {self.reason}"

    def objection(self, ctx: Context) -> str | None:
        """Refuse a step that the table does not have, or that starts where the artifact is not."""
        last = last_event(ctx, self.artifact)
        state = last.new if last is not None else GovernedArtifactState.DRAFT
        if self.old is not state:
            return f"{self.artifact} is {state}, not {self.old}"
        if (
            last is not None
            and last.content_hash != self.content_hash
            and self.new is not GovernedArtifactState.APPROVED
        ):
            return f"{self.artifact} was approved with another content; what has changed has to be approved anew"
        try:
            validate_transition(self.old, self.new)
        except InvalidStateTransition as error:
            return str(error)
        return None


class ArtifactUse(FactPayload):
    """That a run uses an artifact: for new work, or, with ``replay``, to repeat old work exactly."""

    family: ClassVar[str] = "converge.artifact.use"
    artifact: str = Field(min_length=1)
    content_hash: str = Field(pattern="^[0-9a-f]{64}$")
    artifact_version: str = Field(min_length=1)
    replay: bool = False

    def summary(self) -> str:
        return f"uses {self.artifact} {self.artifact_version}"

    def objection(self, ctx: Context) -> str | None:
        """Refuse an artifact that is unknown, in a state that does not allow this use, or not what was approved."""
        last = last_event(ctx, self.artifact)
        if last is None:
            return f"nothing is known of the artifact {self.artifact!r}"
        rule = LIFE[last.new]
        if not (rule.replay if self.replay else rule.new_runs):
            return f"{self.artifact} is {last.new}: no {'replay' if self.replay else 'new run'} may use it"
        if self.artifact_version != last.artifact_version:
            return f"{self.artifact}: version {last.artifact_version} is approved, not {self.artifact_version}"
        if self.content_hash != last.content_hash:
            return f"{self.artifact}: its content is not what was approved"
        return None


def last_event(ctx: Context, artifact: str) -> LifecycleEvent | None:
    """Return the latest step in the life of an artifact, or None for one that nothing is known of."""
    steps = [fact.payload for fact in ctx.get(LifecycleEvent) if fact.payload.artifact == artifact]
    return steps[-1] if steps else None
