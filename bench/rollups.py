"""Sums such as the worker leaves of a number of events in three weeks, and of as many in each three weeks before.

The server makes one day's conversions, each with its hour, goal, channel, label and currency, of which few are
frequent and many rare; each day is like that one. Hours stand only of the two weeks that may be looked at by the hour,
and of the days in which a longer period begins or ends.
"""

from datetime import UTC, datetime
from pathlib import Path
from string import Template
from uuid import UUID

from bench import database, serve
from bench.serve import Deployment
from postback import reports

FILE = Path(__file__).with_suffix(".sql")
SITES = {"Berlin": "Europe/Berlin", "New York": "America/New_York", "Mumbai": "Asia/Kolkata"}
GOALS, CHANNELS, LABELS = 12, 30, 36
EVENTS_PER_CONVERSION, SPAN_DAYS, DAYS = 20, 21, 182
HOURLY = [*range(17), *(day + near for day in (28, 56, 90, 180) for near in (-1, 0, 1))]


async def fill(deployment: Deployment, port: int, number: int) -> int:
    """Gives the conversions of each UTC day before today."""
    workspace, site = deployment.keys["workspace"], deployment.keys["site"]
    sites = [site]
    for name, zone in SITES.items():
        made = await serve.ask(deployment, port, "sites", {"name": name, "timezone": zone})
        sites.append(made["id"])
    for n in range(GOALS - 2 * len(sites)):  # each site has two from the start
        goal = {"name": f"Goal {n}", "site": sites[n % len(sites)], "events": [f"goal_{n}"]}
        await serve.ask(deployment, port, "goals", goal)
    events = number // SPAN_DAYS
    conversions = events // EVENTS_PER_CONVERSION
    script = Template(FILE.read_text()).substitute(
        bucket=reports.home(UUID(workspace)),
        workspace=workspace,
        events=events,
        conversions=conversions,
        goals=GOALS,
        channels=CHANNELS,
        labels=LABELS,
        sites=len(sites),
        today=f"{datetime.now(UTC):%Y-%m-%d}",
        days=", ".join(map(str, HOURLY)),
        all_days=DAYS,
    )
    await database.execute(deployment.server, deployment.database, *filter(str.strip, script.split(";\n")))
    return conversions
