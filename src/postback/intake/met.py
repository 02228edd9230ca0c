"""Where visitors were met: the site of an event that names none, where the workspace has several. Asked before the
flush, and only then: one look-up by visitor id, one more by session where there are events with nothing else."""

from collections.abc import Iterable, Sequence

from postback import pii, visitors
from postback.db import Pool, is_unavailable
from postback.errors import PostbackError, Unavailable
from postback.event import RawEvent
from postback.intake.directory import Snapshot
from postback.keys import ApiKey
from postback.visitors import links


def is_asked(events: Iterable[RawEvent | PostbackError], key: ApiKey, snapshot: Snapshot) -> bool:
    """Whether the site of any of these may be its visitor's."""
    return key.site_id is None and len(snapshot.sites) > 1 and bool(_nameless(events))


def _nameless(events: Iterable[RawEvent | PostbackError]) -> list[RawEvent]:
    return [
        one
        for one in events
        if isinstance(one, RawEvent) and not one.site_key and one.goal_id is None and (one.visitor_id or one.session_id)
    ]


async def tell(pool: Pool, link_key: bytes, events: Sequence[RawEvent | PostbackError], snapshot: Snapshot) -> None:
    """Put into each where its visitor was met. Raises Unavailable."""
    nameless = _nameless(events)
    workspace = snapshot.workspace.id
    sessions: dict[bytes, bytes] = {}
    try:
        async with pool.connection() as tx:
            if asked := {_session(link_key, one, snapshot) for one in nameless if not one.visitor_id}:
                linked, _ = await links.find(tx, sorted(asked))
                sessions = {key: found[0] for key, found in linked.items()}
            keys = {visitors.key_of(workspace, _id(one.visitor_id)) for one in nameless if one.visitor_id}
            found = await visitors.find(tx, sorted(keys.union(sessions.values())))
    except Exception as error:
        if is_unavailable(error):
            raise Unavailable("The database is away; nothing was written. Try again in a second.") from error
        raise
    for one in nameless:
        if one.visitor_id:
            key = visitors.key_of(workspace, _id(one.visitor_id))
        else:
            key = sessions.get(_session(link_key, one, snapshot), b"")
        if (visitor := found.get(key)) is not None:
            one.visitor_site_id = visitor.site_id


def _session(link_key: bytes, event: RawEvent, snapshot: Snapshot) -> bytes:
    return pii.link_key(link_key, snapshot.id_bytes, "session", _id(event.session_id))


def _id(text: str | None) -> str:
    return pii.stored_id(text or "")
