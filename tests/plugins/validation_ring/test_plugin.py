"""The ring as an intent meets it: composed by the command line, and read by the conditions of the same intent."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from converge_adapters.deadlines import AnyioDeadlines
from converge_adapters.documents import Document
from converge_adapters.event_loop import run_async
from converge_adapters.repository import FolderRepository
from converge_cli.compose import Composition, compose
from converge_cli.session import Session
from converge_core import ConvergeResult, IntentError, Met, Unmet
from converge_core.deadlines import DEADLINES
from converge_core.repository import REPOSITORY
from converge_core.suggestors.catalog import Ports

DIGEST = sha256(b"all is well").hexdigest()


def composed(folder: Path, digest: str = DIGEST, **config: Any) -> Composition:
    """An intent that succeeds if its one claim is validated, on what a folder really holds."""
    claim = {"claim": "it is as it was", "path": "a.txt", "sha256": digest, "severity": "critical"}
    intent: dict[str, Any] = {
        "intent": {"id": "ring"},
        "inputs": [{"key": "constraints", "items": [claim], "id": "a"}],
        "suggestors": [{"use": "ring", "with": {"key": "constraints", "validators": ["file", "hash"]} | config}],
        "success": [{"id": "valid", "cel": "consensus_outcomes.exists(o, o.status == 'validated')"}],
    }
    ports = Ports().offer(REPOSITORY, FolderRepository(folder)).offer(DEADLINES, AnyioDeadlines())
    return compose(Document.of(intent, "intent.yaml"), Session(third_party=False).offers, folder, ports=ports)


def converged(made: Composition) -> ConvergeResult:
    async def converge() -> ConvergeResult:
        return await made.engine.run(made.context, made.intent)

    return run_async(converge)


@pytest.mark.parametrize(("digest", "outcome"), [(DIGEST, Met), ("0" * 64, Unmet)], ids=["met", "unmet"])
def test_x26_a_success_criterion_reads_what_the_ring_has_decided(tmp_path: Path, digest: str, outcome: type) -> None:
    (tmp_path / "a.txt").write_text("all is well")
    result = converged(composed(tmp_path, digest))
    assert [type(one.result) for one in result.criteria_outcomes] == [outcome]


def test_the_faults_of_a_ring_are_told_with_their_place(tmp_path: Path) -> None:
    with pytest.raises(IntentError) as raised:
        composed(tmp_path, validators=["file", "hsah", {"use": "hash", "with": {"speed": 3}}])
    assert [str(problem) for problem in raised.value.problems] == [
        "intent.yaml: suggestors[0].with.validators[1].use: unknown validator 'hsah'; did you mean 'hash'?",
        "intent.yaml: suggestors[0].with.validators[2].with.speed: unknown field",
    ]


def test_td006_a_quorum_without_enough_strategies_is_refused_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(IntentError, match=r"a quorum of 3 needs as many different strategies; there are 2: file, hash"):
        composed(tmp_path, needed=3)


def test_td006_validators_are_offered_by_a_plugin_and_known_by_name() -> None:
    offers = Session(third_party=False).offers
    assert {entry.name for entry in offers.validators if entry.plugin == "validation_ring"} == {
        "file",
        "hash",
        "version_control",
    }
