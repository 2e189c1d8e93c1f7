"""``converge reject``: turn gated proposals away."""

from __future__ import annotations

from typing import Any

import click

from converge_cli.answering import Answer, answer_options
from converge_cli.exit_codes import ExitCode
from converge_cli.session import Session, pass_session
from converge_core import GateDecision


@click.command
@click.option("--reason", required=True, help="Why; kept with the decision, and told to the suggestors.")
@answer_options
@pass_session
def command(session: Session, /, reason: str, **options: Any) -> ExitCode:
    """Reject GATEs of RUN, each named in full or by an unambiguous beginning. The same content does not ask again."""
    answer = Answer.of(**options)
    return answer.give(session, lambda gate, at: GateDecision.reject(gate, answer.by, reason, at=at))
