"""Every item of the audit is shown by a test, or does not apply for a reason that is written down."""

from __future__ import annotations

import pytest

from docs import audit_map


@pytest.mark.parametrize("item", audit_map.ITEMS)
def test_every_item_is_shown_by_a_test_or_has_a_reason(item: str) -> None:
    assert bool(audit_map.shown()[item]) != bool(audit_map.ABSENT.get(item))


def test_no_reason_is_given_for_what_is_no_item() -> None:
    assert set(audit_map.ABSENT) <= set(audit_map.ITEMS)
