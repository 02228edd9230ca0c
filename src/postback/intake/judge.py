"""From a raw event to one that is safe to write: site, hashing, the dedup key, the visitor it belongs to.

Runs before the flush, outside any transaction; what depends on the configuration (the key, the destinations) is judged
again by the writer where the configuration moved.
"""

from collections.abc import Callable
from datetime import datetime

import msgspec
from msgspec import Struct, structs

from postback import pii, visitors
from postback.dialects import Result
from postback.errors import Forbidden, Invalid, Rejected
from postback.event import BOT, Event, RawEvent
from postback.goals import Goal
from postback.intake import dedup, sales, seen
from postback.intake.directory import Fate, Place, Snapshot
from postback.intake.limits import Admission
from postback.intake.sales import Post
from postback.intake.seen import Whose
from postback.keys import ApiKey
from postback.pii.seal import Sealer
from postback.quota import Limit
from postback.visitors import Seen
from postback.workspaces import Site

NO_SITE = pii.SiteFacts()
_encode = msgspec.json.Encoder().encode


class Pending(Struct, eq=False):
    """An event that waits for its commit. Ids and keys are 16 bytes; `body_hash` tells a collision; `id` comes with the
    flush, `result` when the event's fate is known. `raw` and `names` are what it was judged by, for when the
    configuration moves. `settled` is the fate that its order leaves it, `is_counted` whether it counts against a plan;
    both come with each try of the flush. `whole`: what it was before it was stripped, see `intake.erased`."""

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
    settled: Fate
    goals: tuple[Goal, ...] = ()
    post: Post | None = None
    caps: tuple[Limit, ...] = ()
    is_billable: bool = False
    is_counted: bool = False
    admission: Admission | None = None
    installation_key: bytes = b""
    user_id: str | None = None
    whole: "Whole | None" = None
    conversion_id: bytes | None = None
    id: bytes = b""
    result: Result | None = None

    @property
    def may_be_free(self) -> bool:
        """Whether only the flush tells if a plan counts it: a status may be of an order that was counted before."""
        return self.post is not None and self.event.order is not None and self.event.order.status is not None


class Whole(Struct, frozen=True):
    """An event with its person, while what waits is without."""

    event: Event
    body: bytes
    sealed: bytes | None
    visitor_key: bytes | None
    seen: Seen | None
    post: Post | None

    def restore(self, pending: Pending) -> None:
        pending.event, pending.body, pending.sealed = self.event, self.body, self.sealed
        pending.visitor_key, pending.seen, pending.post = self.visitor_key, self.seen, self.post
        pending.whole = None


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
        if names is not None or snapshot.event_types:
            _check_name(raw, snapshot, names)
        goal = _goal(raw, key, snapshot) if raw.goal_id is not None else None
        place = _place(raw, key, snapshot, goal)
        site, facts = (place.site, place.facts) if place is not None else (None, NO_SITE)
        # A repeat is filed under the name as sent: that of a goal's event may change.
        filed_name, is_velaro = raw.name, raw.dialect == "velaro"
        if goal is not None:
            if goal.currency is not None:
                facts = structs.replace(facts, currency=goal.currency)
            if is_velaro:
                amount = raw.amount if raw.amount is not None else goal.default_value
                raw = structs.replace(raw, name=goal.events[0] if goal.events else raw.name, amount=amount)
        done = pii.protect(raw, site=facts, now=now, seal=self._sealer, new_id=self._new_id)
        event = done.event
        if raw.dedup is None or raw.dedup_space == "event":
            space, id_ = "event", event.event_id
        else:
            space, id_ = raw.dedup_space, raw.dedup
            if not is_velaro and (key.site_id or raw.site_key):
                id_ = f"{site.id if site else ''}\0{id_}"
        if event.is_bot:
            space = f"bot {space}"  # so that it takes no one's place
        workspace = snapshot.id_bytes
        visitor_key = visitors.key_of(snapshot.workspace.id, event.visitor_id) if event.visitor_id else None
        shown: Seen | None = None
        if visitor_key:
            whose = Whose(self._installation_key, snapshot.workspace.id, workspace, site)
            shown = seen.of(done, raw, visitor_key, whose, now)
        post, fate = None, snapshot.fate(event, now)
        if event.is_bot:
            fate = sales.skipped(fate, BOT)
        elif event.order is not None:
            post = sales.post_of(event, raw, site)
            if post is None or not post.counts:
                fate = sales.judged(fate, event, post)
        pending = Pending(
            key,
            snapshot,
            event,
            dedup.key(workspace, space, id_, filed_name if is_velaro else event.name),
            dedup.body_hash(event),
            _encode(event),
            done.sealed,
            visitor_key,
            shown,
            fate,
            raw,
            names,
            fate,
            (),
            post,
            installation_key=self._installation_key,
            user_id=done.readable.get("user_id"),
        )
        _weigh(pending, snapshot, place, goal)
        return pending


