"""``converge``: the command line.

A command's module is imported when the command is called and not before, so that ``--help`` and completion are quick;
that is why this page knows the names and one-line helps of all commands.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from converge_cli.exit_codes import ExitCode, listing

if TYPE_CHECKING:
    from converge_cli.session import Session

COMMANDS: Mapping[str, str] = {
    "run": "Run an intent to its fixed point.",
    "runs": "List the runs of the ledger.",
    "show": "Show a run: its facts, its gates, its stop.",
    "resume": "Go on with a run where its ledger ends.",
    "approvals": "List what waits for people; expire what nobody answered.",
    "approve": "Approve gated proposals.",
    "reject": "Reject gated proposals.",
    "edit": "Put another payload in the place of a gated one.",
    "correct": "Supersede a fact that is wrong.",
    "submit": "Bring an observation from outside into a run.",
    "fork": "Start another run from the end of a cycle of this one.",
    "verify": "Check that a run, or a proof from one, is what it is said to be.",
    "prove": "Prove that a fact was promoted, or that a run has only grown.",
    "head": "Print the head of a run as a checkpoint, signed or not.",
    "keys": "Make keys that sign heads.",
    "explain": "Show why a fact holds, back to the inputs.",
    "export": "Write a run as JSON lines, a flowchart or a page.",
    "import": "Bring an exported run into the ledger.",
    "replay": "Derive a run again from its recorded inputs.",
    "experience": "Show what happened in past runs, and what people did.",
    "eval": "Judge a run that has stopped by evals.",
    "chat-route": "Route a message to a model, and record what became of it.",
    "providers": "Show which providers of models can be asked now.",
    "ceg": "Show the execution graphs of a run.",
    "plugins": "List the plugins and what they offer.",
    "schema": "Print the JSON Schema of intent.yaml.",
}


class ConvergeGroup(click.Group):
    """A group whose commands are modules of `converge_cli.commands`; plugins may add others."""

    def __init__(self, *args: Any, **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.commands = dict.fromkeys(COMMANDS, click.Command(None))  # names to suggest for a mistyped one

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in COMMANDS:
            module = importlib.import_module(f"converge_cli.commands.{cmd_name.replace('-', '_')}")
            return module.command  # type: ignore[no-any-return]  # each module of the package has one
        if ctx.resilient_parsing:
            return None
        return _session(ctx).command(cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def main(self, args: Sequence[str] | None = None, *more: Any, **extra: Any) -> Any:
        """Run a command and exit with its code; whatever goes wrong becomes one clear message."""
        argv = list(sys.argv[1:] if args is None else args)
        extra["standalone_mode"] = False
        try:
            code = super().main(argv, *more, **extra)
        except Exception as error:
            at_fault = isinstance(error, click.ClickException | click.Abort)  # whoever typed it
            if not at_fault and ("--debug" in argv or os.environ.get("CONVERGE_DEBUG")):
                raise
            code = _explain(error)
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            code = ExitCode.INTERRUPTED
        sys.exit(int(code or 0))


def _session(ctx: click.Context) -> Session:
    """Return the session of this call. A plugin's command is looked up before `main` itself is called."""
    from converge_cli.session import Session

    if ctx.obj is None:
        ctx.obj = Session(third_party=not ctx.params["no_plugins"], strict=ctx.params["strict_plugins"])
    return ctx.ensure_object(Session)


def _explain(error: Exception) -> int:
    """Say on stderr what went wrong, and return the exit code."""
    if isinstance(error, click.exceptions.Abort):
        click.echo("interrupted", err=True)
        return ExitCode.INTERRUPTED
    if isinstance(error, click.ClickException):
        error.show()
        return error.exit_code
    if isinstance(error, BrokenPipeError):
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115  # the reader has gone; nothing is to be flushed to it
        return ExitCode.ERROR
    from converge_cli.output import say
    from converge_core import ConvergeError, IntentError, LedgerCorrupt, ReplayDifference
    from converge_core.errors import ProofRefused

    if isinstance(error, IntentError):
        say(str(error))
        return ExitCode.INVALID_INTENT
    if isinstance(error, ConvergeError | OSError):
        say(f"converge: {error}")
        return (
            ExitCode.CORRUPT if isinstance(error, LedgerCorrupt | ReplayDifference | ProofRefused) else ExitCode.ERROR
        )
    say(f"converge: {type(error).__name__}: {error}")
    say("This is a fault of Converge or of a plugin; `converge --debug ...` shows where.")
    return ExitCode.ERROR


@click.group(cls=ConvergeGroup, epilog=listing(), context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.option("--no-plugins", is_flag=True, help="Load no third-party plugins.")
@click.option("--strict-plugins", is_flag=True, help="Refuse to start when a plugin fails to load.")
@click.version_option(package_name="converge-runtime", prog_name="converge")
@click.pass_context
def main(ctx: click.Context, debug: bool, no_plugins: bool, strict_plugins: bool) -> None:
    """Converge: suggestors propose, gates decide, a ledger remembers.

    Data goes to stdout, everything else to stderr; --json is understood by every command.
    """
    _session(ctx)


if __name__ == "__main__":
    main()
