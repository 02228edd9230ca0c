"""`/v1/admin/privacy`: erase a person, see what was removed; give out what is stored of one. The worker erases."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from litestar import Response, get, post
from litestar.di import NamedDependency as Needs
from litestar.enums import MediaType
from litestar.params import FromPath, JSONBody
from litestar.response import Stream
from msgspec import Struct

from postback.db import buckets
from postback.errors import Invalid, NotFound, Unavailable
from postback.pii.person import Maker
from postback.privacy import counting, erasing, erasures, exporting, people, receipt
from postback.privacy.erasing import Tools
from postback.privacy.erasures import Erasure
from postback.privacy.people import KINDS, LAST, Kind
from postback.privacy.receipt import Receipt
from postback.web.admin.access import SCOPES, Caller
from postback.web.admin.bodies import EXAMPLE
from postback.web.admin.changes import changing
from postback.web.admin.hub import Hub
from postback.web.admin.pages import DEFAULT_LIMIT, Cursor, Limit, Page, first_of, read_ids

RETRY_SECONDS = 10
COUNT_SECONDS = 2.0
_ERASE = {SCOPES: ("erase",)}


class PersonIn(Struct, frozen=True, forbid_unknown_fields=True):
    """Who, by exactly one of these, in clear; all but `visitor_id` may be given as their SHA-256."""

    email: str | None = None
    phone: str | None = None
    external_id: str | None = None
    user_id: str | None = None
    visitor_id: str | None = None


class ErasureIn(PersonIn, frozen=True, forbid_unknown_fields=True):
    """Who, by exactly one of these, in clear; all but `visitor_id` may be given as their SHA-256. `dry_run`: count, and
    erase nothing."""

    dry_run: bool = False


class Meant(Struct, frozen=True):
    """What would be removed as things are: `visitors` and `events`. `complete` false: there was more than could be
    looked at in two seconds."""

    visitors: int
    events: int
    complete: bool


class ErasureOut(Struct, frozen=True):
    """`asked_by`: what was named, not its value; `subject`: a keyed hash of that. `removed`: rows so far. `percent`: of
    this round over the events; what is found in one may ask for another. `receipt` null: it runs."""

    id: UUID
    status: erasures.Status
    asked_by: Kind
    subject: str
    round: int
    percent: int
    removed: dict[str, int]
    created_by: str
    created_at: datetime
    changed_at: datetime
    receipt: Receipt | None


@post(
    "/privacy/erasures",
    opt={EXAMPLE: {"email": "jane@example.com"}, "also": {200: Meant}, **_ERASE},
    summary="Erase a person",
)
async def create_erasure(
    hub: Needs[Hub], caller: Needs[Caller], data: JSONBody[ErasureIn]
) -> ErasureOut | Response[Meant]:
    """Needs a key with the scope `erase`. What occurred before this answer brings the person back no more; what is
    stored goes in the background. While an erasure of the same identifier runs, that one is answered. Dry run: 200."""
    kind, value = _asked(data)
    if data.dry_run:
        return Response(await _meant(hub, caller, kind, value), status_code=200)
    async with changing(hub, caller) as change:
        erasure, is_new = await erasing.begin(
            change.tx,
            tools(hub.vault.sealer, hub.vault.link_key),
            caller.workspace_id,
            kind,
            value,
            country=_country(caller),
            created_by=caller.actor,
            id=buckets.new_id(caller.now),
        )
        named = {"asked_by": kind, "subject": erasure.subject.hex()}
        await change.record("created", "erasure", erasure.id, before=None if is_new else named, after=named)
    return erasure_out(erasure, hub.vault.link_key)


@get("/privacy/erasures", opt=_ERASE, summary="List erasures, newest first")
async def list_erasures(
    hub: Needs[Hub], caller: Needs[Caller], limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Page[ErasureOut]:
    before = after[0] if (after := read_ids(cursor, 1)) is not None else LAST
    async with hub.pool.connection() as tx:
        found = await erasures.list_all(tx, caller.workspace_id, before=before, limit=limit + 1)
    shown = [erasure_out(one, hub.vault.link_key) for one in found[:limit]]
    return first_of(found, shown, lambda one: one.id.bytes, limit)


@get("/privacy/erasures/{erasure:uuid}", opt=_ERASE, summary="One erasure, and its receipt")
async def read_erasure(hub: Needs[Hub], caller: Needs[Caller], erasure: FromPath[UUID]) -> ErasureOut:
    async with hub.pool.connection() as tx:
        found = await erasures.read(tx, caller.workspace_id, erasure)
    if found is None:
        raise NotFound("There is no such erasure.")
    return erasure_out(found, hub.vault.link_key)


@post(
    "/privacy/exports",
    opt={EXAMPLE: {"email": "jane@example.com"}, "answer": {"type": "object"}, **_ERASE},
    summary="Give out what is stored of a person",
    media_type=MediaType.JSON,
)
async def create_export(hub: Needs[Hub], caller: Needs[Caller], data: JSONBody[PersonIn]) -> Response[Any]:
    """Needs a key with the scope `erase`. JSON, sent while it is found: `visitors`, `events` with what each became,
    what is sealed opened. One at a time, else 503. That it was asked for is written down, the identifier is not."""
    kind, value = _asked(data)
    if hub.exporting.locked():
        raise Unavailable("Another export is under way; one at a time is sent.", retry_after_seconds=RETRY_SECONDS)
    maker = Maker(hub.vault.link_key, caller.workspace_id.bytes)
    async with changing(hub, caller) as change:
        person = await people.meant(change.tx, caller.workspace_id, kind, value, _country(caller), maker)
        named = {"asked_by": kind, "subject": person.seeds[0].hex()}
        await change.record("created", "export", buckets.new_id(caller.now), after=named)

    async def parts() -> AsyncIterator[bytes]:
        async with hub.exporting, hub.pool.connection() as tx:
            reader = people.Reader(caller.workspace_id, hub.vault.sealer, maker)
            async for part in exporting.export(tx, reader, person, caller.now):
                yield part

    return Stream(parts(), media_type=MediaType.JSON, status_code=201)


async def _meant(hub: Hub, caller: Caller, kind: Kind, value: str) -> Meant:
    maker = Maker(hub.vault.link_key, caller.workspace_id.bytes)
    async with hub.pool.connection() as tx:
        person = await people.meant(tx, caller.workspace_id, kind, value, _country(caller), maker)
        reader = people.Reader(caller.workspace_id, hub.vault.sealer, maker)
        counted = await counting.count(tx, reader, person, caller.now, COUNT_SECONDS)
    return Meant(counted.visitors, len(counted.events), counted.is_all)


def tools(sealer: Any, link_key: bytes) -> Tools:
    return Tools(sealer, link_key, timedelta(0))


def erasure_out(erasure: Erasure, link_key: bytes) -> ErasureOut:
    state = erasure.state
    return ErasureOut(
        id=erasure.id,
        status=erasure.status,
        asked_by=erasure.kind,
        subject=erasure.subject.hex(),
        round=state.round if state is not None else 0,
        percent=state.percent if state is not None else 100,
        removed=erasure.removed,
        created_by=erasure.created_by,
        created_at=buckets.time_of(erasure.id),
        changed_at=erasure.changed_at,
        receipt=receipt.shown(link_key, erasure.receipt, erasure.signature)
        if erasure.receipt is not None and erasure.signature is not None
        else None,
    )


def _asked(data: PersonIn) -> tuple[Kind, str]:
    named: list[tuple[Kind, str]] = [(kind, value) for kind in KINDS if (value := getattr(data, kind)) is not None]
    if len(named) != 1:
        raise Invalid(f"Name the person by exactly one of {', '.join(KINDS)}.", field=named[1][0] if named else "email")
    return named[0]


def _country(caller: Caller) -> str | None:
    """Of phone numbers without a plus: the first site's."""
    place = caller.snapshot.first_place
    return place.site.country if place is not None else None


HANDLERS = [create_erasure, list_erasures, read_erasure, create_export]
