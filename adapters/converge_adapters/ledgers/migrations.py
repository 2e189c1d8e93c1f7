"""The schema of the SQLite ledger, one function for each step that it has taken.

Nothing that was written is ever changed, and the database itself sees to that: triggers refuse every UPDATE and
DELETE, and every INSERT that is not the next entry of its run. The last is what stops ``INSERT OR REPLACE``, which
deletes the row in its way without asking a DELETE trigger. For the same reason no table has a rowid: it would be a
second key to replace by. Whoever owns the file can drop a trigger; what they then change, the Merkle log shows.

A step that was released is never edited: a change of the schema is one more step.
"""

from __future__ import annotations

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
    for table, addition in _ADDITIONS.items():
        refused = {"UPDATE": "", "DELETE": "", "INSERT": f"WHEN NOT ({addition})"}
        for change, when in refused.items():
            db.execute(
                f"CREATE TRIGGER {table}_{change.lower()} BEFORE {change} ON {table} {when}"
                " BEGIN SELECT RAISE(ABORT, 'append-only'); END"
            )


_STEPS = (m001_append_only_tables,)
for _step in _STEPS:
    MIGRATIONS()(_step)


class Schema(Enum):
    """What a database is to this program."""

    CURRENT = "a ledger that this program reads and writes"
    BEHIND = "no ledger yet, or one of an earlier version"
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
    return Schema.BEHIND if taken or not db.table_names() else Schema.FOREIGN
