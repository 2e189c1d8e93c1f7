"""What the machine asks for: the three steps of a run."""

from __future__ import annotations

from dataclasses import dataclass

from converge_core.context.allowance import Allowance
from converge_core.engine.calls import Call
from converge_core.engine.result import ConvergeResult
from converge_core.gates.hitl import GateRequest


@dataclass(frozen=True, slots=True)
class Execute:
    """Perform these calls, all on the same frozen context, within this allowance; then `Convergence.receive`."""

    cycle: int
    batch: tuple[Call, ...]
    allowance: Allowance


@dataclass(frozen=True, slots=True)
class AwaitDecision:
    """Ask people about these gates; then `Convergence.decide`, now or in another process."""

    cycle: int
    requests: tuple[GateRequest, ...]


@dataclass(frozen=True, slots=True)
class Stopped:
    """It is over, for the reason in the result."""

    result: ConvergeResult


Step = Execute | AwaitDecision | Stopped
