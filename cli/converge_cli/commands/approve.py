"""``converge approve``: let gated proposals become facts."""

from __future__ import annotations

from typing import Any

import click

from converge_cli.answering import answer_gates, answer_options
from converge_cli.exit_codes import ExitCode
from converge_cli.session import Session, pass_session
from converge_core import GateDecision


@click.command
@click.option("--reason", help="Why; kept with the decision.")
@answer_options
@pass_session
def command(session: Session, /, reason: str | None, **options: Any) -> ExitCode:
    """Approve GATEs of RUN, each named in full or by an unambiguous beginning."""
    return answer_gates(session, lambda gate, by, at: GateDecision.approve(gate, by, reason, at=at), **options)
