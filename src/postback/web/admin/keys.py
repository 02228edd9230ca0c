"""`/v1/admin/keys`: make, list, rotate, revoke. A key's text is shown by the answer that made it, and never again."""

from contextlib import suppress
from datetime import datetime, timedelta
from typing import Annotated
from uuid import UUID

from litestar import delete, get, post
from litestar.di import NamedDependency as Needs
from litestar.params import FromPath, JSONBody
from msgspec import Meta, Struct, structs

from postback import keys
from postback.db import Tx, buckets
from postback.dialects import moment
from postback.errors import Conflict, Forbidden, Invalid, NotFound
from postback.keys import ApiKey, KeyOut, Usage, key_out
from postback.web.admin.access import Caller
from postback.web.admin.bodies import EXAMPLE
from postback.web.admin.changes import changing
from postback.web.admin.hub import Hub
from postback.web.admin.pages import DEFAULT_LIMIT, Cursor, Limit, Page, page_of

# Scopes that an admin key gives to another only if it has them itself.
GUARDED = frozenset({"erase", "installation"})
_SHOP = {"label": "Shop backend", "scopes": ["ingest"], "rate_limit_per_minute": 600}


class KeyIn(Struct, frozen=True):
    """`site`: the id of the one site it is for; absent: any. `expires_at`: ISO 8601; absent: never.

    `rate_limit_per_minute` 0: no limit; absent: the dialect's.
    """

    label: Annotated[str, Meta(min_length=1, max_length=100)]
    scopes: Annotated[list[keys.Scope], Meta(min_length=1)]
    site: UUID | None = None
    prefix: Annotated[str, Meta(pattern="^[a-z0-9]{1,16}$")] | None = None
    expires_at: Annotated[str, Meta(extra_json_schema={"format": "date-time"})] | None = None
    rate_limit_per_minute: Annotated[int, Meta(ge=0, le=keys.MAX_RATE)] | None = None


class RotateIn(Struct, frozen=True):
    """`grace_seconds`: how long the old key still opens; 0: no longer."""

    grace_seconds: Annotated[int, Meta(ge=0, le=31_536_000)] = 0


class MadeAlready(Conflict):
    """A form was sent again, as by loading its answer again."""

    def __init__(self, key_id: UUID) -> None:
        super().__init__("This key was made already, and shown once. Where it was not kept, rotate or revoke it.")
        self.key_id = key_id


class KeyListed(KeyOut, frozen=True, kw_only=True):
    """With its use. `calls_24h`, `errors_24h` (4xx and 5xx): of the last 24 hours, by the hour. `last_used_at` null:
    never; `last_used_from`: an address, masked."""

    last_used_at: datetime | None
    last_used_from: str | None
    calls_24h: int
    errors_24h: int


class KeyMade(KeyOut, frozen=True, kw_only=True):
    """With the key itself, this once."""

    key: str


@post("/keys", summary="Make a key", opt={EXAMPLE: _SHOP})
async def create(hub: Needs[Hub], caller: Needs[Caller], data: JSONBody[KeyIn]) -> KeyMade:
    return await make(hub, caller, data, buckets.new_id(caller.now))


async def make(hub: Hub, caller: Caller, data: KeyIn, new_id: UUID) -> KeyMade:
    """Raises MadeAlready where there is a key of that id."""
    _may_give(caller, data.scopes)
    if data.site is not None and data.site not in caller.snapshot.sites:
        raise Invalid("There is no such site; name one by its id.", field="site")
    expires_at = moment(data.expires_at, "expires_at") if data.expires_at is not None else None
    if expires_at is not None and expires_at <= caller.now:
        raise Invalid("expires_at must lie ahead.", field="expires_at")
    async with changing(hub, caller) as change:
        await _refuse_repeat(change.tx, caller, new_id)
        key, text = await keys.create(
            change.tx,
            key_id=new_id,
            workspace_id=caller.workspace_id,
            label=data.label,
            scopes=data.scopes,
            environment=hub.settings.environment,
            now=caller.now,
            prefix=data.prefix or "pb",
            site_id=data.site,
            expires_at=expires_at,
            rate_limit_per_minute=data.rate_limit_per_minute,
        )
        await change.record("created", "key", key.id, after=key_out(key))
    return _made(key, text)


