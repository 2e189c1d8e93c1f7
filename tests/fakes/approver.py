"""An approver with a script: for each proposal that may come to a gate, what the person will say."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from converge_core import GateDecision, GateRequest

Answer = Callable[[str], GateDecision]
"""Makes the decision of a gate, given the gate's id."""


class FakeApprover:
    """Gives each proposal (``key/id``) the answers of its script, one each time it is asked.

    A request without an answer fails the test.
    """

    def __init__(self, script: Mapping[str, Answer | Sequence[Answer]]) -> None:
        self._script = {ref: [answers] if callable(answers) else list(answers) for ref, answers in script.items()}
        self.asked: list[tuple[str, ...]] = []

    async def decide(self, requests: Sequence[GateRequest]) -> Sequence[GateDecision]:
        self.asked.append(tuple(request.ref for request in requests))
        return [self._answer(request) for request in requests]

    def _answer(self, request: GateRequest) -> GateDecision:
        answers = self._script.get(request.ref)
        assert answers, f"the script has no answer for {request.ref}"
        return answers.pop(0)(request.gate_id)
