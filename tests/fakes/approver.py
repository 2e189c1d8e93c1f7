"""An approver with a script: for each proposal that may come to a gate, what the person will say."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from converge_core import GateDecision, GateRequest

Answer = Callable[[str], GateDecision]
"""Makes the decision of a gate, given the gate's id."""


class FakeApprover:
    """Answers each proposal (``key/id``) once, as scripted. A request without an answer fails the test."""

    def __init__(self, script: Mapping[str, Answer]) -> None:
        self._script = dict(script)
        self.asked: list[tuple[str, ...]] = []

    async def decide(self, requests: Sequence[GateRequest]) -> Sequence[GateDecision]:
        self.asked.append(tuple(request.ref for request in requests))
        return [self._answer(request) for request in requests]

    def _answer(self, request: GateRequest) -> GateDecision:
        answer = self._script.pop(request.ref, None)
        assert answer is not None, f"the script has no answer for {request.ref}"
        return answer(request.gate_id)
