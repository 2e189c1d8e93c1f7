"""How a run stands: one word, one exit code, and the object that every command prints for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from converge_cli.exit_codes import ExitCode
from converge_core import Entry, Head, Ledger, RunInfo, StopClass, read_event
from converge_core.gates.stop import StopReason
from converge_core.ledger.events import (
    ChangesAccepted,
    CorrectionEvent,
    CorrectionRefused,
    DecisionReceived,
    DecisionRefused,
    ProposalMade,
    RunPaused,
    RunStopped,
)
from converge_core.ledger.history import History

if TYPE_CHECKING:
    from converge_core import ConvergeResult

_EXIT_CODES = {
    StopClass.SUCCESS: ExitCode.CONVERGED,
    StopClass.CANCELLED: ExitCode.INTERRUPTED,
    StopClass.HUMAN: ExitCode.WAITING,
    StopClass.BUDGET: ExitCode.BUDGET,
    StopClass.VALIDATION: ExitCode.VIOLATED,
    StopClass.FAILURE: ExitCode.FAILED,
}


STATUSES = ("converged", "waiting", "stopped", "cancelled", "open")
"""How a run stands. ``open`` has neither stopped nor asked anybody: it is in motion, or its process has died."""


def exit_code_of(result: ConvergeResult) -> ExitCode:
    """Return the exit code of a run."""
    code = _EXIT_CODES[result.stop_reason.stop_class]
    return ExitCode.UNMET if code is ExitCode.CONVERGED and not result.criteria_met else code


def status_of(reason: StopReason | None, *, waiting: bool = False) -> str:
    """Return one of the `STATUSES`."""
    if reason is None:
        return "waiting" if waiting else "open"
    named = {StopClass.SUCCESS: "converged", StopClass.HUMAN: "waiting", StopClass.CANCELLED: "cancelled"}
    return named.get(reason.stop_class, "stopped")


async def standing_of(ledger: Ledger, info: RunInfo) -> tuple[str, str]:
    """Return status and reason of a run in the store: from its last entry, where that says how the run stands."""
    last = read_event(info.last.body) if info.last is not None else None
    if isinstance(last, RunStopped):
        return _standing(last, 0)
    if isinstance(last, RunPaused):
        return _standing(None, last.waiting)
    if info.last is None or info.last.kind not in _AFTERWARDS:
        return _standing(None, 0)
    stored = await ledger.read(info.run_id)
    return standing_in(History.of([Entry(entry.kind, entry.body, entry.leaf) for entry in stored], info.run_id))


_AFTERWARDS = {
    event.kind
    for event in (DecisionReceived, DecisionRefused, ChangesAccepted, CorrectionEvent, CorrectionRefused, ProposalMade)
}
"""What may be recorded of a run that has stopped, or waits, and leaves it so."""


def standing_in(history: History) -> tuple[str, str]:
    """Return status and reason of a run, from all that is known of it."""
    return _standing(history.stop, len(history.open_gates()))


def _standing(stopped: RunStopped | None, waiting: int) -> tuple[str, str]:
    if stopped is not None:
        reason = StopReason.from_json(dict(stopped.stop))
        return status_of(reason), str(reason)
    return status_of(None, waiting=waiting > 0), f"{waiting} gate(s) open" if waiting else "not finished"


def result_json(result: ConvergeResult, head: Head) -> dict[str, Any]:
    """Return a run's result as `run` prints it with ``--json``."""
    pending = result.pause.requests if result.pause is not None else ()
    return {
        "run_id": result.run_id,
        "status": status_of(result.stop_reason),
        "stop_reason": result.stop_reason.to_json(),
        "converged": result.converged,
        "cycles": result.cycles,
        "facts": result.integrity.fact_count,
        "merkle_root": str(result.integrity.merkle_root),
        "ledger_head": str(head),
        "usage": result.usage.to_json(),
        "criteria": {outcome.criterion.id: outcome.result.result for outcome in result.criteria_outcomes},
        "pending": [request.to_json() for request in pending],
    }
