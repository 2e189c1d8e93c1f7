"""Plain events: those that show in the text of their body, and need not be read to be told.

Nearly every entry of a ledger holds nothing but names, hashes and whole numbers, a promotion above all. As the machine
writes it, its body is one flat object, with its members in order and no escapes in its texts: a regular language. A
text of that language is canonical JSON of its kind, and names no member twice. A text that is not may be a body all the
same, of a fact whose name is not ASCII, say; only reading it tells.
"""

from __future__ import annotations

import re
from dataclasses import fields
from functools import cache

from converge_core.ledger.events import EVENTS

_FORMS = {
    "str": r'"[ !#-\[\]-~]*"',  # printable ASCII without quotes and backslashes
    "int": r"(?:0|-?[1-9][0-9]{0,14})",  # fifteen digits, which a binary64 always holds
    "bool": r"(?:true|false)",
}


def is_plain(kind: str, body: str) -> bool:
    """Say whether a text is, beyond doubt, the canonical body of an event of this kind."""
    form = _form(kind) if kind in EVENTS else None
    return form is not None and form.fullmatch(body) is not None


@cache
def _form(kind: str) -> re.Pattern[str] | None:
    """Return the form of an event's body, or None for an event with a field that is no text, whole number or truth."""
    types = {field.name: str(field.type) for field in fields(EVENTS[kind])}
    before, after = "", ""
    for name in sorted(types):
        form = _FORMS.get(types[name].removesuffix(" | None"))
        if form is None:
            return None
        member = f'"{name}":{form},' if name < "kind" else f',"{name}":{form}'
        if types[name].endswith(" | None"):
            member = f"(?:{member})?"
        before, after = (before + member, after) if name < "kind" else (before, after + member)
    return re.compile(rf'\{{{before}"kind":"{kind}"{after}\}}')
