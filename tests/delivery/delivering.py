"""A hub with destinations and a queue, written as the flush writes it; and platforms that answer as a test wants."""

import asyncio
import json
import os
import time
from base64 import urlsafe_b64encode
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from aiohttp import web
from msgspec import Struct

from postback import connectors, destinations, installation, queue, visitors, worker
from postback.connectors import Connector, Delivered, Failed, Item, Rate, Request, Response, Skipped, otherwise
from postback.db import Pool, Tx, buckets, connect
from postback.db.trip import Trip
from postback.destinations import Destination
from postback.event import Consent, Event, JoinedEvent
from postback.pii import Sealer, Vault
from postback.queue import Line, NewEvent, ledger
from postback.secret import Secret
from postback.settings import Settings
from postback.workspaces import Workspace

SEAL_KEYS = Secret(urlsafe_b64encode(bytes(range(32))).decode())  # of the fixture `installed`


class AcmeConfig(Struct, frozen=True):
    url: str
    token: Secret


def _build(event: JoinedEvent, config: AcmeConfig, now: datetime) -> Item | Skipped:
    if event.name == "unfit":
        return Skipped("no Acme event for this name")
    if event.name == "bug":
        raise KeyError("bug")
    return Item(
        {"id": event.event_id, "ip": event.readable.get("client_ip_address"), "ids": dict(event.click_ids)}, size=50
    )


def _pack(items: Sequence[Item], config: AcmeConfig, now: datetime) -> Request:
    body = {"key": str(config.token), "events": [item.body for item in items]}
    headers = {"authorization": f"Bearer {config.token}"}
    return Request(method="POST", url=f"{config.url}?token={config.token}", json=body, headers=headers)


def _interpret(response: Response, count: int) -> connectors.Outcome | list[connectors.Outcome]:
    match response.json:
        case {"each": [*each]}:
            return [Delivered() if one == "ok" else Failed(one, "Mend it.") for one in each]
        case {"words": str(words)}:
            return Delivered(words) if response.status == 200 else otherwise(response, words)
        case _ if response.status == 200:
            return Delivered()
        case _:
            return otherwise(response)


def acme(name: str = "acme", **changes: Any) -> Connector:
    """A platform of the tests' own: takes batches, drops repeats for 48 hours."""
    usual: dict[str, Any] = {
        "title": "Acme",
        "category": "test",
        "config": AcmeConfig,
        "build": _build,
        "pack": _pack,
        "interpret": _interpret,
        "identifiers": frozenset({"client_ip_address", "fbclid"}),
        "docs": "",
        "private": frozenset({"ip"}),
        "max_items": 10,
        "dedup_window": timedelta(hours=48),
        "rate": Rate(10_000, 4),
    }
    return Connector(name=name, **(usual | changes))


# Like acme, but a repeat counts twice, and one event a request.
CAREFUL = acme("careful", dedup_window=timedelta(0), max_items=1)
AGED = acme("aged", max_age=lambda event: timedelta(hours=1), max_items=1)
HASTY = acme("hasty", max_items=1, give_up_after=timedelta(seconds=1))
SLOW = acme("slow", max_items=1, rate=Rate(20, 2))
WIDE = acme("wide", max_items=1, rate=Rate(10_000, 64))
FOR_TESTS = {c.name: c for c in (acme(), CAREFUL, AGED, HASTY, SLOW, WIDE)}


