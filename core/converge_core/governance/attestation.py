"""Attestations: that somebody who is trusted has signed what an agent is able to do.

An attestation is a signed note (see `converge_core.ledger.checkpoint`) of two lines: what it is, and canonical JSON
with the agent, its provider and its capabilities. A claim that is verified by it may use what the note says and no
more; who the trusted signers are is not for the note to say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

from converge_core.errors import CanonicalError, ProofRefused
from converge_core.governance.claims import CapabilityClaim, Verification
from converge_core.ledger.canonical import canonical, parse
from converge_core.ledger.checkpoint import SignatureCheck, SignedNote, Signer, VerifierKey, sign

HEADING = "converge capability attestation v1"


def attest(agent: str, provider: str, capabilities: Set[str], signer: Signer) -> SignedNote:
    """Return the signed statement that an agent is able to do this with a provider."""
    said = canonical({"agent": agent, "capabilities": sorted(capabilities), "provider": provider})
    return sign(f"{HEADING}\n{said}\n", signer)


@dataclass(frozen=True, slots=True)
class AttestationVerifier:
    """Looks for an attestation of a claim among ``notes``, each the text of a signed note, by agent.

    ``trusted`` are the keys of those whose word counts, ``check`` says whether a signature is good.
    """

    notes: Mapping[str, str]
    trusted: Sequence[VerifierKey]
    check: SignatureCheck

    async def verify(self, claim: CapabilityClaim) -> Verification:
        """Find the agent's attestation, and what it says of the claim's provider."""
        note = self.notes.get(claim.agent)
        if note is None:
            return Verification(False, f"nobody attests to {claim.agent!r}")
        try:
            signed = SignedNote.parse(note)
            signed.verify(self.trusted, self.check)
            said = _statement(signed.text)
        except (ProofRefused, CanonicalError, ValueError) as error:
            return Verification(False, f"the attestation of {claim.agent!r} does not count: {error}")
        if (said.get("agent"), said.get("provider")) != (claim.agent, claim.provider):
            return Verification(False, f"the attestation is of {said.get('agent')!r} with {said.get('provider')!r}")
        listed = said.get("capabilities")
        found = frozenset(map(str, listed)) if isinstance(listed, list | tuple) else frozenset[str]()
        return Verification(True, capabilities=found)


def _statement(text: str) -> Mapping[str, object]:
    heading, _, said = text.removesuffix("\n").partition("\n")
    value = parse(said) if heading == HEADING else None
    if not isinstance(value, Mapping):
        raise ValueError("it is no attestation of capabilities")
    return value
