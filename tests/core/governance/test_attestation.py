from __future__ import annotations

from dataclasses import replace

import pytest

from converge_core.governance.attestation import HEADING, AttestationVerifier, attest
from converge_core.governance.claims import CapabilityClaim, CapabilityGate, VerificationMethod
from converge_core.ledger.checkpoint import SignedNote, sign
from converge_core.llm.capacity import DreamerTier
from tests.core.ledger.test_checkpoint import FakeSigner, check, signer
from tests.core.stage import finish

NOTARY = signer("notary.example")
CLAIM = CapabilityClaim("orion", "anthropic", frozenset({"chat", "save"}), method=VerificationMethod.ATTESTATION)


def note(*capabilities: str, agent: str = "orion", provider: str = "anthropic", by: FakeSigner = NOTARY) -> str:
    return str(attest(agent, provider, frozenset(capabilities), by))


def verifier(text: str) -> AttestationVerifier:
    return AttestationVerifier({"orion": text}, [NOTARY.key], check)


def found(text: str, claim: CapabilityClaim = CLAIM) -> tuple[bool, str]:
    said = finish(verifier(text).verify(claim))
    return said.verified, said.detail


def test_what_a_trusted_signer_attests_to_is_what_is_there() -> None:
    said = finish(verifier(note("chat", "draw")).verify(CLAIM))
    assert (said.verified, said.capabilities) == (True, frozenset({"chat", "draw"}))


def test_a_claim_may_use_what_is_attested_and_no_more() -> None:
    gate = CapabilityGate().register(CLAIM)
    gate = finish(gate.refreshed("orion", {VerificationMethod.ATTESTATION: verifier(note("chat"))}, 0))
    assert gate.check("orion", {"chat"}, DreamerTier.WANDERER, 0).allowed
    assert gate.check("orion", {"save"}, DreamerTier.WANDERER, 0).reason == "missing capabilities: save"


def test_an_agent_that_nobody_attests_to_has_verified_nothing() -> None:
    assert found(note("chat"), replace(CLAIM, agent="lyra")) == (False, "nobody attests to 'lyra'")


@pytest.mark.parametrize("other", [{"agent": "lyra"}, {"provider": "openai"}])
def test_an_attestation_of_somebody_else_does_not_count(other: dict[str, str]) -> None:
    verified, detail = found(note("chat", **other))  # type: ignore[arg-type]  # names of one of both
    assert not verified
    assert detail.startswith("the attestation is of ")


def test_the_word_of_a_stranger_does_not_count() -> None:
    verified, detail = found(note("chat", by=signer("stranger.example")))
    assert not verified
    assert "none of the signers is known" in detail


def test_a_note_that_was_changed_after_it_was_signed_does_not_count() -> None:
    verified, detail = found(note("chat").replace("chat", "save"))
    assert not verified
    assert "is not of this text" in detail


@pytest.mark.parametrize(
    "text", ["", "no note", str(sign("another text\n", NOTARY)), str(sign(f"{HEADING}\n[]\n", NOTARY))]
)
def test_what_is_no_attestation_does_not_count(text: str) -> None:
    verified, detail = found(text)
    assert not verified
    assert detail.startswith("the attestation of 'orion' does not count: ")


def test_an_attestation_is_a_signed_note_that_can_be_read_back() -> None:
    assert str(SignedNote.parse(note("chat"))) == note("chat")
