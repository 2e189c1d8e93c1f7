"""Heads and keys as a command is given them: written out, or in the files of others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import click

from converge_core import Head
from converge_core.errors import ProofRefused
from converge_core.ledger.checkpoint import Checkpoint, SignedNote, VerifierKey, read_checkpoint


class GivenHead(NamedTuple):
    """A head that somebody keeps: as it was given, what it is, and what else is in the file if it was given in one."""

    given: str
    head: Head
    checkpoint: Checkpoint | None = None
    note: SignedNote | None = None

    def signers(self, keys: Sequence[VerifierKey]) -> list[str]:
        """Return the names of the keys that signed the head. Raises ProofRefused unless one did, and none falsely."""
        from converge_adapters.signing import verify_ed25519

        if self.note is None:
            raise ProofRefused(f"{self.given} is not signed, and only a signed head can be checked against a key")
        try:
            return [key.name for key in self.note.verify(keys, verify_ed25519)]
        except ProofRefused as error:
            raise ProofRefused(f"{self.given}: {error}") from error


class HeadType(click.ParamType[GivenHead]):
    """A head as every command prints it, ``size:root``, or the file of a checkpoint, as ``converge head`` prints it."""

    name = "size:root or file"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> GivenHead:
        """Read a head. Fails for what is no head and no file; raises ProofRefused for a file that is no checkpoint."""
        if isinstance(value, GivenHead):
            return value
        text = str(value)
        try:
            return GivenHead(text, Head.parse(text))
        except ValueError as error:
            if not Path(text).exists():
                self.fail(f"{error}, or it is the file of a checkpoint; {text[:80]!r} is no file", param, ctx)
        try:
            checkpoint, note = read_checkpoint(Path(text).read_bytes().decode())
        except ValueError as error:
            raise ProofRefused(f"{text} holds no checkpoint: {error}") from error
        return GivenHead(text, checkpoint.head, checkpoint, note)


class KeysType(click.ParamType[tuple[VerifierKey, ...]]):
    """A verifier key, as ``converge keys new`` prints it, or a file with one on each line."""

    name = "key or file"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[VerifierKey, ...]:
        """Read the keys, or fail with the reason."""
        if isinstance(value, tuple):
            return value
        text = str(value)
        try:
            lines = Path(text).read_bytes().decode().splitlines() if Path(text).exists() else [text]
            return tuple(map(VerifierKey.parse, lines))
        except ValueError as error:
            self.fail(str(error), param, ctx)
