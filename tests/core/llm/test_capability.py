from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converge_core import MisuseError
from converge_core.llm.capability import (
    NOTHING_NEEDED,
    BackendCapability,
    Capability,
    CapabilityKind,
    Modality,
    RequiredCapabilities,
)

WORDS: list[Capability] = [*CapabilityKind, *Modality, *BackendCapability]
capabilities = st.frozensets(st.sampled_from(WORDS))


def test_the_three_vocabularies_share_no_word() -> None:
    assert len({str(word) for word in WORDS}) == len(WORDS)


def test_what_is_needed_and_not_offered_is_named_in_order() -> None:
    needed = RequiredCapabilities({Modality.IMAGE, CapabilityKind.TOOL_USE, CapabilityKind.CODE})
    assert needed.missing({CapabilityKind.CODE}) == ("image", "tool_use")


@given(capabilities, capabilities)
def test_nothing_is_missing_just_when_everything_needed_is_offered(
    needed: frozenset[Capability], offered: frozenset[Capability]
) -> None:
    assert (not RequiredCapabilities(needed).missing(offered)) == (needed <= offered)


def test_nothing_is_needed_by_default() -> None:
    assert RequiredCapabilities() == NOTHING_NEEDED
    assert NOTHING_NEEDED.missing(frozenset()) == ()


def test_the_set_that_was_given_may_change_afterwards() -> None:
    given_set: set[Capability] = {Modality.TEXT}
    needed = RequiredCapabilities(given_set)
    given_set.clear()
    assert needed.all_of == {Modality.TEXT}


def test_a_negative_number_of_tokens_is_refused() -> None:
    with pytest.raises(MisuseError, match="context_tokens is a number of tokens, not -1"):
        RequiredCapabilities(context_tokens=-1)
