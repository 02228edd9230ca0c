"""Reports: what the worker counts by the hour, so that a page reads sums and no events.

    counting   what one hour of some buckets comes to: conversions with their worth and last touch, sessions,
               deliveries, events
    keeper     which hours and days are to be counted again, at a pace that leaves the rest of the machine alone
    reading    sums of a period

Tables: rollup (an hour of a bucket), hourly and daily (the same over all buckets, by the site's clock, in three cuts;
whole weeks too), dirty_hour, dirty_total, rollup_clock. What stands of an hour is replaced as a whole, so that refunds,
late events and replays need no special case, and being stopped anywhere loses nothing. Revenue in major units of its
currency, net of refunds.
"""

from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Literal, NamedTuple
from uuid import UUID

from msgspec import Struct

from postback.db import buckets

UNKNOWN = "unknown"
Kind = Literal["conversion", "session", "delivery", "event"]


class Cell(NamedTuple):
    """What is counted apart. `hour`: when it occurred, the start of an hour of the site's clock; `day`: the site's.
    `source` None: direct; `UNKNOWN`: no session of the visitor is known, and the event tells none. `label`: the
    sender's. What does not apply to the kind is None."""

    workspace_id: UUID
    day: date
    hour: datetime
    kind: Kind
    site_id: UUID | None = None
    goal_id: int | None = None
    source: str | None = None
    medium: str | None = None
    campaign: str | None = None
    label: str | None = None
    currency: str | None = None
    destination_id: UUID | None = None
    status: str | None = None


class Sums(Struct):
    """`converted`: sessions that had a conversion of the goal; `converted_any`: those of which it was the first that
    was counted, whatever the goal."""

    n: int = 0
    converted: int = 0
    converted_any: int = 0
    revenue: Decimal = Decimal(0)

    def add(self, other: "Sums") -> None:
        self.n += other.n
        self.converted += other.converted
        self.converted_any += other.converted_any
        self.revenue += other.revenue


def home(workspace_id: UUID) -> int:
    """The bucket of a workspace's days."""
    return buckets.of_id(workspace_id)


def monday(day: date) -> date:
    """The first day of its week."""
    return day - timedelta(days=day.weekday())
