"""Runs of the loop over a folder that is in a dictionary, with the real engine and every phase that is asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from converge_core import (
    Catalog,
    ContextKey,
    ConvergeResult,
    Engine,
    Fact,
    FactPayload,
    GateDecision,
    GateRequest,
    HitlPolicy,
    Site,
    Suggestor,
)
from converge_core.context.state import ContextState
from converge_core.invariants import FunctionInvariant, InvariantClass
from converge_core.ledger.canonical import canonical, parse
from converge_core.ports import CLOCK, RUN_ID
from converge_core.repository import RECEIPTS, REPOSITORY, PastReceipt, Repository
from converge_core.suggestors.catalog import Ports
from converge_plugins import repo_loop
from converge_plugins.repo_loop.payloads import Promotion, Receipt, Report
from converge_plugins.repo_loop.receipt import promoted_by_a_human
from tests.fakes.receipts import FakeReceipts
from tests.fakes.repository import FakeRepository

P = TypeVar("P", bound=FactPayload)

README = {"README.md": b"# It\n\nA repository that is made for a test of the loop.\n"}
COUNTED = {"use": "repo.objective", "name": "counted"}
LOOP: tuple[dict[str, Any], ...] = ({"use": "repo.inventory", "name": "inventory"},)
END: tuple[dict[str, Any], ...] = (
    {"use": "repo.receipt", "name": "receipt"},
    {"use": "repo.promotion", "name": "promotion"},
)


class Past(FakeReceipts):
    """The receipts of earlier runs of the loop."""

    def __init__(self) -> None:
        super().__init__(Receipt.family)

    def keep(self, result: ConvergeResult) -> None:
        """Remember the receipt of a run, in the form that a ledger has it."""
        fact = receipt(result)
        body: Any = parse(canonical(fact.payload.body()))
        self.kept.append(PastReceipt(fact.payload.run_id, fact.hash.hex(), body))


class Ticking(FakeRepository):
    """A folder in which something happens between two looks: ``between`` is called before every walk but the first."""

    def __init__(self, files: Mapping[str, bytes], between: Callable[[Ticking, int], None], **more: Any) -> None:
        super().__init__(files, **more)
        self._between, self.looks = between, 0

    async def walk(self, max_files: int = 50_000, max_depth: int = 64) -> Any:
        if self.looks:
            self._between(self, self.looks)
        self.looks += 1
        return await super().walk(max_files, max_depth)


def catalog() -> Catalog[Suggestor]:
    """Return what the plugin offers, with a memory of its own."""
    offered: Catalog[Suggestor] = Catalog("suggestor")
    repo_loop.converge_register_suggestors(offered)
    return offered


def no_code(reference: str) -> Callable[..., Any]:
    raise LookupError(reference)


class Human:
    """Gives the same answer at every gate."""

    def __init__(self, answer: Callable[[str, str], GateDecision] = GateDecision.approve) -> None:
        self._answer, self.asked = answer, list[GateRequest]()

    async def decide(self, requests: Sequence[GateRequest]) -> Sequence[GateDecision]:
        self.asked += requests
        return [self._answer(request.gate_id, "ana") for request in requests]


def run(
    repository: Repository,
    *phases: Mapping[str, Any],
    past: Past | None = None,
    run_id: str = "run-1",
    ticks: int = 3,
    human: Human | None = None,
    offered: Catalog[Suggestor] | None = None,
    also: Iterable[Suggestor] = (),
    gated: bool = True,
) -> ConvergeResult:
    """Run the loop with these phases, as an intent names them; if it is ``gated``, promotion waits for ``human``."""
    ports = Ports().offer(REPOSITORY, repository).offer(RECEIPTS, past or Past()).offer(RUN_ID, run_id)
    ports.offer(CLOCK, lambda: 0)
    engine = Engine(hitl_policy=HitlPolicy(gated_keys=(ContextKey.STRATEGIES,)) if gated else None)
    engine.register_invariant(FunctionInvariant("a-human-promotes", InvariantClass.STRUCTURAL, promoted_by_a_human))
    offered = offered or catalog()
    first = {**LOOP[0], "with": {"max_ticks": ticks, **phases[0].get("with", {})}} if _is_first(phases) else None
    sections = (first or {**LOOP[0], "with": {"max_ticks": ticks}}, *phases[1 if first else 0 :], *END)
    for section in sections:
        entry = offered.find(section["use"])
        config = entry.config.model_validate(section.get("with", {}))
        engine.register_suggestor(entry.factory(config, Site(section.get("name", section["use"]), no_code, ports)))
    for one in also:
        engine.register_suggestor(one)
    return asyncio.run(engine.run(ContextState(), approver=human, run_id=run_id))


def _is_first(phases: Sequence[Mapping[str, Any]]) -> bool:
    return bool(phases) and phases[0]["use"] == "repo.inventory"


def facts(result: ConvergeResult, payload: type[P]) -> list[Fact[P]]:
    return list(result.context.get(payload))


def receipt(result: ConvergeResult) -> Fact[Receipt]:
    """Return the one receipt of a run."""
    (found,) = facts(result, Receipt)
    return found


def verdict(result: ConvergeResult) -> str:
    return receipt(result).payload.verdict.value


def reports(result: ConvergeResult, phase: str) -> list[Report]:
    """Return what a phase has reported, tick by tick."""
    found = [fact.payload for fact in facts(result, Report) if fact.payload.phase == phase]
    return sorted(found, key=lambda report: report.tick)


def report(repository: Repository, phase: str, past: Past | None = None, **config: Any) -> Report:
    """Return what a phase says of a folder in one tick."""
    return reports(run(repository, {"use": f"repo.{phase}", "name": "it", "with": config}, past=past), "it")[0]


def told(said: Report) -> list[str]:
    """Return the issues of a report, as people read them."""
    return [str(issue) for issue in said.issues]


def promotions(result: ConvergeResult) -> list[Fact[Promotion]]:
    return facts(result, Promotion)
