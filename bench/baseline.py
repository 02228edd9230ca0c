"""What a good engineer writes in a day: FastAPI, pydantic, an asyncpg pool, one transaction a request.

Writes the rows that Postback writes, into tables made by Postback's own migrations in a database of its own on the same
server: a dedup key, an event, a delivery for each of three destinations, the order and the conversion that a purchase
is. Checks the key, validates, hashes three
variants of the email and two of the phone, seals IP address and user agent. `POST /batch` takes a list: one
transaction, one multi-row statement a table.

Environment: BASELINE_DSN, BASELINE_KEY, BASELINE_CONNECTIONS.
"""

import hashlib
import os
import re
import secrets
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

import asyncpg
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from fastapi import Depends, FastAPI, Header, HTTPException
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from pydantic_core import to_json

BUCKETS = 64
WORKSPACE = UUID(int=1)
SITE = UUID(int=2)
DESTINATIONS = [UUID(int=10), UUID(int=11), UUID(int=12)]
ANSWERS = [{"id": str(id_), "connector": "example", "status": "queued"} for id_ in DESTINATIONS]

DEDUP = (
    "INSERT INTO dedup (bucket, key, event_id, body_hash) "
    "VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING RETURNING event_id"
)
EVENT = (
    "INSERT INTO event (bucket, id, workspace_id, site_id, name, event_id, order_id, body, sealed) "
    "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"
)
DELIVERIES = (
    "INSERT INTO delivery (bucket, event_id, destination_id, status, due_at) "
    "SELECT $1, $2, d, 'queued', $4 FROM unnest($3::uuid[]) d"
)
ORDER = (
    "INSERT INTO orders (bucket, key, site_id, order_id, status, ledger, first_seen_at, changed_at) "
    "VALUES ($1, $2, $3, $4, 'completed', $5, $6, $6) ON CONFLICT (bucket, key) DO UPDATE SET changed_at = $6"
)
CONVERSION = (
    "INSERT INTO conversion "
    "(bucket, id, workspace_id, site_id, goal_id, event_id, order_key, order_id, value, currency, "
    "occurred_at) VALUES ($1, $2, $3, $4, 1, $5, $6, $7, $8, $9, $10)"
)
DEDUP_MANY = (
    "INSERT INTO dedup (bucket, key, event_id, body_hash) "
    "SELECT * FROM unnest($1::int[], $2::uuid[], $3::uuid[], $4::bigint[]) "
    "ON CONFLICT DO NOTHING RETURNING event_id"
)
EVENT_MANY = (
    "INSERT INTO event (bucket, id, workspace_id, site_id, name, event_id, order_id, body, sealed) "
    "SELECT $1, u.id, $2, $3, u.name, u.event_id, u.order_id, u.body, u.sealed "
    "FROM unnest($4::uuid[], $5::text[], $6::text[], $7::text[], $8::bytea[], $9::bytea[]) "
    "u (id, name, event_id, order_id, body, sealed)"
)
DELIVERIES_MANY = (
    "INSERT INTO delivery (bucket, event_id, destination_id, status, due_at) "
    "SELECT $1, e, d, 'queued', $4 FROM unnest($2::uuid[]) e CROSS JOIN unnest($3::uuid[]) d"
)
ORDERS_MANY = (
    "INSERT INTO orders (bucket, key, site_id, order_id, status, ledger, first_seen_at, changed_at) "
    "SELECT u.bucket, u.key, $1, u.order_id, 'completed', u.ledger, $6, $6 "
    "FROM unnest($2::int[], $3::uuid[], $4::text[], $5::bytea[]) u (bucket, key, order_id, ledger) "
    "ON CONFLICT (bucket, key) DO UPDATE SET changed_at = $6"
)
CONVERSIONS_MANY = (
    "INSERT INTO conversion "
    "(bucket, id, workspace_id, site_id, goal_id, event_id, order_key, order_id, value, currency, "
    "occurred_at) SELECT u.bucket, u.id, $1, $2, 1, u.id, u.order_key, u.order_id, u.value, u.currency, $9 "
    "FROM unnest($3::int[], $4::uuid[], $5::uuid[], $6::text[], $7::numeric[], $8::text[]) "
    "u (bucket, id, order_key, order_id, value, currency)"
)

