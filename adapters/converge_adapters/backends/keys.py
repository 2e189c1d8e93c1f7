"""Where the key of a provider comes from: given outright, the keyring of the user, or the environment.

Keys are `SecretStr` from the moment they are read: what is printed of one are asterisks. There is no key in an intent,
only the name of the variable that holds it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress

from pydantic import SecretStr

SERVICE = "converge"
"""The service under which the keyring holds keys, each by the name of its provider."""

VARIABLES: Mapping[str, str] = {
    "anthropic": "ANTHROPIC_API_KEY",
    "openai": "OPENAI_API_KEY",
    "google": "GOOGLE_API_KEY",
    "groq": "GROQ_API_KEY",
    "deepseek": "DEEPSEEK_API_KEY",
}
"""The variables that hold the keys of providers; whoever is not listed needs none, or says where it is."""


def from_keyring(provider: str) -> str | None:
    """Return what the keyring of the user holds for a provider. Where there is no keyring, it holds nothing."""
    with suppress(Exception):  # a machine without a desktop has a keyring that only fails, each in its own way
        import keyring

        return keyring.get_password(SERVICE, provider)
    return None


def find_key(
    provider: str,
    given: SecretStr | None = None,
    variable: str | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
    keyring: Callable[[str], str | None] = from_keyring,
) -> SecretStr | None:
    """Return the key of a provider, or None: the one given, or that of the keyring, or of the environment.

    ``variable`` is the one to look at in place of the provider's own; whoever names one means it, so that the keyring
    is not asked. An empty key is none.
    """
    name = variable or VARIABLES.get(provider)
    found = (
        "" if given is None else given.get_secret_value(),
        "" if variable else keyring(provider) or "",
        environ.get(name, "") if name else "",
    )
    key = next((text.strip() for text in found if text.strip()), None)
    return None if key is None else SecretStr(key)
