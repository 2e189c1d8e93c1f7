"""``rules.cel``: a rule as configuration. For each new fact: name, test, propose.

    use: rules.cel
    with:
      for_each: seeds
      reads: [constraints]
      let: {limit: "constraints.filter(c, c.team == fact.team)[0].limit"}
      when: fact.amount > limit
      key: evaluations
      id: "flag:{fact.id}"
      payload: {verdict: "'review'", over: fact.amount - limit}

Evaluation is semi-naive: a rule is woken by new facts under ``for_each``, looks at each of them once, and at no other.
The lists of ``reads`` are what there is at that moment; a fact that arrives under one of them later wakes nobody. A
rule that must see all of a list is to be woken by what comes last. Reading a list costs its length in each cycle in
which the rule runs, not in each evaluation.

The order for a fact is: ``let``, ``when``, then the proposal. So ``when`` may use a ``let``, and a ``let`` is evaluated
for facts that ``when`` turns away: guard it with ``has(fact.x) ? ... : ...``. A ``let`` may use another wherever that
stands: the order is that of what needs what, since an intent that comes back from a ledger has its keys sorted.

An expression that cannot be evaluated fails the suggestor with a message that names the rule, the fact and the
expression: a rule that decides about money does not skip what it does not understand.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Self, TypeAlias

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic_core import InitErrorDetails

from converge_core import (
    AgentEffect,
    Context,
    ContextKey,
    DataPayload,
    FactPayload,
    ProposedFact,
    Site,
    Suggestor,
    SuggestorError,
    TextPayload,
)
from converge_core.context.facts import AnyFact, AnyProposal
from converge_core.context.payloads import one_line
from converge_plugins.rules.cel_values import fact_value, fact_values
from converge_plugins.rules.expressions import Bindings, CelEvaluationError, CelExpression, Template, fault, name_faults

PayloadFields: TypeAlias = "Mapping[str, CelExpression | PayloadFields]"


def _payload_field(value: object) -> object:
    """Validate an expression, or an object of them. Unlike a union this blames the one field that is at fault."""
    return (_FIELDS if isinstance(value, Mapping) else _EXPRESSION).validate_python(value)


def _constant(value: object) -> object:
    """Take a number where an expression is expected."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"a confidence is within 0.0 and 1.0, unlike {value}")
    return repr(float(value))


# Any: what the validators make of it is PayloadFields, a recursive type that pydantic would read as a union.
_Fields = dict[str, Annotated[Any, PlainValidator(_payload_field, json_schema_input_type=str | dict[str, Any])]]
_FIELDS = TypeAdapter[PayloadFields](_Fields)
_EXPRESSION = TypeAdapter(CelExpression)