NOT_DIGITS = re.compile(r"\D")
GMAIL = {"gmail.com", "googlemail.com"}


class Item(BaseModel):
    product_id: str | None = None
    name: str | None = None
    quantity: Annotated[int, Field(ge=0)] | None = None
    price: Annotated[Decimal, Field(max_digits=38)] | None = None


class UserData(BaseModel):
    email: Annotated[str, Field(max_length=1024)] | None = None
    phone: Annotated[str, Field(max_length=1024)] | None = None
    client_ip_address: Annotated[str, Field(max_length=64)] | None = None
    client_user_agent: Annotated[str, Field(max_length=1024)] | None = None


class EventIn(BaseModel):
    event: Annotated[str, Field(min_length=1, max_length=100)]
    event_id: Annotated[str, Field(min_length=1, max_length=256)]
    occurred_at: datetime | None = None
    value: Annotated[Decimal, Field(ge=0, max_digits=38)] | None = None
    currency: Annotated[str, Field(pattern=r"^[A-Za-z]{3}$")] | None = None
    order_id: Annotated[str, Field(min_length=1, max_length=256)] | None = None
    items: list[Item] = []
    url: str | None = None
    action_source: str | None = None
    user_data: UserData = UserData()
    click_ids: dict[str, str] = {}


class BatchIn(BaseModel):
    events: Annotated[list[EventIn], Field(max_length=1000)]


class Row:
    """An event as it is stored."""

    __slots__ = ("body", "body_hash", "bucket", "event", "id", "key", "ledger", "order_bucket", "order_key", "sealed")

    def __init__(self, event: EventIn, id_: UUID, now: datetime) -> None:
        hashes = hashes_of(event.user_data)
        readable = event.user_data.model_dump(include={"client_ip_address", "client_user_agent"}, exclude_none=True)
        body: dict[str, Any] = event.model_dump(exclude={"user_data"}, exclude_none=True)
        body["user"] = hashes
        body.setdefault("occurred_at", now)
        digest = hashlib.sha256(f"{WORKSPACE}:{event.event}:{event.event_id}".encode()).digest()
        said = f"{event.value}:{event.currency}:{event.order_id}"
        self.event = event
        self.id = id_
        self.key = UUID(bytes=digest[:16])
        self.bucket = digest[0] % BUCKETS
        self.body = to_json(body)
        self.body_hash = int.from_bytes(hashlib.sha256(said.encode()).digest()[:8], signed=True)
        self.sealed = seal(to_json(readable)) if readable else None
        order = hashlib.sha256(f"{SITE}:{event.order_id}".encode()).digest()
        self.order_key = UUID(bytes=order[:16])
        self.order_bucket = order[0] % BUCKETS
        self.ledger = to_json([{"event_id": str(id_), "status": "completed", "amount": event.value, "at": now}])


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def hashes_of(user: UserData) -> dict[str, str]:
    hashes: dict[str, str] = {}
    if user.email and "@" in user.email:
        email = user.email.strip().lower()
        local, _, domain = email.rpartition("@")
        plain = local.split("+")[0].replace(".", "")
        google = f"{plain}@{domain}" if domain in GMAIL else email
        hashes["email_sha256"] = sha256(email)
        hashes["email_google_sha256"] = sha256(google)
        hashes["email_nodots_sha256"] = sha256(f"{plain}@{domain}")
    if user.phone and user.phone.strip().startswith("+"):
        digits = NOT_DIGITS.sub("", user.phone)
        hashes["phone_sha256"] = sha256(f"+{digits}")
        hashes["phone_digits_sha256"] = sha256(digits)
    return hashes


cipher = AESGCM(hashlib.sha256(b"baseline").digest())


def seal(plain: bytes) -> bytes:
    nonce = secrets.token_bytes(12)
    return nonce + cipher.encrypt(nonce, plain, None)


