"""``converge verify``: is a run, or a proof from one, what it is said to be?"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from converge_cli.heads import GivenHead, HeadType, KeysType
from converge_cli.output import emit, safe, say
from converge_cli.recorded import read_verified, with_ledger
from converge_cli.session import Session, json_option, ledger_option, pass_session
from converge_core import Entry, Head, LedgerCorrupt
from converge_core.errors import ProofRefused
from converge_core.ledger.checkpoint import VerifierKey
from converge_core.ledger.proofs import ConsistencyProof, FactProof, Proof, read_proof


@click.command
@click.argument("run_id", metavar="[RUN]", required=False)
@click.option(
    "--proof",
    "proof_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A proof of `converge prove`, to check instead of a run.",
)
@click.option(
    "--head",
    "heads",
    type=HeadType(),
    metavar="HEAD",
    multiple=True,
    help="A head kept elsewhere, as size:root or as a file of `converge head`.",
)
@click.option(
    "--pubkey",
    "key_lists",
    type=KeysType(),
    metavar="VKEY|FILE",
    multiple=True,
    help="A verifier key, or a file with some: one of them must have signed the head. Repeatable.",
)
@ledger_option
@json_option
@pass_session
def command(
    session: Session,
    run_id: str | None,
    proof_file: Path | None,
    heads: tuple[GivenHead, ...],
    key_lists: tuple[tuple[VerifierKey, ...], ...],
    ledger_url: str | None,
    as_json: bool,
) -> None:
    """Check every entry of RUN against its hashes, and the whole against its Merkle roots; or check a proof.

    Without --head, checking RUN cannot see a history that was rewritten as a whole, or cut off at its end: keep a head
    elsewhere and give it here. RUN must hold it, or have grown from it.

    --proof needs no ledger, but the heads that you hold: one for the proof of a fact, which must be that of the proof;
    two for a proof that a run has only grown, the older and the newer.
    """
    keys = [key for keys in key_lists for key in keys]
    if (run_id is None) == (proof_file is None):
        raise click.UsageError("give either RUN or --proof FILE")
    if keys and not heads:
        raise click.UsageError("--pubkey is for the signature on a head: give --head FILE too")
    if run_id is not None and len(heads) > 1:
        raise click.UsageError("RUN is checked against one --head")
    signers = _signers(heads, keys)
    if proof_file is not None:
        _report_proof(_checked(proof_file, heads), heads, signers, as_json)
        return
    entries: list[Entry]
    found: Head
    head = heads[0].head if heads else None
    try:
        entries, found = with_ledger(session.ledger(ledger_url, read_only=True), read_verified, run_id, head)
    except LedgerCorrupt as error:
        if as_json:
            fault = {"sequence": error.sequence, "expected": error.expected, "found": error.found}
            emit({"run_id": error.run_id, "verified": False} | fault)
        raise
    if as_json:
        standing = {"run_id": run_id, "verified": True, "entries": len(entries), "ledger_head": str(found)}
        emit(standing | {"signed_by": signers})
    else:
        against = f" and holds the given head{_signed(signers)}" if heads else ""
        click.echo(f"{run_id}: {len(entries)} entries intact{against}\nledger head {found}")


def _signers(heads: Sequence[GivenHead], keys: Sequence[VerifierKey]) -> list[str]:
    """Return who signed the heads, each of which must be signed if there are keys to check that with."""
    if not keys:
        for given in heads:
            if given.note is not None:
                say(f"the signatures on {given.given} are not checked: --pubkey does that")
        return []
    return list(dict.fromkeys(name for given in heads for name in given.signers(keys)))


def _checked(file: Path, heads: Sequence[GivenHead]) -> Proof:
    """Read a proof, and check it against the heads."""
    try:
        proof = read_proof(file.read_bytes().decode())
    except ValueError as error:
        raise ProofRefused(f"{file} holds no proof: {error}") from error
    if isinstance(proof, FactProof):
        if len(heads) != 1:
            raise click.UsageError("the proof of a fact is checked against a head that you hold: give one --head")
        proof.check(heads[0].head)
    else:
        if len(heads) != 2:
            raise click.UsageError("a proof of growth is checked between two heads that you hold: give --head twice")
        _check_origins(heads)
        proof.check(*sorted((given.head for given in heads), key=lambda head: head.size))
    return proof


def _check_origins(heads: Sequence[GivenHead]) -> None:
    origins = [given.checkpoint.origin for given in heads if given.checkpoint is not None]
    if len(set(origins)) > 1:
        raise ProofRefused(f"the heads are of different logs: {' and '.join(origins)}")


def _report_proof(proof: Proof, heads: Sequence[GivenHead], signers: Sequence[str], as_json: bool) -> None:
    told = _told_fact(proof) if isinstance(proof, FactProof) else _told_growth(proof)
    if as_json:
        emit({"verified": True} | told | {"signed_by": signers})
        return
    origin = next((f" of {given.checkpoint.origin}" for given in heads if given.checkpoint is not None), "")
    if isinstance(proof, ConsistencyProof):
        click.echo(safe(f"the log{origin} at {proof.second}\nbegan as it was at {proof.first}{_signed(signers)}"))
        return
    promotion = proof.promotion
    payload = json.dumps(proof.statement.get("payload"), ensure_ascii=False)
    click.echo(
        safe(
            f"{told['fact']} was promoted: entry {proof.sequence} of the log{origin}\n"
            f"at {proof.head}{_signed(signers)}\n"
            f"  says      {payload}\n"
            f"  proposer  {promotion.proposer}\n"
            f"  approver  {promotion.approver}, by {promotion.authority}"
        )
    )


def _told_fact(proof: FactProof) -> dict[str, Any]:
    promotion = proof.promotion
    return {
        "proof": "fact",
        "fact": f"{promotion.key}/{promotion.id}",
        "sequence": proof.sequence,
        "ledger_head": str(proof.head),
        "promotion": promotion.to_json(),
        "proposal": proof.statement,
    }


def _told_growth(proof: ConsistencyProof) -> dict[str, Any]:
    return {"proof": "consistency", "first": str(proof.first), "second": str(proof.second)}


def _signed(signers: Sequence[str]) -> str:
    return f", signed by {', '.join(signers)}" if signers else ""