class Hub:
    """One installation in a fresh database."""

    def __init__(self, dsn: Secret, tx: Tx, pool: Pool, workspace: Workspace, vault: Vault) -> None:
        self.dsn, self.tx, self.pool = dsn, tx, pool
        self.workspace, self.vault = workspace, vault
        self.settings = settings()
        self.writer = buckets.new_id(datetime.now(UTC))
        self._turn = 0
        self.prepared: set[bytes] = set()

    async def install(self, connector: str, *, variant: str = "default", **config: Any) -> Destination:
        now = datetime.now(UTC)
        known = destinations.connector_named(connector, variant)
        return await destinations.install(
            self.tx, self.vault.sealer, id=buckets.new_id(now), workspace_id=self.workspace.id, connector=known,
            variant=variant, name=None, config=destinations.read_config(known, config), now=now,
        )  # fmt: skip

    async def put(
        self,
        to: Sequence[Destination],
        count: int = 1,
        *,
        name: str = "lead",
        at: datetime | None = None,
        flushes: int = 1,
        due_at: datetime | None = None,
        prefix: str = "e",
        **event: Any,
    ) -> list[UUID]:
        """Queue events for destinations, as `flushes` flushes write them, each into a bucket of its own."""
        ids: list[UUID] = []
        for flush in range(flushes):
            at_ = at or datetime.now(UTC)
            self._turn = (self._turn + 1) & 63
            size = count // flushes + (flush < count % flushes)
            if not size:
                continue
            new = buckets.make_ids(size, int(at_.timestamp() * 1000), self._turn, int.from_bytes(os.urandom(9)))
            first = len(ids)
            rows = [self._row(id_, f"{prefix}{first + n}", name, at_, dict(event)) for n, id_ in enumerate(new)]
            fates = [[Line(d.id.bytes, "queued", due_at or at_, None) for d in to]]
            counts: Counter[tuple[bytes, bytes]] = Counter()
            for d in to:
                counts[self.workspace.id.bytes, d.id.bytes] += size
            async with self.tx.transaction():
                trip = Trip(self.tx, self.prepared)
                queue.put(trip, buckets.BUCKETS[self._turn], rows, fates)
                queue.count(trip, self.writer, at_.replace(minute=0, second=0, microsecond=0), counts)
                await trip.run()
            ids += [UUID(bytes=id_) for id_ in new]
        return ids

    def _row(self, id_: bytes, event_id: str, name: str, at: datetime, more: dict[str, Any]) -> NewEvent:
        readable = more.pop("readable", None)
        body = Event(
            event_id=event_id,
            name=name,
            source_name=name,
            occurred_at=more.pop("occurred_at", at),
            dialect="native",
            **more,
        )
        visitor = visitors.key_of(self.workspace.id, body.visitor_id) if body.visitor_id else None
        sealed = self.vault.sealer.seal(msgspec.json.encode(readable)) if readable else None
        stored = msgspec.json.encode(body)
        return id_, self.workspace.id.bytes, None, bytes(16), name, event_id, None, stored, sealed, visitor, 0

    @asynccontextmanager
    async def worker(self, **changes: Any) -> AsyncIterator[worker.Worker]:
        """A worker that runs within the block."""
        async with working(self.dsn, msgspec.structs.replace(self.settings, **changes)) as running:
            yield running

    async def rows(self, columns: str = "status", where: str = "true") -> list[tuple[Any, ...]]:
        query = f"SELECT {columns} FROM delivery d WHERE {where} ORDER BY event_id, destination_id"
        return await (await self.tx.execute(query.encode())).fetchall()

    async def attempts(self, columns: str = "outcome", where: str = "true") -> list[tuple[Any, ...]]:
        query = f"SELECT {columns} FROM attempt a WHERE {where} ORDER BY event_id, destination_id, n"
        return await (await self.tx.execute(query.encode())).fetchall()

    async def statuses(self, to: Destination | None = None) -> Counter[str]:
        where = f"destination_id = '{to.id}'" if to else "true"
        return Counter(status for (status,) in await self.rows("status", where))

    async def settled(self, to: Sequence[Destination] = (), seconds: float = 10) -> Counter[str]:
        """Wait until nothing is open."""

        async def is_done() -> bool:
            for d in to or [None]:
                if (await self.statuses(d)).keys() & queue.OPEN:
                    return False
            return True

        await until(is_done, seconds)
        return await self.statuses(to[0] if len(to) == 1 else None)

    async def has_tried(self, outcome: str, count: int) -> bool:
        """Whether so many attempts or more ended so."""
        return len(await self.attempts("n", f"outcome = '{outcome}'")) >= count

    async def lane(self, destination: Destination) -> destinations.Lane:
        return (await destinations.lanes(self.tx, buckets.BUCKETS))[destination.id]

    async def is_lane(self, destination: Destination, state: str) -> bool:
        return (await self.lane(destination)).state == state

    async def balances(self, *to: Destination) -> list[ledger.Hour]:
        """The ledger of everything; every hour must balance."""
        now = datetime.now(UTC)
        lanes = await destinations.lanes(self.tx, buckets.BUCKETS)
        held = {id_ for id_, lane in lanes.items() if lane.state == "held"}
        ids = [d.id for d in to]
        hours = await ledger.read(self.tx, ids, now - timedelta(days=60), now + timedelta(hours=1), held)
        assert hours
        assert all(hour.difference == 0 for hour in hours)
        return hours


