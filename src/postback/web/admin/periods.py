"""The period that a report is asked for, and the time before it.

A period is whole hours of the clock of the site that is asked for, of the first site where none is; the time before are
the same hours, as many days earlier as the period touches.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Literal
from uuid import UUID
from zoneinfo import ZoneInfo

from litestar.params import QueryParameter
from msgspec import Struct

from postback import money, workspaces
from postback.db import Tx
from postback.errors import Invalid
from postback.reports import Kind, reading
from postback.reports.reading import By, Line, Wanted
from postback.web.admin.access import Caller
from postback.web.admin.spans import moments

DAYS, MAX_DAYS, MAX_HOURLY_DAYS = 7, 800, 31
_HOUR, _MOMENT = timedelta(hours=1), timedelta(microseconds=1)
OfSite = Annotated[UUID | None, QueryParameter(description="A site's id; absent: all sites.")]
OfGoal = Annotated[int | None, QueryParameter(ge=1, le=2**63 - 1, description="A goal's number; absent: all goals.")]
InCurrency = Annotated[
    str | None,
    QueryParameter(
        description="Conversions of this currency alone.", schema_extra={"pattern": "^[A-Za-z]{3}$"}, max_length=3
    ),
]
Steps = Annotated[
    Literal["hour", "day"] | None,
    QueryParameter(description="Of the trend. Absent: hours up to two days, else days."),
]


class Period(Struct, frozen=True, rename={"since": "from", "until": "to"}):
    """Whole hours of the clock in `timezone`; `before_*`: the time that it is compared with."""

    since: datetime
    until: datetime
    before_from: datetime
    before_to: datetime
    timezone: str


class Asked:
    """What a request asks for. Raises Invalid."""

    def __init__(
        self,
        caller: Caller,
        sites: Sequence[workspaces.Site],
        since: str | None,
        until: str | None,
        site: UUID | None,
        goal: int | None = None,
        currency: str | None = None,
    ) -> None:
        self.sites = [one for one in sites if site in (None, one.id)]
        if site is not None and not self.sites:
            raise Invalid("There is no such site.", field="site")
        self.wanted = Wanted(
            workspace_id=caller.workspace_id,
            sites=self.sites,
            first=next(iter(sites), None),
            goal_id=goal,
            currency=money.currency(currency) if currency is not None else None,
        )
        # Removed ones are counted, and say nothing of the clock while there are others.
        own = min(self.sites, key=lambda one: one.id not in caller.snapshot.sites, default=None)
        self.zone = ZoneInfo(own.timezone if own else "UTC")
        start, end = moments(since, until, caller.now, None)
        end = reading.ceil(end if until is not None else caller.now, self.zone)
        if since is None:
            start = reading.midnight((end - _MOMENT).astimezone(self.zone).date() - timedelta(days=DAYS - 1), self.zone)
        start = reading.floor(start, self.zone)
        if start >= end:
            raise Invalid("to must be later than from.", field="to")
        self.days = ((end - _MOMENT).astimezone(self.zone).date() - start.astimezone(self.zone).date()).days + 1
        if self.days > MAX_DAYS:
            raise Invalid(f"A report covers at most {MAX_DAYS} days; let from be later.", field="from")
        before = [reading.days_before(at, self.days, self.zone) for at in (start, end)]
        self.period = Period(start, end, before[0], before[1], self.zone.key)

    async def sums(self, tx: Tx, kinds: Sequence[Kind], by: Sequence[By]) -> tuple[list[Line], list[Line]]:
        """Of the period, and of the time before."""
        spans = [(self.period.since, self.period.until), (self.period.before_from, self.period.before_to)]
        now, before = await reading.sums_of(tx, self.wanted, kinds, by, spans)
        return now, before

    def steps(self, group_by: Literal["hour", "day"] | None) -> Literal["hour", "day"]:
        """Raises Invalid."""
        if group_by == "hour" and self.days > MAX_HOURLY_DAYS:
            raise Invalid(f"group_by hour takes at most {MAX_HOURLY_DAYS} days.", field="group_by")
        return group_by or ("hour" if self.days <= 2 else "day")

    def starts(self, step: Literal["hour", "day"]) -> Iterator[tuple[date, date, datetime]]:
        """How lines name each step, and that of the time before; and when it begins."""
        if step == "hour":
            at = self.period.since
            while at < self.period.until:
                yield at, reading.floor(reading.days_before(at, self.days, self.zone), self.zone), at
                at += _HOUR
            return
        day = self.period.since.astimezone(self.zone).date()
        while (at := reading.midnight(day, self.zone)) < self.period.until:
            yield day, day - timedelta(days=self.days), at.astimezone(UTC)
            day += timedelta(days=1)


async def asked_for(tx: Tx, caller: Caller, *given: object) -> Asked:
    sites = await workspaces.sites(tx, [caller.workspace_id], with_removed=True)
    return Asked(caller, sites, *given)  # type: ignore[arg-type]  # as Asked takes them