@get("/keys", summary="List keys, newest first, revoked ones too")
async def list_all(
    hub: Needs[Hub], caller: Needs[Caller], limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Page[KeyListed]:
    """Calls through other processes are counted a few seconds later."""
    await hub.calls.flush()
    async with hub.pool.connection() as tx:
        found = await keys.list_all(tx, caller.workspace_id)
        usage = await keys.usage(tx, [key.id for key in found], caller.now)
    return page_of(
        found,
        lambda key: _listed(key, usage.get(key.id)),
        lambda key: key.id.bytes,
        limit,
        cursor,
        newest_first=True,
    )


@post(
    "/keys/{key_id:uuid}/rotate",
    summary="Replace a key; the old one ends at once or after a grace period",
    opt={EXAMPLE: {"grace_seconds": 3600}},
)
async def rotate(hub: Needs[Hub], caller: Needs[Caller], key_id: FromPath[UUID], data: JSONBody[RotateIn]) -> KeyMade:
    return await replace(hub, caller, key_id, data, buckets.new_id(caller.now))


async def replace(hub: Hub, caller: Caller, key_id: UUID, data: RotateIn, new_id: UUID) -> KeyMade:
    """Raises MadeAlready where there is a key of the new id."""
    async with changing(hub, caller) as change:
        await _refuse_repeat(change.tx, caller, new_id)
        old = await keys.read(change.tx, caller.workspace_id, key_id)
        _may_give(caller, old.scopes)
        key, text = await keys.rotate(
            change.tx,
            caller.workspace_id,
            key_id,
            new_id=new_id,
            now=caller.now,
            grace=timedelta(seconds=data.grace_seconds),
            environment=hub.settings.environment,
        )
        ended = await keys.read(change.tx, caller.workspace_id, key_id)
        await change.record("rotated", "key", key_id, before=key_out(old), after=key_out(ended))
        await change.record("created", "key", key.id, after=key_out(key))
    return _made(key, text)


@delete("/keys/{key_id:uuid}", summary="Revoke a key, at once; repeating is harmless")
async def revoke(hub: Needs[Hub], caller: Needs[Caller], key_id: FromPath[UUID]) -> None:
    async with changing(hub, caller) as change:
        old = await keys.read(change.tx, caller.workspace_id, key_id)
        await keys.revoke(change.tx, caller.workspace_id, key_id)
        ended = await keys.read(change.tx, caller.workspace_id, key_id)
        await change.record("revoked", "key", key_id, before=key_out(old), after=key_out(ended))


async def _refuse_repeat(tx: Tx, caller: Caller, new_id: UUID) -> None:
    with suppress(NotFound):
        raise MadeAlready((await keys.read(tx, caller.workspace_id, new_id)).id)


def _may_give(caller: Caller, scopes: list[keys.Scope] | list[str]) -> None:
    if lacking := sorted(GUARDED & set(scopes) - caller.scopes):
        raise Forbidden(f"Only a key with the scope {lacking[0]} gives it to another.", field="scopes")


def _listed(key: ApiKey, used: Usage | None) -> KeyListed:
    return KeyListed(
        **structs.asdict(key_out(key)),
        last_used_at=used.last_used_at if used else None,
        last_used_from=used.address if used else None,
        calls_24h=used.calls if used else 0,
        errors_24h=used.errors if used else 0,
    )


def _made(key: ApiKey, text: str) -> KeyMade:
    return KeyMade(**structs.asdict(key_out(key)), key=text)


HANDLERS = [create, list_all, rotate, revoke]
