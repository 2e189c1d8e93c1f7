"""``intent.yaml``: the shape of the file. Its JSON Schema is `converge schema`.

This module says what may stand in the file and nothing else; reading YAML and finding the place of a fault is an
adapter's work, and making an engine of it is the composition root's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, WrapValidator, model_validator

from converge_core.context.keys import ContextKey, ProposalKind
from converge_core.engine.setup import ConflictPolicy
from converge_core.errors import MisuseError
from converge_core.formations.kinds import Formation
from converge_core.formations.profiles import SuggestorProfile
from converge_core.gates.authority import ApprovalPolicy, AuthorityGrant, AuthorityScope
from converge_core.gates.budgets import Budget
from converge_core.gates.drafts import DEFAULT_MAX_PAYLOAD_BYTES
from converge_core.gates.hitl import HitlPolicy, TimeoutAction, TimeoutPolicy
from converge_core.gates.promotion import ValidationPolicy
from converge_core.intent.models import Denial, ModelSection
from converge_core.intent.root import IntentKind, RiskPosture, RootIntent, StopWhen
from converge_core.intent.scope import Scope, TimeWindow
from converge_core.intent.sections import Condition, ConstraintSection, CriterionSection, EvalSection, Section
from converge_core.intent.truths import TruthDefinition, TruthForm, uphold
from converge_core.invariants import InvariantClass


class IntentSection(Section):
    """What is to be decided."""

    id: str = Field(min_length=1, max_length=128, description="Names the intent; the run's id begins with it.")
    kind: IntentKind = Field(default=IntentKind.CUSTOM, description="The sort of decision.")
    objective: str = Field(default="", description="The goal, in a sentence.")
    risk_posture: RiskPosture = Field(default=RiskPosture.BALANCED, description="How much risk it may take.")
    stop_when: StopWhen = Field(default=StopWhen.FIXED_POINT, description="When the run may end.")


class WindowSection(Section):
    """A period of time, as a value of the scope: dates, or moments in UTC, both included."""

    start: str | None = Field(default=None, alias="from", description="Its first date or moment.")
    end: str | None = Field(default=None, alias="to", description="Its last.")

    @model_validator(mode="after")
    def _is_a_window(self) -> WindowSection:
        self.window()
        return self

    def window(self) -> TimeWindow:
        """Return the window as a scope takes it. Raises ValueError for one that is none."""
        try:
            return TimeWindow(self.start, self.end)
        except MisuseError as error:
            raise ValueError(str(error)) from error


_VALUE = TypeAdapter(str)


def _one_value(value: object, validate: Callable[[object], object]) -> object:
    """Take a value of the scope in one of its forms, so that a fault is told of that form alone."""
    return WindowSection.model_validate(value) if isinstance(value, Mapping) else _VALUE.validate_python(value)


class BudgetSection(Section):
    """Hard limits. None of them is overshot."""

    cycles: int = Field(default=100, ge=0, description="The most cycles; the one that finds nothing left to do counts.")
    facts: int = Field(default=10_000, ge=0, description="The most facts in the context.")
    tokens: int | None = Field(default=None, ge=0, description="The most model tokens, reserved before each call.")
    cost_usd: float | None = Field(
        default=None, ge=0, le=10**9, allow_inf_nan=False, description="The most money, in US dollars."
    )
    seconds: float | None = Field(
        default=None, ge=0, allow_inf_nan=False, description="The most working time; waiting for people is free."
    )
    suggestors_per_cycle: int | None = Field(default=None, ge=1, description="The most suggestors asked in one cycle.")

    def budget(self) -> Budget:
        """Return the limits as the engine takes them."""
        return Budget(
            max_cycles=self.cycles,
            max_facts=self.facts,
            max_tokens=self.tokens,
            max_cost_usd=self.cost_usd,
            time_limit_ms=None if self.seconds is None else round(self.seconds * 1000),
            max_suggestors_per_cycle=self.suggestors_per_cycle,
        )


class InputSection(Section):
    """Facts to start from: the rows of a file, or inline ``items``."""

    key: ContextKey = Field(description="Where they go.")
    file: str | None = Field(default=None, description="A csv, jsonl, json or yaml file, relative to the intent.")
    format: Literal["csv", "jsonl", "json", "yaml"] | None = Field(
        default=None, description="Overrides the file's suffix."
    )
    items: tuple[dict[str, Any], ...] | None = Field(default=None, description="Rows given right here.")
    payload: str = Field(
        default="data", description="`data`, `text` (with a column `text`), or a registered payload family."
    )
    id: str = Field(description="The fact's id; `{column}` is replaced by the row's value.")
    types: dict[str, Literal["string", "integer", "number", "boolean", "date", "money", "json"]] = Field(
        default_factory=dict, description="The type of a column; `money` is read exactly, as integer minor units."
    )
    confidence: float = Field(default=1.0, ge=0, le=1, description="How sure the source is.")

    @model_validator(mode="after")
    def _one_source(self) -> InputSection:
        if (self.file is None) == (self.items is None):
            raise ValueError("give either `file` or `items`")
        return self


class SuggestorSection(Section):
    """A suggestor of the catalog, configured."""

    use: str = Field(description="Its name in the catalog: see `converge plugins`.")
    name: str | None = Field(
        default=None, min_length=1, max_length=128, description="Its name in this run; `use` if absent."
    )
    pack: str | None = Field(default=None, min_length=1, description="The pack it belongs to.")
    optional: bool = Field(default=False, description="Whether it may fail without stopping the run.")
    authority: Literal["advisory", "supervisory", "participatory", "sovereign"] | None = Field(
        default=None, description="How much say it has, for a flow gate; its own, if absent."
    )
    domains: tuple[str, ...] | None = Field(
        default=None, description="What it is entitled to speak about, for a flow gate; its own, if absent."
    )
    profile: SuggestorProfile | None = Field(
        default=None, description="What a formation chooses it by; what is left out is its own."
    )
    with_: dict[str, Any] = Field(default_factory=dict, alias="with", description="Its configuration.")


class TimeoutSection(Section):
    """What happens to a gate that nobody answers."""

    seconds: int = Field(default=1800, ge=0, description="How long a gate waits.")
    action: TimeoutAction = Field(default=TimeoutAction.REJECT, description="What follows.")


class ApproverSection(Section):
    """Somebody who may decide: a person (`actor`), or the `members` of a `role`."""

    actor: str | None = Field(default=None, min_length=1, description="One person, by name.")
    role: str | None = Field(default=None, min_length=1, description="A role; its `members` may decide.")
    members: tuple[str, ...] = Field(default=(), description="Who has the role.")
    keys: tuple[ContextKey, ...] = Field(default=(), description="What they may decide about; everything, when empty.")
    until: str | None = Field(default=None, description="When their authority ends: a date, or a moment in UTC.")
    level: int = Field(default=1, ge=1, description="1 is asked first; 2 when a gate is escalated, and so on.")

    @model_validator(mode="after")
    def _one_form(self) -> ApproverSection:
        if (self.actor is None) == (self.role is None):
            raise ValueError("give either `actor`, or `role` with its `members`")
        if (self.role is None) == bool(self.members):
            raise ValueError("`members` belong to a `role`, and a role needs some")
        return self

    def grant(self) -> AuthorityGrant:
        """Return the grant as the engine takes it. Raises MisuseError for a moment that is none."""
        members = self.members if self.actor is None else (self.actor,)
        return AuthorityGrant(self.actor or str(self.role), members, AuthorityScope(self.keys, self.until), self.level)


class HitlSection(Section):
    """Which proposals a human must decide."""

    confidence_at_most: float | None = Field(default=None, ge=0, le=1, description="Ask at this confidence or below.")
    keys: tuple[ContextKey, ...] = Field(default=(), description="Ask for everything under these keys.")
    kinds: tuple[ProposalKind, ...] = Field(default=(), description="Ask for these kinds of proposals.")
    suggestors: tuple[str, ...] = Field(default=(), description="Ask for everything these suggestors propose.")
    timeout: TimeoutSection = Field(default=TimeoutSection(), description="What happens when nobody answers.")
    approvers: tuple[ApproverSection, ...] = Field(default=(), description="Who may decide; anyone, when empty.")
    needs: int = Field(default=1, ge=1, description="How many different people must approve.")

    @model_validator(mode="after")
    def _can_be_satisfied(self) -> HitlSection:
        self.policy()
        return self

    def policy(self) -> HitlPolicy:
        """Return the policy as the engine takes it. Raises ValueError for one that nobody can satisfy."""
        timeout = TimeoutPolicy(self.timeout.seconds, self.timeout.action)
        try:
            approval = ApprovalPolicy(tuple(approver.grant() for approver in self.approvers), self.needs)
        except MisuseError as error:
            raise ValueError(str(error)) from error
        return HitlPolicy(self.confidence_at_most, self.keys, self.kinds, self.suggestors, timeout, approval)


class ValidationSection(Section):
    """What every proposal has to pass."""

    require: tuple[str, ...] = Field(default=(), description="Registered checks, run in this order.")
    max_payload_bytes: int = Field(
        default=DEFAULT_MAX_PAYLOAD_BYTES, ge=2, description="The largest payload, as canonical JSON."
    )

    def policy(self) -> ValidationPolicy:
        """Return the policy as the engine takes it."""
        return ValidationPolicy(self.require, self.max_payload_bytes)


class FlowSection(Section):
    """Who is asked whether a proposal may be made, pass, and count."""

    use: str = Field(description="`allow_all`, `reject_all`, `cedar`, or what a plugin offers.")
    with_: dict[str, Any] = Field(default_factory=dict, alias="with", description="Its configuration.")


class DetectorSection(Section):
    """What finds tensions between facts."""

    use: str = Field(description="Its name in the catalog: see `converge plugins --offers`.")
    name: str | None = Field(
        default=None, min_length=1, max_length=128, description="Its name in this run; `use` if absent."
    )
    with_: dict[str, Any] = Field(default_factory=dict, alias="with", description="Its configuration.")


class GatesSection(Section):
    """How proposals become facts."""

    flow: FlowSection | None = Field(default=None, description="A flow gate; none without this section.")
    hitl: HitlSection | None = Field(default=None, description="Human gates; none without this section.")
    validation: ValidationSection = Field(default=ValidationSection(), description="What every proposal has to pass.")
    conflict: ConflictPolicy = Field(default=ConflictPolicy.STOP, description="What a contradiction of a fact does.")


class InvariantSection(Condition):
    """What must hold, whoever proposes what."""

    name: str = Field(min_length=1, max_length=128, description="Its name, unique within its class.")
    class_: InvariantClass = Field(alias="class", description="When it is checked.")


class EvalsDocument(Section):
    """A file of evals, for runs that were there before them."""

    evals: tuple[EvalSection, ...] = Field(min_length=1, description="What runs are graded by.")


class IntentDocument(Section):
    """The whole file."""

    intent: IntentSection = Field(description="What is to be decided.")
    truths: tuple[TruthForm, ...] = Field(
        default=(), description="What it upholds: the names of truths, YAML files of them, or truths right here."
    )
    scope: tuple[dict[str, Annotated[str | WindowSection, WrapValidator(_one_value)]], ...] = Field(
        default=(), description="What it is about, such as `product: expenses`."
    )
    repository: str | None = Field(
        default=None, min_length=1, description="The folder it looks at, relative to the intent's own; that, if absent."
    )
    constraints: tuple[ConstraintSection, ...] = Field(default=(), description="What it has to respect.")
    budget: BudgetSection = Field(default=BudgetSection(), description="Hard limits.")
    packs: tuple[str, ...] = Field(default=(), description="Ask only suggestors of these packs, and those of no pack.")
    inputs: tuple[InputSection, ...] = Field(default=(), description="What the run starts from.")
    models: tuple[ModelSection, ...] = Field(
        default=(), description="The models that suggestors may ask, in the order in which they are asked."
    )
    denials: tuple[Denial, ...] = Field(
        default=(), description="What no model may do or see: `local-only`, `dreamer-safety`, or what stands here."
    )
    suggestors: tuple[SuggestorSection, ...] = Field(min_length=1, description="Who may propose, in merge order.")
    formation: Formation | None = Field(
        default=None, description="Which of the suggestors are asked; all of them, if absent."
    )
    gates: GatesSection = Field(default=GatesSection(), description="How proposals become facts.")
    detectors: tuple[DetectorSection, ...] = Field(default=(), description="What finds tensions between facts.")
    invariants: tuple[InvariantSection, ...] = Field(default=(), description="What must hold.")
    success: tuple[CriterionSection, ...] = Field(default=(), description="What is success.")
    evals: tuple[EvalSection, ...] = Field(
        default=(), description="What a run that has stopped is graded by: see `converge eval`."
    )

    def root_intent(self, truths: Sequence[TruthDefinition] = ()) -> RootIntent:
        """Return the constitution of the run, with what its truths bring."""
        intent = RootIntent(
            id=self.intent.id,
            kind=self.intent.kind,
            objective=self.intent.objective,
            scope=Scope(
                tuple(
                    (name, value if isinstance(value, str) else value.window())
                    for item in self.scope
                    for name, value in item.items()
                )
            ),
            success=tuple(section.criterion() for section in self.success),
            budget=self.budget.budget(),
            active_packs=self.packs,
            stop_when=self.intent.stop_when,
            risk_posture=self.intent.risk_posture,
            constraints=tuple(section.constraint() for section in self.constraints),
            formation=self.formation,
        )
        return uphold(intent, truths)
