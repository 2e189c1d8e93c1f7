"""``converge reject``: turn gated proposals away."""

from __future__ import annotations

from typing import Any

import click

from converge_cli.answering import answer_gates, answer_options
from converge_cli.exit_codes import ExitCode
from converge_cli.session import Session, pass_session
from converge_core import GateDecision


@click.command
@click.option("--reason", required=True, help="Why; kept with the decision, and told to the suggestors.")
@answer_options
@pass_session
def command(session: Session, /, reason: str, **options: Any) -> ExitCode:
    """Reject GATEs of RUN, each named in full or by an unambiguous beginning. The same content does not ask again."""
    return answer_gates(session, lambda gate, by, at: GateDecision.reject(gate, by, reason, at=at), **options)
