"""The schema of the SQLite ledger, one function for each step that it has taken.

Nothing that was written is ever changed, and the database itself sees to that: triggers refuse every UPDATE and
DELETE, and every INSERT that is not the next entry of its run. The last is what stops ``INSERT OR REPLACE``, which
deletes the row in its way without asking a DELETE trigger. They look at every key of a table, so none is left to
replace by. Whoever owns the file can drop a trigger; what they then change, the Merkle log shows.

The entries of a run lie side by side: the key of an entry is the number of its run times 2**32, plus its ``seq``. So
a run grows at its end, page by page, and most commits write the one page where it ends; with the key ``(run_id, seq)``
SQLite would balance that page with its neighbours again and again. To read one run with ``sqlite3``, and no other::

    SELECT entries.* FROM runs JOIN entries ON id BETWEEN first_id AND last_id
    WHERE runs.run_id = 'expenses-4a3a0c9d';

A step that was released is never edited: a change of the schema is one more step.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from sqlite_utils import Database, Migrations

MIGRATIONS = Migrations("converge")

_TABLES = (
    """
    CREATE TABLE runs (
        run_id TEXT NOT NULL PRIMARY KEY,
        created_at TEXT NOT NULL
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE entries (
        run_id TEXT NOT NULL,
        seq INTEGER NOT NULL,
        kind TEXT NOT NULL,
        body TEXT NOT NULL,
        leaf_hash BLOB NOT NULL CHECK (length(leaf_hash) = 32),
        recorded_at TEXT NOT NULL,
        root BLOB CHECK (length(root) = 32),
        PRIMARY KEY (run_id, seq)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE journal (
        run_id TEXT NOT NULL,
        cycle INTEGER NOT NULL,
        suggestor TEXT NOT NULL,
        body TEXT NOT NULL,
        recorded_at TEXT NOT NULL,
        PRIMARY KEY (run_id, cycle, suggestor)
    ) STRICT, WITHOUT ROWID
    """,
)

# What must hold of a new row, for it to be an addition.
_ADDITIONS = {
    "runs": "NOT EXISTS (SELECT 1 FROM runs WHERE run_id = NEW.run_id)",
    "entries": "NEW.seq = (SELECT coalesce(max(seq) + 1, 0) FROM entries WHERE run_id = NEW.run_id)",
    "journal": "NOT EXISTS (SELECT 1 FROM journal WHERE"
    " (run_id, cycle, suggestor) = (NEW.run_id, NEW.cycle, NEW.suggestor))",
}


def m001_append_only_tables(db: Database) -> None:
    """Runs, their entries, and the journal of effects."""
    for table in _TABLES:
        db.execute(table)
    _refuse_all_but(db, _ADDITIONS)


_SIDE_BY_SIDE = (
    # Renaming the tables would take longer than all else, and most files are new.
    "CREATE TEMP TABLE old_runs AS SELECT * FROM runs",
    "CREATE TEMP TABLE old_entries AS SELECT * FROM entries",
    "DROP TABLE runs",
    "DROP TABLE entries",
    """
    CREATE TABLE runs (
        number INTEGER PRIMARY KEY CHECK (number BETWEEN 1 AND 2147483647),
        run_id TEXT NOT NULL UNIQUE,
        created_at TEXT NOT NULL,
        first_id INTEGER AS (number << 32),
        last_id INTEGER AS ((number << 32) + 4294967295)
    ) STRICT
    """,
    """
    CREATE TABLE entries (
        id INTEGER PRIMARY KEY,
        run_id TEXT NOT NULL,
        seq INTEGER NOT NULL,
        kind TEXT NOT NULL,
        body TEXT NOT NULL,
        leaf_hash BLOB NOT NULL CHECK (length(leaf_hash) = 32),
        recorded_at TEXT NOT NULL,
        root BLOB CHECK (length(root) = 32)
    ) STRICT
    """,
    """
    INSERT INTO runs (number, run_id, created_at)
    SELECT row_number() OVER (ORDER BY created_at, run_id), run_id, created_at FROM old_runs
    """,
    # Entries get their place by their order and keep their numbers, so that a gap stays a gap. Those of no run, which
    # only somebody without the triggers can have left, are kept where no run is.
    """
    INSERT INTO entries
    SELECT coalesce(first_id, 0) + row_number() OVER (PARTITION BY number ORDER BY run_id, seq) - 1, old.*
    FROM old_entries AS old LEFT JOIN runs USING (run_id)
    """,
    "DROP TABLE old_runs",
    "DROP TABLE old_entries",
)

_SIDE_BY_SIDE_ADDITIONS = {
    "runs": "NOT EXISTS (SELECT 1 FROM runs WHERE run_id = NEW.run_id OR number = NEW.number)",
    # IS, for an entry of no run. An INSERT without an id shows -1 here, whatever it would get.
    "entries": "NEW.seq = (NEW.id & 4294967295) AND NEW.id IS ("
    "SELECT coalesce((SELECT max(id) + 1 FROM entries WHERE id BETWEEN first_id AND last_id), first_id)"
    " FROM runs WHERE run_id = NEW.run_id)",
}


def m002_entries_side_by_side(db: Database) -> None:
    """Give every run a number, and every entry a place behind the one before it."""
    for statement in _SIDE_BY_SIDE:
        db.execute(statement)
    _refuse_all_but(db, _SIDE_BY_SIDE_ADDITIONS)


def _refuse_all_but(db: Database, additions: Mapping[str, str]) -> None:
    """Make the triggers of tables, given what must hold of a new row for it to be an addition."""
    for table, addition in additions.items():
        refused = {"UPDATE": "", "DELETE": "", "INSERT": f"WHEN NOT ({addition})"}
        for change, when in refused.items():
            db.execute(
                f"CREATE TRIGGER {table}_{change.lower()} BEFORE {change} ON {table} {when}"
                " BEGIN SELECT RAISE(ABORT, 'append-only'); END"
            )


_STEPS = (m001_append_only_tables, m002_entries_side_by_side)
for _step in _STEPS:
    MIGRATIONS()(_step)


class Schema(Enum):
    """What a database is to this program."""

    CURRENT = "a ledger that this program reads and writes"
    NONE = "no ledger yet"
    EARLIER = "a ledger of an earlier version of Converge"
    NEWER = "a ledger of a later version of Converge"
    FOREIGN = "a database of something else"


def schema_of(db: Database) -> Schema:
    """Say what a database is, from the steps it has taken. Writes nothing."""
    try:
        taken = {migration.name for migration in MIGRATIONS.applied(db)}
    except KeyError:  # a column is missing: the table of migrations is not the one that sqlite-utils makes
        return Schema.FOREIGN
    known = {step.__name__ for step in _STEPS}
    if taken == known:
        return Schema.CURRENT
    if taken - known:
        return Schema.NEWER
    if taken:
        return Schema.EARLIER
    return Schema.FOREIGN if db.table_names() else Schema.NONE
