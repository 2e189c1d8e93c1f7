from __future__ import annotations

from collections.abc import Iterator

import pytest
from pydantic import SecretStr

from converge_adapters.backends.keys import SERVICE, VARIABLES, find_key, from_keyring

keyring = pytest.importorskip("keyring")


def nothing(provider: str) -> str | None:
    return None


def shown(key: SecretStr | None) -> str | None:
    return None if key is None else key.get_secret_value()


def test_what_is_given_outright_comes_first_then_the_keyring_then_the_environment() -> None:
    environ = {"ANTHROPIC_API_KEY": "from the environment"}

    def ring(provider: str) -> str:
        return f"from the keyring: {provider}"

    given = SecretStr("given")
    assert shown(find_key("anthropic", given, environ=environ, keyring=ring)) == "given"
    assert shown(find_key("anthropic", environ=environ, keyring=ring)) == "from the keyring: anthropic"
    assert shown(find_key("anthropic", environ=environ, keyring=nothing)) == "from the environment"


def test_a_variable_that_is_named_is_the_only_place_to_look() -> None:
    def ring(provider: str) -> str:
        return "another"

    environ = {"MINE": " mine\n", "OPENAI_API_KEY": "another"}
    assert shown(find_key("openai", variable="MINE", environ=environ, keyring=ring)) == "mine"
    assert find_key("openai", variable="THINE", environ=environ, keyring=ring) is None


@pytest.mark.parametrize("empty", ["", "  "])
def test_an_empty_key_is_none(empty: str) -> None:
    environ = {"GROQ_API_KEY": empty}
    assert find_key("groq", SecretStr(empty), environ=environ, keyring=lambda _: empty) is None


def test_who_is_not_known_has_no_variable() -> None:
    assert find_key("ollama", environ={"": "odd", "OLLAMA_API_KEY": "odd"}, keyring=nothing) is None


def test_the_providers_have_the_variables_that_their_users_know() -> None:
    assert VARIABLES == {
        "anthropic": "ANTHROPIC_API_KEY",
        "openai": "OPENAI_API_KEY",
        "google": "GOOGLE_API_KEY",
        "groq": "GROQ_API_KEY",
        "deepseek": "DEEPSEEK_API_KEY",
    }


def test_a_key_is_never_printed() -> None:
    key = find_key("openai", SecretStr("sk-secret"), environ={}, keyring=nothing)
    assert "sk-secret" not in f"{key!r} {key}"


@pytest.fixture
def installed() -> Iterator[None]:
    """Puts back the keyring of this machine."""
    before = keyring.get_keyring()
    yield
    keyring.set_keyring(before)


@pytest.mark.usefixtures("installed")
def test_the_keyring_is_asked_for_the_provider_of_converge() -> None:
    from keyring.backend import KeyringBackend

    class Ring(KeyringBackend):
        priority = 1

        def get_password(self, service: str, username: str) -> str | None:
            return f"{service}/{username}"

        def set_password(self, service: str, username: str, password: str) -> None:
            raise NotImplementedError

    keyring.set_keyring(Ring())  # type: ignore[no-untyped-call]
    assert from_keyring("openai") == f"{SERVICE}/openai"


@pytest.mark.usefixtures("installed")
def test_a_machine_without_a_keyring_has_no_keys_and_no_error() -> None:
    from keyring.backends.fail import Keyring

    keyring.set_keyring(Keyring())  # type: ignore[no-untyped-call]
    assert from_keyring("openai") is None
