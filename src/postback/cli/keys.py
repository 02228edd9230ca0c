"""`postback keys`: API keys, by their records in the database; what the admin API's `keys` does."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

from cyclopts import Parameter
from msgspec import structs

from postback import keys
from postback.cli import show
from postback.cli.options import HERE, Json, Place
from postback.cli.session import named_site, session, workspace
from postback.db import buckets
from postback.keys import ApiKey, Usage, key_out
from postback.workspaces import audit

InWorkspace = Annotated[str | None, Parameter(name="--workspace", help="Its id or name. [the first one]")]


async def create(
    label: Annotated[str, Parameter(help="What the key is for.")],
    place: Place = HERE,
    *,
    scope: Annotated[
        list[str] | None, Parameter(help="ingest, read, admin, erase or installation; may be repeated. [ingest]")
    ] = None,
    site: Annotated[str | None, Parameter(help="Id, name or site key of the only site it may write to.")] = None,
    prefix: Annotated[str, Parameter(help="What its text begins with. [pb]")] = "pb",
    expires_at: Annotated[datetime | None, Parameter(help="When it ends, ISO 8601; UTC without a zone.")] = None,
    rate_limit_per_minute: Annotated[
        int | None, Parameter(help="Most requests a minute; 0: no limit. [the dialect's]")
    ] = None,
    in_workspace: InWorkspace = None,
    as_json: Json = False,
) -> None:
    """Make a key and print it, this once."""
    async with session(place.settings()) as s:
        owner = await workspace(s.tx, in_workspace)
        site_id = (await named_site(s.tx, owner.id, site)).id if site else None
        async with audit.changing(s.tx, owner.id, audit.COMMAND_LINE, s.now) as change:
            key, text = await keys.create(
                s.tx,
                key_id=buckets.new_id(s.now),
                workspace_id=owner.id,
                label=label,
                scopes=scope or ["ingest"],
                environment=s.settings.environment,
                now=s.now,
                prefix=prefix,
                site_id=site_id,
                expires_at=_aware(expires_at),
                rate_limit_per_minute=rate_limit_per_minute,
            )
            await change.record("created", "key", key.id, after=key_out(key))
    _show_new(key, text, s.now, as_json)


async def list_all(place: Place = HERE, *, in_workspace: InWorkspace = None, as_json: Json = False) -> None:
    """Keys, newest first, revoked ones too."""
    async with session(place.settings()) as s:
        found = await keys.list_all(s.tx, (await workspace(s.tx, in_workspace)).id)
        usage = await keys.usage(s.tx, [key.id for key in found], s.now)
    if as_json:
        show.as_json({"items": [_out(key, s.now) | _used(usage.get(key.id)) for key in found]})
        return
    rows = [
        (
            key.id,
            key.label,
            f"{key.prefix}_...{key.last_four}",
            " ".join(key.scopes),
            _state(key, s.now),
            f"{used.last_used_at:%Y-%m-%d %H:%M:%SZ}" if (used := usage.get(key.id)) else "never",
        )
        for key in found
    ]
    show.table(
        ["id", "label", "key", "scopes", "state", "last used"], rows, empty="No keys; `postback keys create` makes one."
    )


async def rotate(
    key: Annotated[UUID, Parameter(help="Its id, as `keys list` shows it.")],
    place: Place = HERE,
    *,
    grace_seconds: Annotated[int, Parameter(help="How long the old one goes on. [0]")] = 0,
    in_workspace: InWorkspace = None,
    as_json: Json = False,
) -> None:
    """Replace a key by a new one with its label and scopes, and print that, this once."""
    async with session(place.settings()) as s:
        owner = await workspace(s.tx, in_workspace)
        async with audit.changing(s.tx, owner.id, audit.COMMAND_LINE, s.now) as change:
            old = await keys.read(s.tx, owner.id, key)
            made, text = await keys.rotate(
                s.tx,
                owner.id,
                key,
                new_id=buckets.new_id(s.now),
                now=s.now,
                grace=timedelta(seconds=grace_seconds),
                environment=s.settings.environment,
            )
            ended = await keys.read(s.tx, owner.id, key)
            await change.record("rotated", "key", key, before=key_out(old), after=key_out(ended))
            await change.record("created", "key", made.id, after=key_out(made))
    _show_new(made, text, s.now, as_json)


async def revoke(
    key: Annotated[UUID, Parameter(help="Its id, as `keys list` shows it.")],
    place: Place = HERE,
    *,
    in_workspace: InWorkspace = None,
    as_json: Json = False,
) -> None:
    """End a key: when this returns no event of it is accepted any more. Repeating is harmless."""
    async with session(place.settings()) as s:
        owner = await workspace(s.tx, in_workspace)
        async with audit.changing(s.tx, owner.id, audit.COMMAND_LINE, s.now) as change:
            old = await keys.read(s.tx, owner.id, key)
            await keys.revoke(s.tx, owner.id, key)
            ended = await keys.read(s.tx, owner.id, key)
            await change.record("revoked", "key", key, before=key_out(old), after=key_out(ended))
    if as_json:
        show.as_json({"id": key, "revoked_at": s.now})
    else:
        show.say(f"Revoked {key}.")


def _show_new(key: ApiKey, text: str, now: datetime, as_json: bool) -> None:
    if as_json:
        show.as_json({**_out(key, now), "key": text})
    else:
        show.say(f"{text}\n\nThis is shown this once. Id {key.id}, scopes {' '.join(key.scopes)}.")


def _out(key: ApiKey, now: datetime) -> dict[str, Any]:
    return {**structs.asdict(key_out(key)), "state": _state(key, now)}


def _used(usage: Usage | None) -> dict[str, Any]:
    return {
        "last_used_at": usage.last_used_at if usage else None,
        "last_used_from": usage.address if usage else None,
        "calls_24h": usage.calls if usage else 0,
        "errors_24h": usage.errors if usage else 0,
    }


def _state(key: ApiKey, now: datetime) -> str:
    if key.revoked_at is not None:
        return "revoked" if key.revoked_at <= now else f"ends {key.revoked_at:%Y-%m-%d %H:%M:%SZ}"
    if key.expires_at is not None:
        return "expired" if key.expires_at <= now else f"ends {key.expires_at:%Y-%m-%d %H:%M:%SZ}"
    return "active"


def _aware(at: datetime | None) -> datetime | None:
    return at.replace(tzinfo=UTC) if at is not None and at.tzinfo is None else at