def settings(**changes: Any) -> Settings:
    usual = {
        "lease_seconds": 2, "send_timeout_seconds": 2, "shutdown_seconds": 3,
        "dangerous_allow_private_destinations": True, "seal_keys": SEAL_KEYS,
    }  # fmt: skip
    return Settings(**(usual | changes))


@asynccontextmanager
async def working(dsn: Secret, with_: Settings) -> AsyncIterator[worker.Worker]:
    stop = asyncio.Event()
    started: asyncio.Future[worker.Worker] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(worker.work(with_, dsn, stop, started.set_result))
    try:
        await asyncio.wait({task, started}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
        yield started.result()
    finally:
        stop.set()
        await task


def working_beside(served: Any) -> AbstractAsyncContextManager[worker.Worker]:
    """A worker beside the application of the fixture `served`."""
    return working(served.dsn, settings())


async def open_hub(dsn: Secret, pool: Pool) -> Hub:
    """In a database of the fixture `installed`."""
    tx = await connect(dsn)
    vault = await installation.open_vault(tx, settings())
    from postback import workspaces

    return Hub(dsn, tx, pool, (await workspaces.all_(tx))[0], vault)


async def until(is_so: Callable[[], Awaitable[bool]], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not await is_so():
        assert time.monotonic() < deadline, "it did not come to pass"
        await asyncio.sleep(0.03)


class Receiver:
    """A platform on a free port. `answer` takes the events' ids of a request and says what to answer."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.queries: list[str] = []
        self.times: list[float] = []
        self.answer: Callable[[list[str]], Awaitable[web.StreamResponse]] = self.take
        self.url = ""

    async def take(self, ids: list[str]) -> web.StreamResponse:
        return web.Response(text="{}")

    async def hang(self, ids: list[str]) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    async def has_seen(self, count: int) -> bool:
        return len(self.requests) >= count

    @property
    def ids(self) -> list[str]:
        """Every event that arrived, in order, repeats too."""
        return [id_ for body in self.requests for id_ in _ids(body)]

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.read())
        self.requests.append(body)
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        self.queries.append(request.query_string)
        self.times.append(time.monotonic())
        return await self.answer(_ids(body))

    @asynccontextmanager
    async def serve(self) -> AsyncIterator["Receiver"]:
        app = web.Application(client_max_size=2**24)
        app.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/in"
        try:
            yield self
        finally:
            await runner.cleanup()


def refuse(
    status: int, headers: dict[str, str] | None = None, text: str = "no"
) -> Callable[[list[str]], Awaitable[web.StreamResponse]]:
    async def answer(ids: list[str]) -> web.StreamResponse:
        return web.Response(status=status, headers=headers, text=text)

    return answer


def _ids(body: dict[str, Any]) -> list[str]:
    if "events" in body:
        return [event["id"] for event in body["events"]]
    return [body["data"]["event_id"]] if "data" in body else []


__all__ = ["Consent", "Hub", "Receiver", "Sealer"]
