"""``converge experience``: what happened in past runs, and what people did about it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from converge_adapters.experience import LedgerExperience, instant
from converge_adapters.ledgers import NoLedger
from converge_cli.output import emit, say, table
from converge_cli.recorded import with_ledger
from converge_cli.session import Session, json_option, label, ledger_option, pass_session
from converge_core import Ledger, MisuseError
from converge_core.experience.query import ALL_TENANTS, KINDS, ExperienceQuery, TimeRange
from converge_core.experience.records import ExperienceRecord

NEWEST = 100
"""Rows of a table, unless a limit says otherwise: a ledger may have a million records."""

_AGE = re.compile(r"(\d{1,6})([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class MomentType(click.ParamType[int]):
    """A moment: in ISO 8601, where one without an offset is UTC, or how long ago it was, as ``36h``."""

    name = "when"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return microseconds since 1970, in UTC, or fail with the reason."""
        text = str(value)
        age = _AGE.fullmatch(text)
        try:
            if age is not None:
                return instant((datetime.now(UTC) - timedelta(**{_UNITS[age[2]]: int(age[1])})).isoformat())
            moment = datetime.fromisoformat(text)
            return instant((moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).isoformat())
        except (ValueError, OverflowError):
            self.fail(f"{text!r} is no moment such as 2026-10-31, 2026-10-31T18:00+02:00 or 36h (ago)", param, ctx)


@click.command
@click.option(
    "--kind",
    "kinds",
    multiple=True,
    type=click.Choice(KINDS),
    metavar="KIND",
    help="Only records of a kind. Repeatable.",
)
@click.option("--run", "run_id", metavar="RUN", help="Only those of one run.")
@click.option("--tenant", callback=label, metavar="NAME", help="Those of a tenant's runs; default: of runs of none.")
@click.option("--all-tenants", is_flag=True, help="Those of every run, whoever it belongs to.")
@click.option("--correlation", callback=label, metavar="NAME", help="Only those of runs with this correlation.")
@click.option("--since", type=MomentType(), help="Not before this moment, or so long ago: 2026-10-31, 36h.")
@click.option("--until", type=MomentType(), help="Not after this moment; a date is its first moment, in UTC.")
@click.option(
    "--limit", type=click.IntRange(1), metavar="N", help=f"The newest N; default: {NEWEST} in a table, all with --json."
)
@ledger_option
@json_option
@pass_session
def command(
    session: Session,
    kinds: tuple[str, ...],
    run_id: str | None,
    tenant: str | None,
    all_tenants: bool,
    correlation: str | None,
    since: int | None,
    until: int | None,
    limit: int | None,
    ledger_url: str | None,
    as_json: bool,
) -> None:
    """Show what happened in past runs, oldest first.

    Kinds are those of the ledger's entries, such as fact_promoted, and those of what people did: user_approval_granted,
    user_approval_rejected, user_correction, user_override_issued, user_boundary_adjusted.
    """
    if tenant is not None and all_tenants:
        raise click.UsageError("--tenant and --all-tenants exclude each other")
    try:
        scope = ALL_TENANTS if all_tenants else tenant
        at_most = NEWEST + 1 if limit is None and not as_json else limit
        query = ExperienceQuery(kinds, run_id, correlation, scope, TimeRange(since, until), at_most)
    except MisuseError as error:
        raise click.UsageError(str(error)) from error
    try:
        records = with_ledger(session.ledger(ledger_url, read_only=True), _query, query)
    except NoLedger as error:
        say(f"nothing: {error}")
        return
    are_more = limit is None and not as_json and len(records) > NEWEST
    _print(records[1:] if are_more else records, as_json)
    if are_more:
        say(f"these are the newest {NEWEST}; --limit N shows more of them, and --json all")
    if not records:
        unseen = "; runs of tenants are not looked at without --tenant or --all-tenants" if scope is None else ""
        say(f"nothing{unseen}")


async def _query(ledger: Ledger, query: ExperienceQuery) -> Sequence[ExperienceRecord]:
    return await LedgerExperience(ledger).query(query)


def _print(records: Sequence[ExperienceRecord], as_json: bool) -> None:
    if as_json:
        for record in records:
            emit(record.to_json())
    elif records:
        table(("recorded_at", "record", "kind", "about", "by", "reason"), map(_row, records))


def _row(record: ExperienceRecord) -> tuple[Any, ...]:
    told = (record.subject, record.actor, record.reason)
    return (record.recorded_at, record.id, record.kind, *(part or "" for part in told))
