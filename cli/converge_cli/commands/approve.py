"""``converge approve``: let gated proposals become facts."""

from __future__ import annotations

from typing import Any

import click

from converge_cli.answering import Answer, answer_options
from converge_cli.exit_codes import ExitCode
from converge_cli.session import Session, pass_session
from converge_core import GateDecision


@click.command
@click.option("--reason", help="Why; kept with the decision.")
@answer_options
@pass_session
def command(session: Session, /, reason: str | None, **options: Any) -> ExitCode:
    """Approve GATEs of RUN, each named in full or by an unambiguous beginning."""
    answer = Answer.of(**options)
    return answer.give(session, lambda gate, at: GateDecision.approve(gate, answer.by, reason, at=at))
