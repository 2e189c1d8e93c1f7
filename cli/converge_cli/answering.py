"""What `approve`, `reject` and `edit` have in common: which gates are meant, who decides, and what is printed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import click

from converge_adapters.timeouts import moment
from converge_cli.approvers import current_actor
from converge_cli.deciding import Answered, decide, gates_named
from converge_cli.exit_codes import ExitCode
from converge_cli.output import emit, safe, say
from converge_cli.recorded import Loaded, with_ledger
from converge_cli.session import Session, invocation, json_option, ledger_option
from converge_core import Actor, GateDecision


def answer_options(command: Any) -> Any:
    """Add what names gates and the person who decides: ``RUN GATE…``, ``RUN --all``, ``--all --run RUN``, ``--as``."""
    for decorate in reversed(
        (
            click.argument("names", metavar="RUN [GATE]...", nargs=-1),
            click.option("--run", "run_id", metavar="RUN", help="The run, instead of as the first argument."),
            click.option("--all", "everything", is_flag=True, help="All gates of the run that are open."),
            click.option("--as", "actor", metavar="NAME", help="Who decides; default: CONVERGE_ACTOR, or the user."),
            ledger_option,
            json_option,
        )
    ):
        command = decorate(command)
    return command


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command line says: which gates of which run are decided, by whom, and where and how that is told."""

    run_id: str
    gates: tuple[str, ...]
    everything: bool
    by: Actor
    ledger_url: str | None
    as_json: bool

    @classmethod
    def of(
        cls,
        *,
        names: tuple[str, ...],
        run_id: str | None,
        everything: bool,
        actor: str | None,
        ledger_url: str | None,
        as_json: bool,
    ) -> Self:
        """Return it from the options. Raises click.UsageError where no run or no gate is named."""
        if run_id is None:
            if not names:
                raise click.UsageError("name a run")
            run_id, *rest = names
            names = tuple(rest)
        if everything == bool(names):
            raise click.UsageError("name the gates, or give --all")
        return cls(run_id, names, everything, current_actor(actor), ledger_url, as_json)

    def only(self, gates: Iterable[str]) -> Self:
        """Return it for these gates alone."""
        return replace(self, gates=tuple(gates), everything=False)

    def chosen(self, loaded: Loaded) -> list[str]:
        """Return the gates that are meant, in full."""
        return gates_named(loaded, self.gates, self.everything)

    def give(self, session: Session, make: Callable[[str, str], GateDecision]) -> ExitCode:
        """Decide the gates with what ``make`` returns for a gate and a moment; print what became of each."""

        def choose(loaded: Loaded) -> list[GateDecision]:
            return [make(gate, moment()) for gate in self.chosen(loaded)]

        answers: list[Answered]
        answers, _ = with_ledger(session.ledger(self.ledger_url), decide, session, self.run_id, choose)
        return self._report(answers)

    def _report(self, answers: Sequence[Answered]) -> ExitCode:
        """Print what became of decisions; one that did not count makes the exit code 1."""
        for answer in answers:
            if self.as_json:
                emit(answer.to_json())
            else:
                click.echo(safe(str(answer)))
        if not answers:
            say(f"no gate of {self.run_id} is open")
        elif not self.as_json:
            say(f"go on with: {invocation(f'resume {self.run_id}', self.ledger_url)}")
        return ExitCode.CONVERGED if all(answer.refusal is None for answer in answers) else ExitCode.ERROR
