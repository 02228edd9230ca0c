"""`/metrics`, in Prometheus' text form. Open without a key: it holds counts, ages, ids of destinations and names of
connectors, and no key, no name that people gave, no personal data.

A scrape takes the same time however much is stored: counters live in the process; what the database knows (lanes, and
for each destination the age of the delivery that has waited the longest) is read through an index, at most once in
`DATABASE_SECONDS`. Every API process has its own counters; the gauges of destinations are the same in each.
"""

import asyncio
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

import structlog
from litestar import Response, get
from litestar.di import NamedDependency as Needs
from litestar.enums import MediaType
from msgspec import Struct
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.process_collector import ProcessCollector

from postback import __version__, destinations
from postback.db import is_unavailable
from postback.db.buckets import BUCKETS, floor
from postback.privacy import upkeep
from postback.queue import sending
from postback.web.admin.hub import Hub

log = structlog.get_logger()
DATABASE_SECONDS = 5.0
ANSWER_SECONDS = 2.0
STATES = ("active", "paused", "held")
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Reading(Struct, frozen=True):
    """One destination: its connector, its lane's state, and how long its oldest pending delivery has waited."""

    id: str
    connector: str
    state: str
    waiting_seconds: float


class Gauges:
    """What the database says, kept for a while. While it is away the last reading stands, and `is_up` is False."""

    def __init__(self) -> None:
        self.readings: list[Reading] = []
        self.is_up = False
        self.reseal_left = 0
        self._read_at = float("-inf")
        self._lock = asyncio.Lock()

    async def refresh(self, hub: Hub) -> None:
        async with self._lock:
            if time.monotonic() - self._read_at < DATABASE_SECONDS:
                return
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    self.readings = await _read(hub)
                    async with hub.pool.connection() as tx:
                        self.reseal_left = await upkeep.left(tx, hub.vault.sealer)
                self.is_up = True
            except Exception as error:
                if not is_unavailable(error):
                    raise
                self.is_up = False
            self._read_at = time.monotonic()


async def _read(hub: Hub) -> list[Reading]:
    now = datetime.now(UTC)
    oldest = floor(now - timedelta(days=hub.settings.retention_days))
    async with hub.pool.connection() as tx:
        installed = await destinations.installed(tx)
        lanes = await destinations.lanes(tx, BUCKETS)
        waiting = await sending.oldest_pending(tx, [label.id for label in installed], oldest)
    return [
        Reading(
            str(label.id),
            label.connector,
            lane.state if (lane := lanes.get(label.id)) else "active",
            max(0.0, (now - waiting[label.id]).total_seconds()) if label.id in waiting else 0.0,
        )
        for label in installed
    ]


class _Snapshot:
    """What one scrape shows."""

    def __init__(self, hub: Hub, gauges: Gauges) -> None:
        self._hub = hub
        self._gauges = gauges

    def collect(self) -> Iterator[Metric]:
        yield InfoMetricFamily("postback", "This program.", value={"version": __version__})
        yield from self._of_writer()
        yield self._of_requests()
        yield from _of_destinations(self._gauges.readings)
        yield GaugeMetricFamily(
            "postback_reseal_left",
            f"Parts of {upkeep.PARTS} in which older seal keys may still be needed; 0: none is.",
            value=self._gauges.reseal_left,
        )
        yield GaugeMetricFamily("postback_database_up", "1: it answered the last question.", value=self._gauges.is_up)

    def _of_writer(self) -> Iterable[Metric]:
        figures = self._hub.writer.figures
        events = CounterMetricFamily("postback_events", "Events by what intake did with them.", labels=["result"])
        events.add_metric(["accepted"], figures.accepted)
        events.add_metric(["duplicate"], figures.duplicates)
        events.add_metric(["collision"], figures.collisions)
        events.add_metric(["refused"], figures.refused)
        yield events
        yield CounterMetricFamily("postback_flushes", "Transactions of the writer.", value=figures.flushes)
        yield CounterMetricFamily("postback_flush_seconds", "Time in them.", value=figures.flush_seconds)
        yield CounterMetricFamily(
            "postback_failed_flushes", "Transactions that wrote nothing.", value=figures.failed_flushes
        )
        yield GaugeMetricFamily(
            "postback_waiting_events", "Events that wait to be written.", value=self._hub.writer.waiting_events
        )

    def _of_requests(self) -> Metric:
        requests = CounterMetricFamily("postback_http_requests", "Answers.", labels=["path", "status"])
        for (path, status), count in sorted(self._hub.requests.items()):
            requests.add_metric([path, str(status)], count)
        return requests


def _of_destinations(readings: Iterable[Reading]) -> Iterable[Metric]:
    waiting = GaugeMetricFamily(
        "postback_oldest_pending_seconds",
        "How long the oldest pending delivery of a destination has waited; 0: none is pending.",
        labels=["destination", "connector"],
    )
    states = GaugeMetricFamily(
        "postback_destination_state", "1 for the state that it is in.", labels=["destination", "connector", "state"]
    )
    for reading in readings:
        waiting.add_metric([reading.id, reading.connector], reading.waiting_seconds)
        for state in STATES:
            states.add_metric([reading.id, reading.connector, state], reading.state == state)
    return waiting, states


@get("/metrics", summary="Figures for Prometheus", media_type=MediaType.TEXT)
async def metrics(hub: Needs[Hub], gauges: Needs[Gauges]) -> Response[bytes]:
    await gauges.refresh(hub)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Snapshot(hub, gauges))
    ProcessCollector(registry=registry)
    return Response(generate_latest(registry), media_type=CONTENT_TYPE)


HANDLERS = [metrics]
