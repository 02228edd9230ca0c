"""From a raw event to one that is safe to write: site, hashing, the dedup key, the visitor it belongs to.

Runs before the flush, outside any transaction; what depends on the configuration (the key, the destinations) is judged
again by the writer where the configuration moved.
"""

from collections.abc import Callable
from datetime import datetime

import msgspec
from msgspec import Struct

from postback import pii, visitors
from postback.dialects import Result
from postback.errors import Forbidden, Invalid, Rejected
from postback.event import Event, RawEvent
from postback.intake import dedup
from postback.intake.directory import Fate, Snapshot
from postback.keys import ApiKey
from postback.pii.seal import Sealer, link_key
from postback.visitors import Seen
from postback.workspaces import Site

NO_SITE = pii.SiteFacts()
_encode = msgspec.json.Encoder().encode


class Pending(Struct, eq=False):
    """An event that waits for its commit. Ids and keys are 16 bytes; `body_hash` tells a collision; `id` comes with the
    flush, `result` when the event's fate is known. `raw` and `names` are what it was judged by, for when the
    configuration moves."""

    key: ApiKey
    snapshot: Snapshot
    event: Event
    dedup_key: bytes
    body_hash: int
    body: bytes
    sealed: bytes | None
    visitor_key: bytes | None
    seen: Seen | None
    fate: Fate
    raw: RawEvent
    names: frozenset[str] | None
    id: bytes = b""
    result: Result | None = None


class Judge:
    """What judging needs besides the event: the installation's keys, and a source of ids."""

    def __init__(self, sealer: Sealer, installation_key: bytes, new_id: Callable[[], str]) -> None:
        self._sealer = sealer
        self._installation_key = installation_key
        self._new_id = new_id

    def __call__(
        self, raw: RawEvent, key: ApiKey, snapshot: Snapshot, now: datetime, names: frozenset[str] | None = None
    ) -> Pending:
        """Raises Invalid, or Forbidden for a site that is not the key's.

        `names`: the only ones that the dialect takes besides the workspace's own event types; None: any.
        """
        _check_name(raw, snapshot, names)
        site = _site(raw, key, snapshot)
        done = pii.protect(
            raw,
            site=snapshot.facts[site.id] if site else NO_SITE,
            now=now,
            seal=self._sealer,
            new_id=self._new_id,
        )
        event = done.event
        if raw.dedup is None or raw.dedup_space == "event":
            space, id_ = "event", event.event_id
        else:
            space, id_ = raw.dedup_space, raw.dedup
            if key.site_id or raw.site_key:
                id_ = f"{site.id if site else ''}\0{id_}"
        workspace = snapshot.id_bytes
        visitor_key = visitors.key_of(snapshot.workspace.id, event.visitor_id) if event.visitor_id else None
        seen: Seen | None = None
        if visitor_key:
            links = tuple(link_key(self._installation_key, workspace, kind, value) for kind, value in done.links)
            shown = event.user | event.click_ids
            if event.experiments:
                shown |= visitors.as_identifiers(event.experiments)
            seen = Seen(visitor_key, snapshot.workspace.id, shown, done.sealed, links, now)
        return Pending(
            key=key,
            snapshot=snapshot,
            event=event,
            dedup_key=dedup.key(workspace, space, id_, event.name),
            body_hash=dedup.body_hash(event),
            body=_encode(event),
            sealed=done.sealed,
            visitor_key=visitor_key,
            seen=seen,
            fate=snapshot.fate(event, now),
            raw=raw,
            names=names,
        )


def judge_again(pending: Pending, snapshot: Snapshot, now: datetime) -> None:
    """The configuration moved: whether the key still opens, the name and the site are still taken, and what the
    destinations of today will do."""
    pending.snapshot = snapshot
    try:
        if refusal := snapshot.refuse(pending.key, now):
            raise refusal
        _check_name(pending.raw, snapshot, pending.names)
        _site(pending.raw, pending.key, snapshot)
    except Rejected as refusal:
        pending.result = refusal
    else:
        pending.fate = snapshot.fate(pending.event, now)


def _check_name(raw: RawEvent, snapshot: Snapshot, names: frozenset[str] | None) -> None:
    """Whether there is such an event, and it bears what the workspace demands of it. Raises Invalid."""
    if (own := snapshot.event_types.get(raw.name)) is not None:
        own.demand(raw)
    elif names is not None and raw.name not in names:
        known = ", ".join(sorted(names | snapshot.event_types.keys()))
        raise Invalid(f"There is no event {raw.name!r}; there are {known}.", field="event")


def _site(raw: RawEvent, key: ApiKey, snapshot: Snapshot) -> Site | None:
    """The key's, else the named one, else the workspace's first."""
    named = snapshot.sites_by_key.get(raw.site_key) if raw.site_key else None
    if raw.site_key and (named is None or key.site_id not in (None, named.id)):
        raise Forbidden("This site_key does not belong to the API key.", field="site_key")
    if key.site_id is not None:
        return snapshot.sites.get(key.site_id)
    return named or snapshot.first_site
