"""What the core can say is read back by every engine, whoever depends on it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import converge_core
from converge_core import ContextKey, ContextState, Engine, FactPayload, FlowPhase, PhasePayload, ProposedFact, replay
from converge_core.context.hypotheses import Hypothesis
from converge_core.engine.families import CORE_FAMILIES, core_payloads
from converge_core.errors import PayloadError
from converge_core.intent.frames import Frame
from tests.core.stage import engine_of, play

ROOT = Path(converge_core.__file__).parent
OWN_ROOMS = {"llm", "packs"}
"""Rooms whose payloads come with the suggestors that make them."""


def families() -> list[str]:
    """The families of the payload classes of the core, as its source has them."""
    sources = [path for path in sorted(ROOT.rglob("*.py")) if path.relative_to(ROOT).parts[0] not in OWN_ROOMS]
    nodes = [node for path in sources for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))]
    named = [node for node in nodes if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "family"]
    families = [str(ast.literal_eval(node.value)) for node in named if node.value is not None]
    return [family for family in families if family.startswith("converge.")]


@pytest.mark.parametrize("family", families())
def test_an_engine_reads_every_payload_of_the_core(family: str) -> None:
    assert family in Engine().payloads.families()


def test_the_families_that_an_engine_reserves_are_those_of_the_classes_it_brings() -> None:
    assert sorted(CORE_FAMILIES) == sorted(payload.family for payload in core_payloads())


def test_a_family_of_the_core_is_nobody_elses() -> None:
    class Mine(FactPayload):
        family = "converge.frame"

    with pytest.raises(PayloadError, match="Frame already has this family"):
        Engine().payloads.register(Mine)


@pytest.mark.parametrize(
    "payload", [PhasePayload(phase=FlowPhase.FRAMING), Frame(title="October"), Hypothesis(claim="It rains.")], ids=str
)
def test_a_run_is_replayed_by_an_engine_that_never_met_its_payloads(payload: FactPayload) -> None:
    log = play(engine_of(), ContextState([], [ProposedFact(ContextKey.HYPOTHESES, "p", payload)])).log
    (fact,) = replay(Engine(), log).result().context.facts()
    assert fact.payload == payload
