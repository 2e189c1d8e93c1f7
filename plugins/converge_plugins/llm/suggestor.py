"""The suggestor itself: facts into a prompt, a routed call, an answer into proposals."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from converge_core import (
    AgentEffect,
    Context,
    IntentError,
    MisuseError,
    Problem,
    ProposedFact,
    Refusal,
    Replayability,
    Site,
    Suggestor,
    SuggestorError,
)
from converge_core.context.facts import AnyFact, AnyProposal
from converge_core.context.payloads import FrozenDict
from converge_core.ledger.canonical import JsonValue, canonical
from converge_core.ledger.hashes import ContentHash
from converge_core.llm.backend import BackendRequest, BackendResponse, Message, MessageRole
from converge_core.llm.errors import Refused
from converge_core.llm.router import Router, RouteTask
from converge_core.llm.trace import ABOUT
from converge_core.ports import MODELS
from converge_plugins.llm.config import ConfidenceSection, LlmConfig, Recorded
from converge_plugins.llm.shapes import Said, Shape, WrongAnswer, shape_of
from converge_plugins.llm.templates import RULES, PromptTemplate, TemplateFailed, fact_data, facts_data

ACTION = "llm"


class LlmSuggestor(Suggestor):
    """Asks a model about facts. Raises IntentError for a configuration that cannot work, LookupError without models."""

    replayability = Replayability.NONE

    def __init__(self, config: LlmConfig, site: Site) -> None:
        self.name = site.name
        self.dependencies = config.reads if config.for_each is None else (config.for_each,)
        self.writes = (config.key,)
        self.config = config.model_dump(mode="json")
        self._asks = config
        self._shape = shape_of(config.output, config.many, site.load)
        self.payloads = self._shape.payloads
        _check_confidence(config, self._shape)
        self._prompt = PromptTemplate(config.prompt, "prompt")
        self._system = PromptTemplate(config.system, "system")
        self._router = _router(config, site)
        self._task = RouteTask(
            ACTION, self.name, config.tier, config.data, frozenset(config.labels), repair=config.repair
        )

    async def execute(self, ctx: Context) -> AgentEffect:
        """Return what the model proposes. Raises Refusal, SuggestorError, and what `Router.ask` does."""
        proposals: list[AnyProposal] = []
        for about, values in self._questions(ctx):
            request = self._request(values, about)
            response = await self._answer(request, about, ctx)
            proposals += self._proposals(ctx, about, response)
        return AgentEffect.with_proposals(proposals)

    def _questions(self, ctx: Context) -> Iterator[tuple[Sequence[AnyFact], Mapping[str, JsonValue]]]:
        """Yield what is asked: the facts that it is about, and what the template sees."""
        facts = facts_data(ctx, self._asks.reads)
        if self._asks.for_each is None:
            about = [fact for key in self._asks.reads for fact in ctx.get(key)]
            fresh = FrozenDict({key.value: tuple(map(fact_data, ctx.fresh(key))) for key in self._asks.reads})
            yield about, {"facts": facts, "fresh": fresh}
            return
        for fact in ctx.fresh(self._asks.for_each):
            yield [fact], {"fact": fact_data(fact), "facts": facts}

    def _request(self, values: Mapping[str, JsonValue], about: Iterable[AnyFact]) -> BackendRequest:
        try:
            system = self._system.render(values)
            prompt = self._prompt.render(values)
        except TemplateFailed as error:
            asked = ", ".join(fact.ref for fact in about)
            raise SuggestorError(self.name, "invalid_output", f"its template fails on {asked}: {error}") from error
        rules = f"{system}\n\n{RULES}" if system else RULES
        return BackendRequest(
            intent_id=self.name,
            messages=(Message(MessageRole.SYSTEM, rules), Message.user(prompt)),
            prompt_version=str(self._prompt.digest)[:12],
            state_injection_hash=ContentHash.of(canonical(values)),
            contracts=self._shape.contracts,
            budgets=self._asks.budgets(),
            retry=self._asks.retry.policy(),
        )

    async def _answer(self, request: BackendRequest, about: Iterable[AnyFact], ctx: Context) -> BackendResponse:
        """Ask. The record of a call about one fact names it, so that an answer can be told from the others."""

        def note(record: Mapping[str, JsonValue]) -> None:
            ctx.note(record if self._asks.for_each is None else {**record, ABOUT: [fact.ref for fact in about]})

        try:
            return await self._router.ask(request, self._task, ctx.allowance, note)
        except Refused as error:
            raise Refusal(str(error)) from error

    def _proposals(self, ctx: Context, about: Sequence[AnyFact], response: BackendResponse) -> Iterator[AnyProposal]:
        try:
            said = self._shape.read(response)
        except WrongAnswer as error:
            raise SuggestorError(self.name, "invalid_output", f"the answer of {response.backend}: {error}") from error
        for place, one in enumerate(said, 1):
            yield ProposedFact(
                self._asks.key,
                self._id(ctx, about, place),
                one.payload,
                confidence=self._confidence(one),
                provenance=f"{self.name}:{response.backend}/{response.model}",
                evidence=tuple(about),
            )

    def _id(self, ctx: Context, about: Sequence[AnyFact], place: int) -> str:
        """Return the id of a proposal, in which nothing that the model says takes part."""
        asked = f"{ctx.version}" if self._asks.for_each is None else about[0].id
        return f"{self.name}:{asked}" + (f":{place}" if self._asks.many is not None else "")

    def _confidence(self, said: Said) -> float:
        bounds = self._asks.confidence
        if not isinstance(bounds, ConfidenceSection):
            return bounds
        stated = said.fields[bounds.field]
        if isinstance(stated, bool) or not isinstance(stated, int | float):
            raise SuggestorError(self.name, "invalid_output", f"`{bounds.field}` of the answer is no number")
        return min(max(float(stated), bounds.at_least), bounds.at_most)


def _check_confidence(config: LlmConfig, shape: Shape) -> None:
    """Refuse a confidence that no answer will have. Raises IntentError."""
    if not isinstance(config.confidence, ConfidenceSection) or shape.schema is None:
        return
    properties = shape.schema.get("properties")
    if not isinstance(properties, Mapping) or config.confidence.field not in properties:
        known = ", ".join(properties) if isinstance(properties, Mapping) else "none"
        reason = f"`output` has no field {config.confidence.field!r}; there is {known}"
        raise IntentError((Problem("confidence.field", reason),))


def _router(config: LlmConfig, site: Site) -> Router:
    """Return the router over the models of a configuration. Raises IntentError."""
    try:
        criteria = None if config.needs is None else config.needs.criteria()
    except MisuseError as error:
        raise IntentError((Problem("needs.jurisdiction", str(error)),)) from error
    models = site.port(MODELS)
    try:
        return models.router(config.models, criteria, keep_exchange=config.record is Recorded.FULL)
    except LookupError as error:
        raise IntentError((Problem("models", str(error.args[0])),)) from error