class RuleConfig(BaseModel):
    """The configuration of a rule. Every expression is compiled, and its names are checked, when it is validated."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    for_each: ContextKey = Field(description="The rule looks at each new fact under this key; it is `fact`.")
    payload_family: str | None = Field(None, description="Only at those whose payload is of this family.")
    reads: tuple[ContextKey, ...] = Field((), description="Keys whose facts are lists, named as the keys are.")
    let: dict[str, CelExpression] = Field(default_factory=dict, description="Names for expressions, in any order.")
    when: CelExpression | None = Field(None, description="The condition; without one every fact meets it.")
    key: ContextKey = Field(description="Where the proposal goes.")
    id: Template = Field(description="Its id, such as `flag:{fact.id}`.")
    payload: _Fields | None = Field(None, description="Its payload: a CEL expression for each field.")
    text: Template | None = Field(None, description="Its payload as a text, in place of `payload`.")
    confidence: Annotated[CelExpression, BeforeValidator(_constant, json_schema_input_type=str | float)] = Field(
        "1.0", validate_default=True, description="Its confidence: a number, or an expression of one."
    )
    evidence: bool = Field(True, description="Whether it cites the fact.")
    cite: CelExpression | None = Field(None, description="What else it cites: a list of `key/id`.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.payload is None) == (self.text is None):
            raise ValueError("give either `payload` or `text`")
        faults = list(self._name_faults())
        if faults:
            raise ValidationError.from_exception_data(type(self).__name__, faults)
        return self

    def _name_faults(self) -> Iterator[InitErrorDetails]:
        known: list[str] = ["fact", *self.reads, *self.let]
        for name, expression in self.let.items():
            if name in ("fact", *ContextKey) or not _is_name(name):
                yield fault(("let", name), f"{name!r} cannot be a name: it is taken, or CEL reads something else", name)
            yield from name_faults(("let", name), expression, known)
        for name in sorted(self.let.keys() - dict(in_order(self.let))):
            yield fault(("let", name), f"{name!r} needs itself, or is part of a circle", name)
        for field in ("when", "id", "text", "confidence", "cite"):
            if (text := getattr(self, field)) is not None:
                yield from name_faults((field,), text, known)
        for path, expression in _leaves(self.payload or {}, ("payload",)):
            yield from name_faults(path, expression, known)


class CelRule(Suggestor):
    """Proposes for each new fact what its configuration says. Deterministic."""

    def __init__(self, rule: RuleConfig, site: Site) -> None:
        self.name = site.name
        self.dependencies = (rule.for_each,)
        self.writes = (rule.key,)
        self.config = rule.model_dump(mode="json")
        self._rule = rule
        self._let = in_order(rule.let)

    def execute(self, ctx: Context) -> AgentEffect:
        """Return a proposal for each new fact that meets the condition. Raises SuggestorError."""
        rule = self._rule
        bindings = Bindings({key: fact_values(ctx.get(key)) for key in rule.reads})
        proposals = []
        for fact in ctx.fresh(rule.for_each):
            if rule.payload_family not in (None, fact.payload.family):
                continue
            try:
                proposal = self._proposal(fact, bindings)
            except CelEvaluationError as error:
                raise SuggestorError(self.name, "invalid_expression", f"fact {fact.ref}: {error}") from error
            except ValidationError as error:
                reason = f"fact {fact.ref}: {one_line(error)}"
                raise SuggestorError(self.name, "invalid_payload", reason) from error
            if proposal is not None:
                proposals.append(proposal)
        return AgentEffect.with_proposals(proposals)

    def _proposal(self, fact: AnyFact, bindings: Bindings) -> AnyProposal | None:
        rule = self._rule
        bindings.bind("fact", fact_value(fact))
        for name, expression in self._let:
            bindings.bind(name, expression.evaluate(bindings))
        if rule.when is not None and not rule.when.test(bindings):
            return None
        payload: FactPayload
        if rule.text is not None:
            payload = TextPayload(text=rule.text.render(bindings))
        else:
            payload = DataPayload(data=_evaluated(rule.payload or {}, bindings))
        cited = () if rule.cite is None else rule.cite.references(bindings)
        return ProposedFact(
            rule.key,
            rule.id.render(bindings),
            payload,
            confidence=rule.confidence.number(bindings, "a confidence"),
            evidence=tuple(dict.fromkeys((fact.ref, *cited) if rule.evidence else cited)),  # each of them once
        )


def in_order(let: Mapping[str, CelExpression]) -> tuple[tuple[str, CelExpression], ...]:
    """Return names and expressions so that each stands after those it uses, else by name; without any in a circle."""
    ordered: dict[str, CelExpression] = {}
    while ready := [name for name in sorted(let.keys() - ordered) if not let[name].variables & (let.keys() - ordered)]:
        ordered |= {name: let[name] for name in ready}
    return tuple(ordered.items())


def _is_name(text: str) -> bool:
    """Say whether CEL reads a text as the name of a variable, and not as one of its own words."""
    try:
        return CelExpression(text).variables == {text}
    except ValueError:
        return False


def _leaves(fields: PayloadFields, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], CelExpression]]:
    for name, field in fields.items():
        if isinstance(field, CelExpression):
            yield (*path, name), field
        else:
            yield from _leaves(field, (*path, name))


def _evaluated(fields: PayloadFields, bindings: Bindings) -> dict[str, object]:
    return {
        name: field.evaluate(bindings) if isinstance(field, CelExpression) else _evaluated(field, bindings)
        for name, field in fields.items()
    }
