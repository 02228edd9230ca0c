"""The page `docs/benchmarks.md`: what was measured, on what, and how to read it."""

from bench import load, rollups
from bench.intake import BATCH_CONNECTIONS
from bench.load import BATCH
from bench.plan import Plan
from bench.process import ROOT
from bench.report import Report

PAGE = ROOT / "docs" / "benchmarks.md"

TEXT = """\
# Benchmarks

Written by `make bench`{quick}; do not edit. {summary}

Rates of one machine say little about another; the ratios say more. Generator, API, worker and PostgreSQL share the
machine, on both sides of every comparison.

{table}
## How it was measured

- **Both sides take turns** on the same PostgreSQL with the same settings (fsync, full pages and synchronous commit on),
  {rounds} of {seconds} s each after a warm-up ({other_rounds} at 1 and 256 connections, of deliveries in batches
  and the tag's batches); figures are medians. Each turn begins with empty tables. After it the rows are counted: an
  answer without a committed row would stop the benchmark.
- **Every request is another event**: a purchase of {size} bytes with a plain email address and phone number, value,
  order, item, IP address, user agent and two click ids. Postback checks the key, validates, normalises, hashes and
  seals each, and writes one delivery for each of three destinations (Meta, GA4, a webhook). One API process; no worker
  runs but where the table says so. Batches are {batch} events a request over {batch_connections} connections.
- **The baseline** (`bench/baseline.py`) is FastAPI, pydantic and an asyncpg pool in one uvicorn process, one
  transaction a request, the same checks and the same rows. Its batch endpoint writes with one multi-row statement a
  table.
- **The bare answer** reads the body and answers a fixed text, in the same uvicorn.
- **Load** comes from {generator}, closed loop. A rate counts what was answered with 2xx.
- **Delivery** runs from the first request that the platform sees to the last delivery settled in the database. The
  platform is a process of its own that takes everything. The bare client is aiohttp without anything around it,
  one process too. Two workers have shared the work before the destination is resumed.
- **Stored events** were made by the server itself: random dedup keys, ids over the last three weeks, one settled
  delivery each. Autovacuum is off for these tables, which the fill would keep it busy with. Indexes by random keys are
  built after their rows, here and of the visitors below; turns are {stored_rounds} a side.
- **The tag's batches** (`/collect`) take turns with native batches of as many like events of the same visitor.
- **Joins** are the two look-ups for a claim of 500 events, links, then visitors, among visitors that the server made.
  Their tables are read once before, so that PostgreSQL's cache holds what it has room for. The pages that they read
  tell how deep the indexes are; their times also how much of these the processor's caches hold.
- **Pages of the dashboard** are asked for one after the other over a kept connection, packed, by a signed-in owner; a
  time ends with the last byte. Of pages that differ in an id alone one is asked for, the first that links lead to. The
  first page (`/app`) shows sums such as a worker leaves of so many events in three weeks, and of as many in each three
  weeks before: one in {each} is a conversion, of {goals} goals on {sites} sites with clocks of their own, {channels}
  channels and {labels} source labels, most of which are rare.
- **Memory** is resident memory; of PostgreSQL the proportional share, as its processes share their cache.
"""


def summary(plan: Plan, machine: str) -> str:
    return f"Machine: {machine}. Load generator: {load.generator()}. Run: {plan.name}."


def write(report: Report, plan: Plan, machine: str) -> None:
    """Write the page anew."""
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(
        TEXT.format(
            quick="" if plan.name == "full" else " with `QUICK=1`: single short turns, so expect noise",
            summary=summary(plan, machine),
            table=report.table(),
            rounds=f"{plan.rounds} {'turn' if plan.rounds == 1 else 'turns'}",
            other_rounds=plan.other_rounds,
            seconds=plan.run,
            size=load.body_bytes(),
            batch=BATCH,
            batch_connections=BATCH_CONNECTIONS,
            stored_rounds=plan.stored_rounds,
            each=rollups.EVENTS_PER_CONVERSION,
            goals=rollups.GOALS,
            sites=len(rollups.SITES) + 1,
            channels=rollups.CHANNELS,
            labels=rollups.LABELS,
            generator=load.generator(),
        )
    )
