"""Secrets: found by what they look like, never told, and not looked for by a word."""

from __future__ import annotations

import random
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converge_core.repository import RepositoryError
from converge_plugins.repo_loop.payloads import Status
from converge_plugins.repo_loop.secrets import entropy, found_in, mark_of, redacted
from tests.fakes.repository import FakeRepository
from tests.plugins.repo_loop.loop import report, told


def made(length: int, alphabet: str = string.ascii_letters + string.digits, seed: int = 7) -> str:
    """Return a value as random as a secret, the same one every time; this file holds none itself."""
    value = "".join(random.Random(seed).choices(alphabet, k=length - 2))
    return f"{value}a1"


UPPER = string.ascii_uppercase + string.digits
SECRETS = {
    "AWS access key": "AKIA" + made(16, UPPER).upper(),
    "GitHub token": "ghp_" + made(36),
    "GitLab token": "glpat-" + made(20),
    "Slack token": "xoxb-" + made(30),
    "Google key": "AIza" + made(35),
    "Stripe key": "sk_live_" + made(24),
    "model provider's key": "sk-ant-" + made(40),
    "package registry token": "npm_" + made(36),
    "JSON web token": f"eyJ{made(20)}.eyJ{made(20)}.{made(40)}",
    "password in a URL": f"postgres://user:{made(16)}@db/x",
    "private key": f"-----BEGIN RSA PRIVATE KEY-----\n{made(64)}\n-----END RSA PRIVATE KEY-----",
}


@pytest.mark.parametrize("sort", SECRETS)
def test_a_secret_is_found_by_its_form(sort: str) -> None:
    (found,) = found_in(f"x = call({SECRETS[sort]!r})".replace("\\n", "\n").encode())

    assert found[0] == sort


@pytest.mark.parametrize(
    "text", ['{{"private_key": "{}\\n{}\\n"}}', "{}\nProc-Type: 4,ENCRYPTED\nDEK-Info: A,B\n\n{}\n"]
)
def test_a_private_key_is_found_inside_of_json_and_after_headers(text: str) -> None:
    (found,) = found_in(text.format("-----BEGIN PRIVATE KEY-----", made(64)).encode())

    assert found[0] == "private key"


@pytest.mark.parametrize("line", ["api_key = {!r}", 'password: "{}"', "ACCESS_TOKEN={}", "client-secret => '{}'"])
def test_a_random_value_under_a_telling_name_is_found(line: str) -> None:
    (found,) = found_in(line.format(made(32)).encode())

    assert found[0] == "value under a telling name"


@pytest.mark.parametrize(
    "line",
    [
        "see TOKEN: docs",
        "API_KEY = os.environ['API_KEY']",
        "password: changeme-please-now",
        'token = "example-0123456789abcdef"',
        "secret: ${{ secrets.DEPLOY_SECRET_NUMBER_1 }}",
        "password = 'correct-horse-battery-staple'",
        'auth_header = "x-api-key-header-name-1"',
        "postgres://user:password@localhost/db",
        "postgres://user:${PASSWORD_1234567890}@db/x",
        "token_count = 12345678901234567890",
        "AKIAXXXXXXXXXXXXXXXX",
        "the token is checked by validate_token_and_refresh_2(session)",
        'sha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"',
    ],
)
def test_x19_a_word_is_no_secret(line: str) -> None:
    assert found_in(line.encode()) == []


def test_x19_a_secret_in_a_file_fails_the_phase_and_is_not_told() -> None:
    value = SECRETS["GitHub token"]

    said = report(FakeRepository({"a/b.py": f"# one\nuse('{value}')\n".encode(), "c": b"x"}), "secrets")

    assert said.status is Status.FAIL
    assert told(said) == [f"a/b.py:2: GitHub token (mark {mark_of(value.encode())})"]
    assert value not in said.model_dump_json()


def test_a_value_that_is_known_to_open_nothing_is_accepted_by_its_mark() -> None:
    value = SECRETS["GitHub token"]
    files = {"a": value.encode()}

    assert report(FakeRepository(files), "secrets", accepted=[mark_of(value.encode())]).status is Status.PASS
    assert report(FakeRepository(files), "secrets", accepted=["0" * 16]).status is Status.FAIL


def test_x19_a_file_that_is_larger_than_is_searched_fails() -> None:
    said = report(FakeRepository({"big": b"x" * 2000}), "secrets", max_bytes=1000)

    assert told(said) == ["big: is larger than the 1000 bytes that are searched"]


def test_x19_a_file_that_cannot_be_read_fails() -> None:
    class Shut(FakeRepository):
        async def read(self, path: str, max_bytes: int = 1_000_000) -> bytes:
            raise RepositoryError(path, "permission denied")

        async def digest(self, path: str) -> str:
            return "0" * 64

    said = report(Shut({"a": b"x"}), "secrets")

    assert (said.status, told(said)) == (Status.FAIL, ["a: permission denied"])


def test_a_secret_in_a_file_that_is_no_text_is_found() -> None:
    assert [sort for sort, _, _ in found_in(b"\0\1\2 " + SECRETS["AWS access key"].encode() + b" \xff")]


def test_a_text_is_told_without_the_secrets_in_it() -> None:
    value = SECRETS["Slack token"]

    assert redacted(f"sent {value} twice: {value}") == "sent [secret] twice: [secret]"


@given(st.binary(max_size=400))
def test_any_content_can_be_searched(content: bytes) -> None:
    for _, start, value in found_in(content):
        assert content[start : start + len(value)] == value


@given(st.binary(min_size=1, max_size=300))
def test_entropy_is_at_most_eight_bits_and_none_where_nothing_varies(content: bytes) -> None:
    assert -1e-9 <= entropy(content) <= 8
    assert entropy(content[:1] * len(content)) == 0
