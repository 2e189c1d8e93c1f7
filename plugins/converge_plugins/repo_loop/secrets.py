"""``repo.secrets``: values that give access to something, found by what they look like.

A word such as ``token`` is no secret, and a secret need not stand beside one. So values are looked for: those that an
issuer has given a form of their own, private keys, passwords in URLs; and what is assigned to a name that speaks of a
secret, if it is as random as a secret is (Shannon's entropy over its characters). An issue names the place, the sort
and a mark of the value, which `SecretsConfig.accepted` takes for values that are known to open nothing. The value
itself is never told. A file that cannot be read, or is larger than was searched, fails the phase: it may hold anything.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from functools import partial
from hashlib import sha256
from typing import NamedTuple

from pydantic import Field

from converge_plugins.repo_loop.payloads import Issue
from converge_plugins.repo_loop.phase import Finding, PhaseConfig, View
from converge_plugins.repo_loop.survey import told

MARK = 16
"""Hex digits of the hash of a value by which it is known again."""
LEAST_LENGTH, LEAST_ENTROPY = 16, 3.2


class Form(NamedTuple):
    """The form of a sort of secret; it can only be where one of the ``needles`` is. ``random`` demands entropy too."""

    sort: str
    needles: tuple[bytes, ...]
    pattern: re.Pattern[bytes]
    random: bool = False


def _form(sort: str, needles: str, pattern: bytes, *, random: bool = False) -> Form:
    return Form(sort, tuple(needle.encode() for needle in needles.split()), re.compile(pattern), random)


FORMS = (
    _form(
        "private key",
        "PRIVATE",
        rb"-----BEGIN [A-Z ]*PRIVATE KEY(?: BLOCK)?-----(?:\s|\\+[nr])+"
        rb"(?:[A-Za-z-]{1,40}: [^\n]{0,200}\n\s*){0,5}((?:[A-Za-z0-9+/=\s]|\\+[nr]){40,})",
    ),
    _form("AWS access key", "AKIA ASIA", rb"\b((?:AKIA|ASIA)[0-9A-Z]{16})\b", random=True),
    _form("GitHub token", "ghp_ gho_ ghu_ ghs_ ghr_", rb"\b(gh[pousr]_[A-Za-z0-9]{36,})\b", random=True),
    _form("GitHub token", "github_pat_", rb"\b(github_pat_[A-Za-z0-9_]{40,})\b", random=True),
    _form("GitLab token", "glpat-", rb"\b(glpat-[A-Za-z0-9_-]{20,})", random=True),
    _form("Slack token", "xox", rb"\b(xox[abeoprs]-[A-Za-z0-9-]{20,})", random=True),
    _form("Google key", "AIza", rb"\b(AIza[0-9A-Za-z_-]{35})", random=True),
    _form("Stripe key", "k_live_", rb"\b([rs]k_live_[0-9A-Za-z]{20,})", random=True),
    _form("model provider's key", "sk-", rb"\b(sk-(?:ant-|proj-)?[A-Za-z0-9_-]{24,})", random=True),
    _form("package registry token", "npm_ pypi-", rb"\b((?:npm_[A-Za-z0-9]{36}|pypi-[A-Za-z0-9_-]{60,}))", random=True),
    _form("JSON web token", "eyJ", rb"\b(eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{16,})"),
    _form(
        "password in a URL",
        "://",
        rb"\b[a-z][a-z0-9+.-]{1,20}://[^/\s:@\"'`<>]{1,64}:([^/\s:@\"'`<>{}$]{8,64})@",
        random=True,
    ),
)

_NAMES = rb"api_?key|access_?key|auth|credentials?|passphrase|passw(?:or)?d|private_?key|secret|token"
_ASSIGNED = re.compile(
    rb"(?i)(?:" + _NAMES.replace(b"_?", b"[_-]?") + rb")[\w.-]{0,40}[\"']?\s{0,8}(?::=|=>|[:=])\s{0,8}"
    rb"(?:\"([^\"\s]{16,200})\"|'([^'\s]{16,200})'|([A-Za-z0-9+/_=-]{20,200})[ \t]*(?:#.*)?$)",
    re.MULTILINE,
)
_NEEDLE = re.compile(rb"(?i)key|auth|cred|pass|secret|token")
_STAND_IN = re.compile(
    rb"(?i)example|placeholder|change_?me|your[_-]|x{4,}|\*{3,}|\.{3}|[<>{}$%()\[\]]|^[a-z]+(?:[._/:-](?:[a-z]+|[0-9]{1,3}))*$"
)


class SecretsConfig(PhaseConfig):
    """What is searched, and what is known to be harmless."""

    accepted: frozenset[str] = Field(
        default=frozenset(), description="Marks, as issues show them, of values that open nothing."
    )
    max_bytes: int = Field(default=5_000_000, ge=1, description="The most of a file; a larger one fails the phase.")


async def look(view: View, config: SecretsConfig) -> Finding:
    """Search all files."""
    issues = await view.search(partial(_issues, accepted=config.accepted), config.max_bytes)
    large = [entry.path for entry in view.files if entry.size > config.max_bytes]
    unsearched = tuple(
        Issue(message=f"is larger than the {config.max_bytes} bytes that are searched", path=told(path))
        for path in large
    )
    did = (
        f"searched {len(view.files)} files for {len(FORMS)} forms of secrets and for random values under telling names"
    )
    return Finding(did, {"files": len(view.files), "forms": len(FORMS)}, (*issues, *unsearched))


def _issues(path: str, content: bytes, accepted: frozenset[str]) -> Iterator[Issue]:
    for sort, start, value in sorted(found_in(content), key=lambda found: found[1]):
        mark = mark_of(value)
        if mark not in accepted:
            line = content.count(b"\n", 0, start) + 1
            remedy = "take it out of the history as well, and have its issuer replace it"
            yield Issue(message=f"{sort} (mark {mark})", path=told(path), line=line, remedy=remedy)


def found_in(content: bytes) -> list[tuple[str, int, bytes]]:
    """Return the secrets in a content: the sort of each, where it begins, and its value. No value is found twice."""
    found: dict[bytes, tuple[str, int, bytes]] = {}
    for sort, needles, pattern, random in FORMS:
        if any(needle in content for needle in needles):
            for match in pattern.finditer(content):
                value = match[1]
                if not random or not _is_stand_in(value):
                    found.setdefault(value, (sort, match.start(1), value))
    if b"\0" not in content[:8000] and _NEEDLE.search(content):
        for match in _ASSIGNED.finditer(content):
            place = match.lastindex or 0
            value = match[place]
            known = any(value in other or other in value for other in found)
            if not known and _looks_random(value) and not _is_stand_in(value):
                found[value] = ("value under a telling name", match.start(place), value)
    return list(found.values())


def mark_of(value: bytes) -> str:
    """Return what a value is known again by."""
    return sha256(value).hexdigest()[:MARK]


def _is_stand_in(value: bytes) -> bool:
    """Say whether a value is one that stands for another: an example, a variable, a few characters repeated."""
    return _STAND_IN.search(value) is not None or entropy(value) < 2.5


def _looks_random(value: bytes) -> bool:
    """Say whether nobody would choose a value: long, of letters and digits, and without a pattern."""
    mixed = re.search(rb"[0-9]", value) and re.search(rb"[A-Za-z]", value)
    return bool(mixed) and len(value) >= LEAST_LENGTH and entropy(value) >= LEAST_ENTROPY


def entropy(value: bytes) -> float:
    """Return Shannon's entropy of the characters of a value, in bits a character."""
    counts = Counter(value).values()
    return -sum(count / len(value) * math.log2(count / len(value)) for count in counts)


def redacted(text: str) -> str:
    """Return a text without the secrets that are found in it."""
    content = text.encode(errors="replace")
    for _, _, value in sorted(found_in(content), key=lambda found: -len(found[2])):
        content = content.replace(value, b"[secret]")
    return content.decode(errors="replace")
