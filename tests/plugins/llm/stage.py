"""An `llm` suggestor of fake models, in a real engine."""

from __future__ import annotations

from typing import Any

from converge_core import Budget, ContextKey, ContextState, Site, TextPayload
from converge_core.llm.backend import BackendResponse, ContractReport, ContractResult
from converge_core.llm.blobs import Blobs
from converge_core.llm.capacity import Capacity
from converge_core.llm.models import Model, Models
from converge_core.llm.router import Candidate, Objection
from converge_core.llm.routing import DataClassification
from converge_core.ports import MODELS
from converge_core.suggestors.catalog import Ports
from converge_plugins.llm.config import LlmConfig
from converge_plugins.llm.suggestor import LlmSuggestor
from tests.core.stage import SEEDS, Played, engine_of, play, text
from tests.fakes.backend import FakeBackend, FakeCapacity, FakePrices

ASKS: dict[str, Any] = {"for_each": "seeds", "prompt": "Why? {{ fact }}", "key": "hypotheses"}


def answer(output: Any, backend: str = "a", kept: bool = True) -> BackendResponse:
    """An answer that keeps the contract of its shape."""
    report = ContractReport((ContractResult("answer", kept, "$.cause: is missing"),))
    return BackendResponse(backend, f"{backend}-1", text=str(output), output=output, contract_report=report)


async def asleep(delay_ms: int) -> None:
    """Wait for nothing."""


def models_of(
    *backends: FakeBackend,
    capacity: Capacity | None = None,
    objections: tuple[Objection, ...] = (),
    blobs: Blobs | None = None,
    data: DataClassification = DataClassification.INTERNAL,
) -> Models:
    """The models of a deployment of fakes."""
    models = [Model(Candidate(backend, FakePrices()), data) for backend in backends]
    return Models(models, capacity or FakeCapacity(), lambda: 0, asleep, objections, blobs)


def nowhere(reference: str) -> Any:
    """Find no code."""
    raise LookupError(f"there is no {reference}")


def suggestor_of(offered: Models, /, load: Any = nowhere, **asks: Any) -> LlmSuggestor:
    """A suggestor called `causes`."""
    ports = Ports().offer(MODELS, offered)
    return LlmSuggestor(LlmConfig.model_validate(ASKS | asks), Site("causes", load, ports))


def played(
    *backends: FakeBackend, facts: dict[str, str] | None = None, budget: Budget | None = None, **asks: Any
) -> Played:
    """Play a run in which such models are asked about texts under `seeds`."""
    context = ContextState()
    for id, words in (facts or {"a": "smoke"}).items():
        context.add_proposal(text(id, words, SEEDS))
    return play(engine_of(suggestor_of(models_of(*backends), **asks), budget=budget or Budget()), context)


def said(run: Played) -> dict[str, Any]:
    """What the run holds under `hypotheses`: each fact's text or JSON, by id."""
    facts = run.result.context.get(ContextKey.HYPOTHESES)
    return {f.id: f.payload.text if isinstance(f.payload, TextPayload) else f.payload.body() for f in facts}