def judge_again(pending: Pending, snapshot: Snapshot, now: datetime) -> None:
    """The configuration moved: whether the key still opens, the name and the site are still taken, and what the
    destinations of today will do."""
    pending.snapshot = snapshot
    if pending.whole is not None:
        pending.whole.restore(pending)
    try:
        if refusal := snapshot.refuse(pending.key, now):
            raise refusal
        raw, key = pending.raw, pending.key
        _check_name(raw, snapshot, pending.names)
        goal = _goal(raw, key, snapshot) if raw.goal_id is not None else None
        place = _place(raw, key, snapshot, goal)
    except Rejected as refusal:
        pending.result = refusal
    else:
        event, fate = pending.event, snapshot.fate(pending.event, now)
        if event.is_bot:
            fate = sales.skipped(fate, BOT)
        else:
            pending.post = sales.post_of(event, raw, place.site if place is not None else None)
            fate = sales.judged(fate, event, pending.post)
        pending.fate = pending.settled = fate
        _weigh(pending, snapshot, place, goal)


def _weigh(pending: Pending, snapshot: Snapshot, place: Place | None, goal: Goal | None) -> None:
    """What an event comes to: the goals that it fulfils, the one that it names alone, and whether a plan counts it."""
    event = pending.event
    if place is None or event.is_bot:
        return
    pending.goals = (goal,) if goal is not None else place.fulfilled(event)
    pending.is_billable = not event.is_test and (event.dialect == "velaro" or snapshot.is_billable(event.name))
    pending.caps = place.caps if pending.is_billable else ()


def _goal(raw: RawEvent, key: ApiKey, snapshot: Snapshot) -> Goal:
    """The goal that an event names. Raises Forbidden for one of another site, Invalid for one that cannot be."""
    goal = snapshot.goals.get(raw.goal_id or 0)
    if goal is not None and key.site_id not in (None, goal.site_id):
        raise Forbidden(f"The goal {raw.goal_id} belongs to another site than the API key.", field="goal_id")
    if goal is None or not goal.active:
        raise Invalid(
            f"There is no active goal {raw.goal_id}: look up its number, and whether it is disabled.", field="goal_id"
        )
    return goal


def _check_name(raw: RawEvent, snapshot: Snapshot, names: frozenset[str] | None) -> None:
    """Whether there is such an event, and it bears what the workspace demands of it. Raises Invalid."""
    if (own := snapshot.event_types.get(raw.name)) is not None:
        own.demand(raw)
    elif names is not None and raw.name not in names:
        known = ", ".join(sorted(names | snapshot.event_types.keys()))
        raise Invalid(f"There is no event {raw.name!r}; there are {known}.", field="event")


def check_origin(site: Site, origin: str) -> None:
    """Raises Forbidden for a page that the site does not name."""
    if site.allowed_origins and origin not in site.allowed_origins:
        raise Forbidden("This origin is not among the site's allowed_origins.")


def _place(raw: RawEvent, key: ApiKey, snapshot: Snapshot, goal: Goal | None) -> Place | None:
    """The key's site, else the named one, else the named goal's, else the visitor's, else the workspace's first."""
    if raw.organization_id is not None and raw.organization_id not in snapshot.organization_ids:
        raise Forbidden("This organization_id is not that of the API key's workspace.", field="organization_id")
    named = None
    if raw.site_key:
        named = snapshot.places_by_key.get(raw.site_key)
        if named is None or key.site_id not in (None, named.site.id):
            raise Forbidden("This site_key does not belong to the API key.", field="site_key")
    if key.site_id is not None:
        place = snapshot.places.get(key.site_id)
        if raw.browser is not None and place is not None:
            check_origin(place.site, raw.browser.origin)
        return place
    met = snapshot.places.get(raw.visitor_site_id) if raw.visitor_site_id is not None else None
    return named or (snapshot.places.get(goal.site_id) if goal else None) or met or snapshot.first_place
