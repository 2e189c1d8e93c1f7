from __future__ import annotations

import pytest

from converge_core import SubjectRef


def test_a_subject_has_a_kind_and_an_id() -> None:
    subject = SubjectRef("crm://customer/Ada-1")
    assert (subject.kind, subject.id, subject) == ("customer", "Ada-1", "crm://customer/Ada-1")


def test_scheme_and_kind_are_lower_case_and_the_id_is_as_given() -> None:
    assert SubjectRef("CRM://Customer/Ada") == "crm://customer/Ada"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "customer/1",
        "://customer/1",
        "crm:///1",
        "crm://customer/",
        "crm://customer",
        "crm://customer/a b",
        "crm://customer/a/b",
        "crm://customer/a\x00",
        "1crm://customer/1",
        "crm://cust_omer/1",
        "crm://customer/a\n",
    ],
)
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a subject of the form scheme://kind/id"):
        SubjectRef(text)
