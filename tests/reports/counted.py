"""A hub whose reports are kept, and the plain fold over all conversions that they must equal."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from postback import conversions, visitors, workspaces
from postback.db import buckets, connect
from postback.db.trip import Trip
from postback.reports import keeper, reading
from postback.reports.keeper import Keeper
from postback.reports.reading import By, Line, Wanted
from postback.visitors import touches
from postback.visitors.touches import Touch
from tests.intake.taking import scalar
from tests.privacy.erasable import Erasable

FAR = timedelta(days=40)
Plain = dict[tuple[Any, ...], tuple[int, Decimal]]


class Counted(Erasable):
    keeper: Keeper | None = None

    async def count(self, later: timedelta = timedelta(0), *, anew: bool = False) -> None:
        """A round, as of some time from now; `anew`: by a worker that has seen nothing yet."""
        if self.keeper is None or anew:
            self.keeper = Keeper()
        async with self.pool.connection() as tx:
            await self.keeper.round(tx, buckets.BUCKETS, datetime.now(UTC) + later)

    async def lines(self, kinds: tuple[Any, ...], by: tuple[By, ...], **narrowed: Any) -> list[Line]:
        now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
        async with self.pool.connection() as tx:
            sites = await workspaces.sites(tx, [self.workspace.id], with_removed=True)
            wanted = Wanted(workspace_id=self.workspace.id, sites=sites, first=sites[0], **narrowed)
            return await reading.sums(tx, wanted, kinds, by, now - FAR, now + timedelta(days=2))

    async def reported(self, *cut: By) -> Plain:
        """By goal and `cut`, which names label or channel, or neither, and the day or not."""
        found: Counter[tuple[Any, ...]] = Counter()
        worth: Counter[tuple[Any, ...]] = Counter()
        for line in await self.lines(("conversion",), ("goal", *cut)):
            key = (line.goal_id, line.label, line.source, line.currency, line.day)
            found[key] += line.sums.n
            worth[key] += line.sums.revenue
        return {key: (n, Decimal(worth[key])) for key, n in found.items()}

    async def is_right(self) -> bool:
        """Whether each cut is what folding says."""
        cuts: list[tuple[By, ...]] = [(*cut, *day) for cut in ((), ("label",), ("channel",)) for day in ((), ("day",))]
        return all([await self.reported(*cut) == await self.folded(*cut) for cut in cuts])

    async def folded(self, *cut: By) -> Plain:
        """The same, from every conversion, its order and its visitor's touches."""
        all_ = await self.conversions()
        found: dict[tuple[Any, ...], list[Any]] = {}
        async with self.pool.connection() as tx:
            stored = await conversions.orders_of(tx, all_)
            for one in all_:
                order = stored.get(one.order_key) if one.order_key else None
                value, currency = conversions.worth_now(one, order, self.site.order_counts_from)
                rows = await (
                    await tx.execute(
                        "SELECT source FROM touch WHERE visitor_key = %s AND kind = 'session' AND at <= %s"
                        " AND at >= %s ORDER BY at DESC LIMIT 1",
                        [one.visitor_key, one.occurred_at, one.occurred_at - timedelta(days=self.site.window_days)],
                    )
                ).fetchall()
                source = rows[0][0] if rows else "unknown"
                day = one.occurred_at.astimezone(UTC).date()
                sums = found.setdefault(
                    (
                        one.goal_id,
                        one.source if "label" in cut else None,
                        source if "channel" in cut else None,
                        currency if value is not None else None,
                        day if "day" in cut else None,
                    ),
                    [0, Decimal(0)],
                )
                sums[0] += 1
                sums[1] += value or 0
        return {key: (n, worth) for key, (n, worth) in found.items()}

    async def visit(self, visitor: str, session: str, source: str | None, ago: timedelta, **fields: Any) -> None:
        at = datetime.now(UTC) - ago
        touch = Touch(
            visitor_key=visitors.key_of(self.workspace.id, visitor), id=touches.id_of(at, session),
            workspace_id=self.workspace.id.bytes, site_id=self.site.id.bytes, kind=touches.SESSION, session_id=session,
            at=at, source=source, **fields,
        )  # fmt: skip
        tx = await connect(self.dsn)
        trip = Trip(tx, set())
        touches.insert(trip, [touch])
        await trip.run()
        await tx.close()

    async def is_empty(self, table: str) -> bool:
        async with self.pool.connection() as tx:
            return await scalar(tx, f"SELECT count(*) FROM {table}") == 0


__all__ = ["Counted", "keeper"]
