"""A vote: what one voter says on one topic. Counting is a matter of who counts; what was said is not."""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar

from pydantic import Field

from converge_core.context.payloads import FactPayload


class Decision(StrEnum):
    """What a voter says."""

    YES = "yes"
    NO = "no"
    ABSTAIN = "abstain"


class Vote(FactPayload):
    """What one voter says on a topic."""

    family: ClassVar[str] = "converge.governance.vote"

    topic: str = Field(min_length=1)
    voter: str = Field(min_length=1)
    decision: Decision
    reason: str | None = None

    def summary(self) -> str:
        because = f": {self.reason}" if self.reason else ""
        return f"{self.voter} on {self.topic}: {self.decision}{because}"
