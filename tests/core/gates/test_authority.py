"""Authority: grants, scopes, levels, and the moments that bound them."""

from __future__ import annotations

import json

import pytest

from converge_core import ContextKey, MisuseError, canonical
from converge_core.gates.authority import ApprovalPolicy, AuthorityGrant, AuthorityScope, instant

SEEDS, STRATEGIES = ContextKey.SEEDS, ContextKey.STRATEGIES
ANN = AuthorityGrant("ann", ("ann",))


def test_a_moment_is_kept_as_it_is() -> None:
    assert instant("2026-10-31T18:00:00Z") == "2026-10-31T18:00:00Z"


def test_a_date_lasts_until_its_last_second() -> None:
    assert instant("2026-10-31") == "2026-10-31T23:59:59Z"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tomorrow",
        "2026-10-31 18:00:00",
        "2026-10-31T18:00:00",
        "2026-10-31T18:00:00+01:00",
        "2026-10-31T18:00:00.5Z",
        "2026-13-01",
        "2026-00-01",
        "2026-10-32",
        "2026-10-31T24:00:00Z",
        "2026-10-31T18:60:00Z",
        "٢٠٢٦-10-31",
        "2026-10-31\n",
    ],
)
def test_anything_else_is_no_moment(text: str) -> None:
    with pytest.raises(MisuseError, match="is no moment of the form"):
        instant(text)


def test_a_scope_ends_at_a_moment() -> None:
    assert AuthorityScope(until="2026-10-31").until == "2026-10-31T23:59:59Z"
    with pytest.raises(MisuseError):
        AuthorityScope(until="some day")


def test_a_policy_that_nobody_can_satisfy_is_refused() -> None:
    with pytest.raises(MisuseError, match="needs 2 approvals, and only 1 may give one"):
        ApprovalPolicy((ANN, AuthorityGrant("lead", ("ann",))), needs=2)
    with pytest.raises(MisuseError, match="at least one approval"):
        ApprovalPolicy(needs=0)


def test_a_role_has_as_many_people_as_members() -> None:
    assert ApprovalPolicy((AuthorityGrant("board", ("ann", "bob")),), needs=2).needs == 2


def test_there_are_as_many_levels_as_the_highest() -> None:
    assert ApprovalPolicy().levels == 1
    assert ApprovalPolicy((ANN, AuthorityGrant("boss", ("eve",), level=3))).levels == 3


def test_a_policy_stands_in_the_ledger() -> None:
    scope = AuthorityScope((STRATEGIES,), "2026-10-31")
    policy = ApprovalPolicy((AuthorityGrant("finance", ("ann", "bob"), scope, level=2),), needs=2)
    assert json.loads(canonical(policy.to_json())) == {
        "grants": [
            {
                "keys": ["strategies"],
                "level": 2,
                "members": ["ann", "bob"],
                "name": "finance",
                "until": "2026-10-31T23:59:59Z",
            }
        ],
        "needs": 2,
    }
