"""What no engine could leave out: the row that all others are compared with.

Make the payload, await an empty function (or one gather a cycle), make one tuple, encode it, hash it, and where a
workload is durable commit one transaction a cycle. No eligibility, no gate, no merge rule, no duplicate check. The
encoder is orjson, the fastest that sorts keys; ``encoder="json"`` is the same with the standard library alone.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import tempfile
from collections.abc import Callable
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Any

from bench.shapes import Laps, fact, text
from bench.worker import Sample, Work, serve, timed

Encode = Callable[[object], bytes]
Row = tuple[int, str, str, dict[str, Any]]

_PLAIN = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def encoder_of(name: str) -> tuple[Encode, Callable[[bytes], Any]]:
    """Return how to encode and how to decode."""
    if name == "json":
        return lambda value: _PLAIN.encode(value).encode(), json.loads
    import orjson

    return lambda value: orjson.dumps(value, option=orjson.OPT_SORT_KEYS), orjson.loads


async def nothing(name: str) -> dict[str, Any]:
    """Make a payload, asynchronously."""
    return {"family": "bench.1", "text": text(name), "version": 1}


class Chain:
    """Facts under a chain of hashes: all that is kept."""

    def __init__(self, encode: Encode) -> None:
        self._encode = encode
        self.rows: list[Row] = []
        self._last = b""

    def add(self, name: str, payload: dict[str, Any]) -> tuple[int, bytes, bytes]:
        """Append a fact; return its place, body and hash."""
        row = (len(self.rows), "Hypotheses", name, payload)
        body = self._encode(row)
        self._last = sha256(self._last + body).digest()
        self.rows.append(row)
        return row[0], body, self._last


def chain(length: int, encoder: str = "orjson") -> Work:
    """W1."""
    encode, _ = encoder_of(encoder)

    async def call() -> None:
        log = Chain(encode)
        for number in range(length):
            log.add(f"s{number}@{number}", await nothing(f"s{number}@{number}"))

    return timed(call, length)


async def cycle(log: Chain, names: list[str]) -> None:
    """One cycle of several: one gather."""
    for name, payload in zip(names, await asyncio.gather(*map(nothing, names)), strict=True):
        log.add(name, payload)


def fan_out(width: int, encoder: str = "orjson") -> Work:
    """W2."""
    encode, _ = encoder_of(encoder)

    async def call() -> None:
        log = Chain(encode)
        await cycle(log, [f"s{number}@1" for number in range(width)])
        log.add("joined", await nothing("joined"))

    return timed(call, width)


def sparse(registered: int, active: int = 10, cycles: int = 50, encoder: str = "orjson") -> Work:
    """W3: what sleeps costs nothing."""
    encode, _ = encoder_of(encoder)

    async def call() -> None:
        log = Chain(encode)
        for number in range(cycles):
            await cycle(log, [f"s{lane}@{number}" for lane in range(active)])

    return timed(call, active * cycles)


def large_context(facts: int, cycles: int = 20, encoder: str = "orjson") -> Work:
    """W4."""
    encode, _ = encoder_of(encoder)
    log, numbers, laps = Chain(encode), count(), Laps()
    for number in range(facts):
        log.add(f"old{number}", fact(f"old{number}", 1))

    async def sample() -> Sample:
        for _ in range(cycles + 2):
            laps.mark()
            name = f"s{next(numbers)}"
            log.add(name, await nothing(name))
        return laps.take(skip=1)

    return sample


def open_database(path: Path, synchronous: str) -> sqlite3.Connection:
    """Open an append-only table."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    connection.execute("CREATE TABLE facts (seq INTEGER PRIMARY KEY, body BLOB, hash BLOB)")
    return connection


def durable(length: int, synchronous: str, encoder: str = "orjson") -> Work:
    """W5: one transaction a cycle. Opening and closing the file is part of the time, as it is for us."""
    encode, _ = encoder_of(encoder)
    folder, numbers = Path(tempfile.mkdtemp(prefix="bench-")), count()

    async def call() -> None:
        connection = open_database(folder / f"{next(numbers)}.db", synchronous)
        log = Chain(encode)
        for number in range(length):
            name = f"s{number}@{number}"
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("INSERT INTO facts VALUES (?, ?, ?)", log.add(name, await nothing(name)))
            connection.execute("COMMIT")
        connection.close()

    return timed(call, length)


def resume(facts: int, encoder: str = "orjson") -> Work:
    """W5r: read every row, verify the chain of hashes, decode the body."""
    encode, decode = encoder_of(encoder)
    path = Path(tempfile.mkdtemp(prefix="bench-")) / "run.db"
    connection = open_database(path, "NORMAL")
    log = Chain(encode)
    connection.execute("BEGIN")
    rows = (log.add(f"f{n}", {"family": "bench.1", "text": text(f"f{n}"), "version": 1}) for n in range(facts))
    connection.executemany("INSERT INTO facts VALUES (?, ?, ?)", rows)
    connection.execute("COMMIT")
    connection.close()

    def call() -> None:
        again, last, found = sqlite3.connect(path), b"", []
        for _, body, kept in again.execute("SELECT seq, body, hash FROM facts ORDER BY seq"):
            last = sha256(last + body).digest()
            assert last == kept
            found.append(tuple(decode(body)))
        again.close()
        assert len(found) == facts

    return timed(call, facts)


def many_small(runs: int, encoder: str = "orjson") -> Work:
    """W6."""
    encode, _ = encoder_of(encoder)

    async def call() -> None:
        for _ in range(runs):
            log = Chain(encode)
            log.add("start", await nothing("start"))
            await cycle(log, [f"first{number}@1" for number in range(4)])
            log.add("joined", await nothing("joined"))

    return timed(call, runs)


def sleepers(count: int, milliseconds: int, loop: str = "asyncio") -> Work:
    """W8."""

    async def call() -> None:
        await asyncio.gather(*(asyncio.sleep(milliseconds / 1000) for _ in range(count)))

    return timed(call, 1)


def inputs(count: int, encoder: str = "orjson") -> Work:
    """W9."""
    encode, _ = encoder_of(encoder)

    async def call() -> None:
        log = Chain(encode)
        for number in range(count):
            log.add(f"i{number}", await nothing(f"i{number}"))

    return timed(call, count)


if __name__ == "__main__":
    serve(
        {
            "chain": chain,
            "fan_out": fan_out,
            "sparse": sparse,
            "large_context": large_context,
            "durable": durable,
            "resume": resume,
            "many_small": many_small,
            "sleepers": sleepers,
            "inputs": inputs,
        }
    )
