"""``repo.validation``: really runs what the intent names, in the repository, and shows how it ended.

A command passes by its exit code, and is shown by it, with a digest of all that was kept of its output. Where it fails,
the end of what it said is told, without the secrets in it.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from converge_core.ledger.canonical import JsonValue
from converge_core.ledger.events import printable
from converge_core.ledger.hashes import ContentHash
from converge_core.repository import CommandResult, RepositoryError
from converge_plugins.repo_loop.payloads import Issue
from converge_plugins.repo_loop.phase import Finding, PhaseConfig, View
from converge_plugins.repo_loop.secrets import redacted

TOLD = 600
"""Characters of a failed command's output."""


class Command(BaseModel):
    """A program and its arguments; there is no shell."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    run: tuple[str, ...] = Field(min_length=1, description="The program and its arguments.")
    name: str | None = Field(default=None, min_length=1, description="What it is called; the program, if absent.")
    seconds: float = Field(default=600, gt=0, allow_inf_nan=False, description="How long it may take.")
    exit_code: int = Field(default=0, description="The exit code by which it passes.")


class ValidationConfig(PhaseConfig):
    """What is run, one after the other."""

    commands: tuple[Command, ...] = Field(min_length=1, description="The commands; all are run, whatever fails.")


async def look(view: View, config: ValidationConfig) -> Finding:
    """Run the commands."""
    evidence: dict[str, JsonValue] = {}
    issues: list[Issue] = []
    for place, command in enumerate(config.commands, 1):
        name = command.name or command.run[0]
        try:
            result = await view.repository.run(command.run, round(command.seconds * 1000))
        except RepositoryError as error:
            issues.append(Issue(message=f"{name}: {error.reason}"))
            continue
        view.ctx.note({"command": name, "duration_ms": result.duration_ms})
        evidence[f"{place}:{name}"] = {
            "command": redacted(" ".join(command.run)),
            "exit_code": result.exit_code,
            "output_sha256": str(ContentHash.of(f"{result.stdout}\0{result.stderr}")),
        }
        if result.exit_code != command.exit_code:
            issues.append(Issue(message=f"{name}: {_how(result, command)}: {_told(result)}"))
    ran = len(evidence)
    return Finding(
        f"ran {ran} of {len(config.commands)} command{'s' * (len(config.commands) != 1)}", evidence, tuple(issues)
    )


def _how(result: CommandResult, command: Command) -> str:
    if result.timed_out:
        return f"was stopped after {command.seconds:g} s"
    return f"ended with {result.exit_code}, not {command.exit_code}"


def _told(result: CommandResult) -> str:
    """Return the end of what a command said."""
    said = redacted(result.stderr.strip() or result.stdout.strip())
    return printable(said[-TOLD:]) or "it said nothing"
