"""An authorizer that answers by a table, and keeps what it was asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from converge_core import FlowAction, FlowGateDecision, FlowGateInput, FlowGateOutcome


@dataclass
class FakeAuthorizer:
    """``outcomes`` are by action, and by action and resource (``"promote seeds/a"``); what is not there passes.

    A rejection or escalation gives ``reason``; an exception in place of an outcome is raised.
    """

    outcomes: Mapping[str, FlowGateOutcome | Exception] = field(default_factory=dict)
    reason: str = "because"
    name: str = "fake:1"
    asked: list[FlowGateInput] = field(default_factory=list)

    def decide(self, question: FlowGateInput) -> FlowGateDecision:
        """Look the question up."""
        self.asked.append(question)
        action = question.action.value
        outcome = self.outcomes.get(f"{action} {question.resource.id}", self.outcomes.get(action))
        if isinstance(outcome, Exception):
            raise outcome
        return FlowGateDecision(outcome or FlowGateOutcome.PROMOTE, self.reason, self.name)

    def questions(self, action: FlowAction) -> list[FlowGateInput]:
        """Return what was asked about an action."""
        return [question for question in self.asked if question.action is action]
