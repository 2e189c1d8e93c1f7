"""The section ``models`` of an intent: which models its suggestors may ask, at what price, with what data."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from converge_core.intent.sections import Section
from converge_core.llm.routing import DataClassification


class PriceSection(Section):
    """What a model costs, for one that no price list knows. 0 is a price as well: that of a model on the premises."""

    input_usd: float = Field(ge=0, allow_inf_nan=False, description="US dollars for a million tokens of prompt.")
    output_usd: float = Field(ge=0, allow_inf_nan=False, description="US dollars for a million tokens of answer.")


class ModelSection(Section):
    """A model that suggestors may ask."""

    use: str = Field(min_length=1, description="The name of a registered backend, such as `anthropic`.")
    name: str | None = Field(default=None, min_length=1, max_length=128, description="Its name here; default: `use`.")
    with_: dict[str, Any] = Field(default_factory=dict, alias="with", description="The backend's configuration.")
    price: PriceSection | None = Field(default=None, description="What it costs, in place of the price list.")
    data: DataClassification = Field(
        default=DataClassification.INTERNAL, description="The most confidential data that it may be shown."
    )

    @property
    def called(self) -> str:
        """The name by which suggestors mean it."""
        return self.name or self.use
