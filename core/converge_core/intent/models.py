"""The sections ``models`` and ``denials`` of an intent: which models its suggestors may ask, at what price and with
what data, and what no model may do or see.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import Field, ValidatorFunctionWrapHandler, WrapValidator

from converge_core.governance.negative_authority import (
    PROFILES,
    AuthorityGate,
    DenialSource,
    NegativeAuthorityProfile,
)
from converge_core.governance.terms import Boundary
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


class DenialSection(Section):
    """What no model may do or see here, whatever it can: negative authority. Nothing overrides it."""

    id: str = Field(min_length=1, max_length=128, description="Its name, in the record of who was passed over.")
    actions: tuple[str, ...] = Field(default=(), description="Actions that are denied, such as `llm` or `chat`.")
    providers: tuple[str, ...] = Field(default=(), description="Providers, or models by name, that are denied.")
    boundaries: tuple[Boundary, ...] = Field(default=(), description="Sides of the boundary that are denied.")
    data_classes: tuple[str, ...] = Field(
        default=(), description="Classes of data that are denied: `labels` of a task."
    )
    reason: str = Field(default="", description="Why, for people.")

    def profile(self) -> NegativeAuthorityProfile:
        """Return the profile."""
        return NegativeAuthorityProfile(
            self.id,
            frozenset(self.actions),
            frozenset(self.providers),
            frozenset(self.boundaries),
            frozenset(self.data_classes),
            self.reason,
            DenialSource.OPERATOR,
        )


def known_profile(name: str) -> str:
    """Return the name of a profile that comes with the house. Raises ValueError for another one."""
    if name not in PROFILES:
        raise ValueError(f"there is no profile {name!r}; there is {', '.join(PROFILES)}")
    return name


def _one_of_both(value: object, _: ValidatorFunctionWrapHandler) -> str | DenialSection:
    """Read a denial as what it is by its looks: who has mistyped a name is not told what a section lacks."""
    return known_profile(value) if isinstance(value, str) else DenialSection.model_validate(value)


Denial = Annotated[str | DenialSection, WrapValidator(_one_of_both)]


def authority_gate(denials: Iterable[Denial]) -> AuthorityGate:
    """Return the gate of these denials. Raises MisuseError for two of one name."""
    return AuthorityGate(tuple(PROFILES[denial] if isinstance(denial, str) else denial.profile() for denial in denials))
