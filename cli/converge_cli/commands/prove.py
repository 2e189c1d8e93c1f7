"""``converge prove``: proofs to give away, which are checked without the ledger."""

from __future__ import annotations

import json
from pathlib import Path

import click

from converge_cli.heads import GivenHead, HeadType
from converge_cli.output import emit, say
from converge_cli.recorded import read_verified, with_ledger
from converge_cli.session import Session, json_option, ledger_option, pass_session
from converge_core import Entry, Head
from converge_core.ledger.proofs import Proof, prove_fact, prove_growth


@click.command
@click.argument("run_id", metavar="RUN")
@click.argument("fact", metavar="[FACT]", required=False)
@click.option("--from", "older", type=HeadType(), metavar="HEAD", help="Prove that RUN has grown from this head.")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Write it to a file.")
@ledger_option
@json_option
@pass_session
def command(
    session: Session,
    run_id: str,
    fact: str | None,
    older: GivenHead | None,
    output: Path | None,
    ledger_url: str | None,
    as_json: bool,
) -> None:
    """Prove that FACT (key/id) was promoted in RUN; with --from HEAD instead, that RUN has only grown since that head.

    The proof is JSON. Whoever holds a head of RUN checks it without the ledger:

    \b
      converge prove RUN FACT > fact.json
      converge verify --proof fact.json --head HEAD
      converge prove RUN --from OLD > growth.json
      converge verify --proof growth.json --head OLD --head NEW

    A HEAD is written size:root, or is a file that `converge head` has printed.
    """
    if (fact is None) == (older is None):
        raise click.UsageError("give either FACT or --from HEAD: there is one claim to a proof")
    entries: list[Entry]
    head: Head
    entries, head = with_ledger(session.ledger(ledger_url, read_only=True), read_verified, run_id)
    proof: Proof
    if older is not None:
        proof = prove_growth([entry.leaf for entry in entries], older.head)
    else:
        proof = prove_fact(entries, str(fact))
    if output is None:
        emit(proof.to_json())
    else:
        output.write_text(json.dumps(proof.to_json(), ensure_ascii=False) + "\n", encoding="utf-8")
    say(f"it is checked against the ledger head {head}")
