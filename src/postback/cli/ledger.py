"""`postback ledger`: what was accepted, and where all of it is now, by destination and hour."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

from cyclopts import Parameter
from psycopg import IsolationLevel

from postback import destinations, installation
from postback.cli import show
from postback.cli.failures import FAILED
from postback.cli.options import HERE, Json, Place
from postback.cli.session import session
from postback.queue import ledger as ledgers
from postback.queue.ledger import Hour

DEFAULT_SPAN = timedelta(hours=24)


async def ledger(
    place: Place = HERE,
    *,
    since: Annotated[datetime | None, Parameter(name="--from", help="ISO 8601. [24 hours before --to]")] = None,
    until: Annotated[datetime | None, Parameter(name="--to", help="ISO 8601. [now]")] = None,
    as_json: Json = False,
) -> int:
    """Show that accepted = delivered + skipped + failed + held + pending; exit 1 where it does not hold."""
    async with session(place.settings()) as s:
        end = _aware(until) or s.now
        begin = _aware(since) or end - DEFAULT_SPAN
        vault = await installation.open_vault(s.tx, s.settings)
        # One snapshot: what is written meanwhile is on both sides or on neither.
        await s.tx.set_isolation_level(IsolationLevel.REPEATABLE_READ)
        async with s.tx.transaction():
            known = await destinations.all_sendable(s.tx, vault.sealer)
            lanes = await destinations.lanes(s.tx, sorted({d.bucket for d in known}))
            held = {id_ for id_, lane in lanes.items() if lane.state == "held"}
            hours = await ledgers.read(s.tx, [d.id for d in known], begin, end, held)
    names = {d.id: d.name for d in known}
    is_balanced = all(hour.difference == 0 for hour in hours)
    if as_json:
        show.as_json({"balanced": is_balanced, "items": [_out(hour, names) for hour in hours]})
    else:
        _say(hours, names, is_balanced)
    return 0 if is_balanced else FAILED


def _say(hours: list[Hour], names: dict[UUID, str], is_balanced: bool) -> None:
    columns = ["hour", "destination", "accepted", "delivered", "skipped", "failed", "held", "pending", "difference"]
    rows: list[list[object]] = []
    for hour in hours:
        item = _out(hour, names)
        item |= {"hour": f"{hour.hour:%Y-%m-%d %H:00}", "destination": names[hour.destination_id]}
        item |= {"skipped": sum(hour.skipped.values()), "failed": sum(hour.failed.values())}
        rows.append([item[column] for column in columns])
    show.table(columns, rows, empty="Nothing was accepted for a destination in this time.")
    reasons: dict[str, int] = {}
    for hour in hours:
        for kind, counted in (("skipped", hour.skipped), ("failed", hour.failed)):
            for reason, n in counted.items():
                reasons[f"{kind}: {reason}"] = reasons.get(f"{kind}: {reason}", 0) + n
    for reason, n in sorted(reasons.items()):
        show.say(f"{n:>9}  {reason}")
    show.say("It balances." if is_balanced else "It does not balance: the difference was accepted and left no trace.")


def _out(hour: Hour, names: dict[UUID, str]) -> dict[str, Any]:
    return {
        "destination": hour.destination_id,
        "name": names[hour.destination_id],
        "hour": hour.hour,
        "accepted": hour.accepted,
        "delivered": hour.delivered,
        "skipped": hour.skipped,
        "failed": hour.failed,
        "held": hour.held,
        "pending": hour.pending,
        "difference": hour.difference,
    }


def _aware(at: datetime | None) -> datetime | None:
    return at.replace(tzinfo=UTC) if at is not None and at.tzinfo is None else at