def new_id() -> UUID:
    """A UUIDv7."""
    random = int.from_bytes(os.urandom(10))
    return UUID(
        int=time.time_ns() // 1_000_000 << 80 | 7 << 76 | (random >> 68) << 64 | 2 << 62 | random & (1 << 62) - 1
    )


KEYS = {sha256(os.environ["BASELINE_KEY"])} if "BASELINE_KEY" in os.environ else set()


def authenticate(authorization: Annotated[str, Header()] = "") -> None:
    if sha256(authorization.removeprefix("Bearer ")) not in KEYS:
        raise HTTPException(401, "unknown API key")


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
    size = int(os.environ.get("BASELINE_CONNECTIONS", "16"))
    async with asyncpg.create_pool(os.environ["BASELINE_DSN"], min_size=size, max_size=size) as pool:
        app.state.pool = pool
        yield


app = FastAPI(lifespan=lifespan, dependencies=[Depends(authenticate)])


@app.post("/events")
async def post_event(event: EventIn) -> JSONResponse:
    now = datetime.now(UTC)
    row = Row(event, new_id(), now)
    bucket = row.id.int % BUCKETS
    async with app.state.pool.acquire() as connection, connection.transaction():
        is_new = await connection.fetchval(DEDUP, row.bucket, row.key, row.id, row.body_hash)
        if is_new:
            await connection.execute(
                EVENT, bucket, row.id, WORKSPACE, SITE, event.event, event.event_id, event.order_id, row.body,
                row.sealed,
            )  # fmt: skip
            await connection.execute(DELIVERIES, bucket, row.id, DESTINATIONS, now)
            if event.order_id is not None:
                await connection.execute(ORDER, row.order_bucket, row.order_key, SITE, event.order_id, row.ledger, now)
                await connection.execute(
                    CONVERSION, row.order_bucket, row.id, WORKSPACE, SITE, row.id, row.order_key, event.order_id,
                    event.value, event.currency, now,
                )  # fmt: skip
    status = "accepted" if is_new else "duplicate"
    return JSONResponse({"status": status, "event_id": event.event_id, "destinations": ANSWERS}, 202)


@app.post("/batch")
async def post_batch(batch: BatchIn) -> JSONResponse:
    now = datetime.now(UTC)
    rows = sorted((Row(event, new_id(), now) for event in batch.events), key=lambda row: row.key)
    bucket = rows[0].id.int % BUCKETS if rows else 0
    async with app.state.pool.acquire() as connection, connection.transaction():
        won = await connection.fetch(
            DEDUP_MANY,
            [row.bucket for row in rows],
            [row.key for row in rows],
            [row.id for row in rows],
            [row.body_hash for row in rows],
        )
        won_ids = {record[0] for record in won}
        new = [row for row in rows if row.id in won_ids]
        ids = [row.id for row in new]
        await connection.execute(
            EVENT_MANY,
            bucket,
            WORKSPACE,
            SITE,
            ids,
            [row.event.event for row in new],
            [row.event.event_id for row in new],
            [row.event.order_id for row in new],
            [row.body for row in new],
            [row.sealed for row in new],
        )
        await connection.execute(DELIVERIES_MANY, bucket, ids, DESTINATIONS, now)
        sold = sorted((row for row in new if row.event.order_id is not None), key=lambda row: row.order_key)
        if sold:
            order_buckets = [row.order_bucket for row in sold]
            order_keys = [row.order_key for row in sold]
            order_ids = [row.event.order_id for row in sold]
            await connection.execute(
                ORDERS_MANY, SITE, order_buckets, order_keys, order_ids, [row.ledger for row in sold], now
            )
            await connection.execute(
                CONVERSIONS_MANY, WORKSPACE, SITE, order_buckets, [row.id for row in sold], order_keys, order_ids,
                [row.event.value for row in sold], [row.event.currency for row in sold], now,
            )  # fmt: skip
    status = {row.event.event_id: "accepted" if row.id in won_ids else "duplicate" for row in rows}
    results = [
        {"index": place, "status": status[event.event_id], "event_id": event.event_id, "destinations": ANSWERS}
        for place, event in enumerate(batch.events)
    ]
    return JSONResponse({"results": results}, 202)
