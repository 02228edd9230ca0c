"""`/v1/admin/keys`: make, list, rotate, revoke. A key's text is shown by the answer that made it, and never again."""

from datetime import datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

from litestar import delete, get, post
from litestar.di import NamedDependency as Needs
from litestar.params import FromPath, JSONBody
from msgspec import Meta, Struct

from postback import keys
from postback.db import buckets
from postback.dialects import moment
from postback.errors import Forbidden, Invalid, NotFound
from postback.keys import ApiKey
from postback.web.admin.access import Caller
from postback.web.admin.hub import Hub
from postback.web.admin.pages import DEFAULT_LIMIT, Cursor, Limit, Page, page_of

# Scopes that an admin key gives to another only if it has them itself.
GUARDED = frozenset({"erase", "installation"})


class KeyIn(Struct, frozen=True):
    """`site`: the id of the one site it is for; absent: any. `expires_at`: ISO 8601; absent: never."""

    label: Annotated[str, Meta(min_length=1, max_length=100)]
    scopes: Annotated[list[keys.Scope], Meta(min_length=1)]
    site: UUID | None = None
    prefix: Annotated[str, Meta(pattern="^[a-z0-9]{1,16}$")] | None = None
    expires_at: Annotated[str, Meta(extra_json_schema={"format": "date-time"})] | None = None


class RotateIn(Struct, frozen=True):
    """`grace_seconds`: how long the old key still opens; 0: no longer."""

    grace_seconds: Annotated[int, Meta(ge=0, le=31_536_000)] = 0


class KeyOut(Struct, frozen=True):
    """`environment` null: the prefix has none. `revoked_at` may lie ahead, after a rotation with grace."""

    id: UUID
    label: str
    scopes: list[str]
    site: UUID | None
    prefix: str
    environment: str | None
    last_four: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


class KeyMade(KeyOut, frozen=True, kw_only=True):
    """With the key itself, this once."""

    key: str


@post("/keys", summary="Make a key")
async def create(hub: Needs[Hub], caller: Needs[Caller], data: JSONBody[KeyIn]) -> KeyMade:
    _may_give(caller, data.scopes)
    if data.site is not None and data.site not in caller.snapshot.sites:
        raise Invalid("There is no such site; name one by its id.", field="site")
    expires_at = moment(data.expires_at, "expires_at") if data.expires_at is not None else None
    if expires_at is not None and expires_at <= caller.now:
        raise Invalid("expires_at must lie ahead.", field="expires_at")
    async with hub.pool.connection() as tx, tx.transaction():
        key, text = await keys.create(
            tx,
            key_id=buckets.new_id(caller.now),
            workspace_id=caller.workspace_id,
            label=data.label,
            scopes=data.scopes,
            environment=hub.settings.environment,
            now=caller.now,
            prefix=data.prefix or "pb",
            site_id=data.site,
            expires_at=expires_at,
        )
    return _made(key, text)


@get("/keys", summary="List keys, newest first, revoked ones too")
async def list_all(
    hub: Needs[Hub], caller: Needs[Caller], limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Page[KeyOut]:
    async with hub.pool.connection() as tx:
        found = await keys.list_all(tx, caller.workspace_id)
    return page_of(found, _shown, lambda key: key.id.bytes, limit, cursor, newest_first=True)


@post("/keys/{key_id:uuid}/rotate", summary="Replace a key; the old one ends at once or after a grace period")
async def rotate(hub: Needs[Hub], caller: Needs[Caller], key_id: FromPath[UUID], data: JSONBody[RotateIn]) -> KeyMade:
    async with hub.pool.connection() as tx, tx.transaction():
        known = next((key for key in await keys.list_all(tx, caller.workspace_id) if key.id == key_id), None)
        if known is None:
            raise NotFound("There is no such key.")
        _may_give(caller, known.scopes)
        key, text = await keys.rotate(
            tx,
            caller.workspace_id,
            key_id,
            new_id=buckets.new_id(caller.now),
            now=caller.now,
            grace=timedelta(seconds=data.grace_seconds),
            environment=hub.settings.environment,
        )
    return _made(key, text)


@delete("/keys/{key_id:uuid}", summary="Revoke a key, at once; repeating is harmless")
async def revoke(hub: Needs[Hub], caller: Needs[Caller], key_id: FromPath[UUID]) -> None:
    async with hub.pool.connection() as tx, tx.transaction():
        await keys.revoke(tx, caller.workspace_id, key_id)


def _may_give(caller: Caller, scopes: list[keys.Scope] | list[str]) -> None:
    if lacking := sorted(GUARDED & set(scopes) - set(caller.key.scopes)):
        raise Forbidden(f"Only a key with the scope {lacking[0]} gives it to another.", field="scopes")


def _shown(key: ApiKey) -> KeyOut:
    return KeyOut(**_fields(key))


def _made(key: ApiKey, text: str) -> KeyMade:
    return KeyMade(**_fields(key), key=text)


def _fields(key: ApiKey) -> dict[str, Any]:
    taken = (name for name in KeyOut.__struct_fields__ if name != "site")
    return {name: getattr(key, name) for name in taken} | {"site": key.site_id}


HANDLERS = [create, list_all, rotate, revoke]
