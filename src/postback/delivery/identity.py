"""Whose a stored event is: the visitors that it is joined with, by how they were found, the best first.

    visitor   the one whose id it was sent with, then those that are proved to be the same person
    session   those that were seen in its session
    link      without a visitor id: those that were seen with its user id, its email, its phone, in this order

Two look-ups for any number of events: of links, then of visitors. Visitors of one kind count as one, whose identifiers
are the latest seen. A link of too many visitors, and a visitor in whom too many people were seen, join nobody; see
`visitors.links`. A visitor who bears another user id or another email than the event (where it bears none: than the
first of these visitors who does) is another person: in the event's own browser and session it gives only what is the
browser's, elsewhere nothing but its denials; one who bears the same of one and another of the other gives what is the
browser's, too. Of several who were named in a browser one after the other the last gives what was said since, and
nothing to an event that names somebody of whom the row does not tell. A click that was first seen after the event had
come led to something else, and is not given. Nothing here depends on the order in which the facts arrived, but for when
a value was first seen that came back after another.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from msgspec import Struct, structs

from postback import pii, visitors
from postback.db import Tx, buckets
from postback.event import CLICK_PARAMETERS, HASHED, PURPOSES, VARIANTS, WAY, Consent, Event
from postback.queue.sending import StoredEvent
from postback.visitors import LATEST_MS, Identifier, Visitor, links

_PROOFS = (("external_id", "external_id_sha256"), ("email", "email_sha256"))
_PROVING = tuple(VARIANTS[name] for _, name in _PROOFS)
_WITHHOLDING = frozenset({"analytics", "ad_user_data"})
_CLICKS = frozenset((*CLICK_PARAMETERS, "fbc", "gcl_aw"))
# Browsers' clocks are corrected no closer.
_WAY_MS = WAY // timedelta(milliseconds=1)
_LINKED = (*_PROOFS, ("phone", "phone_sha256"))


class Layer(Struct, frozen=True):
    """Visitors that were found one way; `origin`: visitor, session or link."""

    origin: str
    visitors: tuple[Visitor, ...]

    @property
    def identifiers(self) -> dict[str, Identifier]:
        if len(self.visitors) == 1:
            return self.visitors[0].identifiers
        return visitors.merged(visitor.identifiers for visitor in self.visitors)

    @property
    def sealed(self) -> list[bytes]:
        """Their readable identifiers, the device's before what was sent, the latest first."""
        devices = [(v.device_at, v.device) for v in self.visitors if v.device_at and v.device]
        said = [(v.sealed_at, v.sealed) for v in self.visitors if v.sealed_at and v.sealed]
        return [blob for _, blob in sorted(devices, reverse=True) + sorted(said, reverse=True)]


class _Question(Struct):
    """What is looked up of one event: its visitor, then link keys by how they find."""

    visitor_key: bytes | None
    links: list[tuple[bytes, str]]
    user: dict[str, str]
    is_session_first: bool = False


async def find(
    tx: Tx, rows: Sequence[StoredEvent], events: Sequence[Event | None], link_key: bytes
) -> dict[bytes, tuple[Layer, ...]]:
    """Layers by event id. Reads only."""
    asked = {row.id: _question(row, event, link_key) for row, event in zip(rows, events, strict=True) if event}
    keys = {key for one in asked.values() for key, _ in one.links}
    own = {one.visitor_key for one in asked.values() if one.visitor_key is not None}
    linked, twins = await links.find(tx, sorted(keys), sorted(own)) if keys or own else ({}, {})
    wanted = own.union(*linked.values(), *twins.values())
    rows_ = await visitors.find(tx, sorted(wanted)) if wanted else {}
    if not rows_:
        return dict.fromkeys(asked, ())
    several = {key: visitor for key, visitor in rows_.items() if _named_others(visitor, link_key)}
    found = rows_ | {key: _of_last_named(visitor) for key, visitor in several.items()}
    return {row.id: _layers(asked[row.id], row, linked, twins, found, several) for row in rows if row.id in asked}


def _question(row: StoredEvent, event: Event, link_key: bytes) -> _Question:
    question = _Question(row.visitor_key, [], event.user)
    if event.session_id:
        question.links.append((pii.link_key(link_key, row.workspace_id, "session", event.session_id), "session"))
    if row.visitor_key is None:
        for kind, name in _LINKED:
            if digest := event.user.get(name):
                question.links.append((pii.link_key(link_key, row.workspace_id, kind, digest), "link"))
        if event.dialect == "velaro" and event.session_id:
            # Its `visitorId` names a session, else a visitor.
            question.visitor_key = visitors.key_of(UUID(bytes=row.workspace_id), event.session_id)
            question.is_session_first = True
    return question


def _layers(
    asked: _Question,
    row: StoredEvent,
    linked: dict[bytes, list[bytes]],
    twins: dict[bytes, list[bytes]],
    found: dict[bytes, Visitor],
    several: Mapping[bytes, Visitor],
) -> tuple[Layer, ...]:
    ways = [(origin, linked.get(key, ())) for key, origin in asked.links]
    if (own := asked.visitor_key) is not None:
        ways[asked.is_session_first : asked.is_session_first] = [("visitor", [own]), ("visitor", twins.get(own, ()))]
    until = int.from_bytes(row.id[:6]) + _WAY_MS
    layers: list[Layer] = []
    used: set[bytes] = set()
    for origin, keys in ways:
        here = [
            _until(found[key], until)
            for key in keys
            if key in found
            and key not in used
            and found[key].workspace_id.bytes == row.workspace_id
            and (key == own or origin == "session" or not found[key].is_shared)
        ]
        used.update(visitor.key.bytes for visitor in here)
        if here:
            layers.append(Layer(origin, tuple(here)))
    if not layers or (not asked.user and len(used) == 1):
        return tuple(layers)
    at_hand = {own, *(key for link, origin in asked.links if origin == "session" for key in linked.get(link, ()))}
    return _without_others(layers, asked.user, at_hand, several)


def _named_others(visitor: Visitor, link_key: bytes) -> bool:
    """Whether a row bore other names than it bears."""
    if visitor.people == 0:
        return False
    known, workspace_id = visitor.identifiers, visitor.workspace_id.bytes
    return links.has_others(
        visitor.people,
        (
            (kind, pii.link_key(link_key, workspace_id, kind, known[name].value))
            for kind, name in _PROOFS
            if name in known
        ),
    )


def _of_last_named(visitor: Visitor) -> Visitor:
    """What was said since the names came up that it bears: what is older may be others'. The first times of a row
    depend on the order of arrival, the last do not."""
    known = visitor.identifiers
    since = max((known[name].last_ms for _, name in _PROOFS if name in known), default=LATEST_MS)
    identifiers = {name: one for name, one in known.items() if name not in HASHED or one.last_ms >= since}
    is_older = visitor.sealed_at is None or visitor.sealed_at.timestamp() * 1000 < since
    sealed, sealed_at = (None, None) if is_older else (visitor.sealed, visitor.sealed_at)
    return structs.replace(visitor, identifiers=identifiers, sealed=sealed, sealed_at=sealed_at)


def _until(visitor: Visitor, ms: int) -> Visitor:
    later = [name for name, one in visitor.identifiers.items() if ms < one.first_ms < LATEST_MS and name in _CLICKS]
    if not later:
        return visitor
    return structs.replace(visitor, identifiers={n: one for n, one in visitor.identifiers.items() if n not in later})


def _without_others(
    layers: list[Layer], user: Mapping[str, str], at_hand: Collection[bytes | None], several: Mapping[bytes, Visitor]
) -> tuple[Layer, ...]:
    """Where one of the visitors is another person than the event's, only who bears what the event bears gives hashes of
    personal data, and what was sent readable. `at_hand`: the event's own browser, and those of its session; `several`:
    those that named others before, with all that they bear."""
    own = _names(user) or next((names for layer in layers if (names := _last_names(layer))), [])
    whose = {v.key: _whose(v, own, several) for layer in layers for v in layer.visitors}
    if not any(is_others for _, is_others in whose.values()):
        return tuple(layers)
    given: list[Layer] = []
    for layer in layers:
        here: list[Visitor] = []
        for visitor in layer.visitors:
            is_theirs, is_others = whose[visitor.key]
            if is_theirs and not is_others:
                here.append(visitor)
            elif is_theirs or not is_others or visitor.key.bytes in at_hand:
                here.append(_browser_of(visitor))
            elif denials := visitors.denials(visitor.identifiers):
                here.append(Visitor(visitor.key, visitor.workspace_id, denials, None))
        if here:
            given.append(Layer(layer.origin, tuple(here)))
    return tuple(given)


def _names(user: Mapping[str, str]) -> list[dict[str, str]]:
    """What proves somebody a person: the variants of each such field."""
    return [known for variants in _PROVING if (known := {name: user[name] for name in variants if name in user})]


def _last_names(layer: Layer) -> list[dict[str, str]]:
    """Those of the visitor whose name came up last."""
    latest: tuple[int, bytes] = (0, b"")
    names: list[dict[str, str]] = []
    for visitor in layer.visitors:
        known = visitor.identifiers
        if borne := _names({name: one.value for name, one in known.items()}):
            at = max(known[name].last_ms for variants in borne for name in variants), visitor.key.bytes
            latest, names = (at, borne) if at > latest else (latest, names)
    return names


def _whose(visitor: Visitor, own: Sequence[Mapping[str, str]], several: Mapping[bytes, Visitor]) -> tuple[bool, bool]:
    """Whether a visitor bears a name of the person's; and another's, or perhaps, since it named others before."""
    alike = [_alike(visitor, known) for known in own]
    whole = several.get(visitor.key.bytes)
    if not own or whole is None or True in alike or False in alike:
        return True in alike, False in alike
    return any(_alike(whole, known) for known in own), True


def _alike(visitor: Visitor, known: Mapping[str, str]) -> bool | None:
    """Whether a visitor bears the same of one field; None: nothing to compare. One equal variant is enough: of what was
    sent as a hash all of them are that."""
    borne = visitor.identifiers
    both = [borne[name].value == value for name, value in known.items() if name in borne]
    return any(both) if both else None


def of_another(
    gaps: Mapping[str, Identifier], identifiers: Mapping[str, Identifier], user: Mapping[str, str]
) -> list[str]:
    """Which hashes of a visitor's would make a field two people's, beside those that are known (`user`)."""
    # Almost always all of them were seen together, or all variants of a field.
    if not user and len({one.last_ms for one in gaps.values()}) == 1:
        return []
    doubtful = {
        variants
        for name, one in gaps.items()
        if (variants := VARIANTS.get(name)) is not None
        and (
            (first := identifiers.get(variants[0])) is None
            or first.last_ms != one.last_ms
            or (user and not user.keys().isdisjoint(variants))
        )
    }
    return [
        name
        for variants in doubtful
        for name in variants
        if name in gaps and not _is_of_one(name, variants, identifiers, user)
    ]


def _is_of_one(
    name: str, variants: Sequence[str], identifiers: Mapping[str, Identifier], user: Mapping[str, str]
) -> bool:
    """Of a field that is known a visitor gives more only if it bears a variant of that, the same; and what it gives was
    seen together with that, else with the latest that it bears."""
    known = [other for other in variants if other in user]
    borne = [other for other in known or variants if other in identifiers]
    if not borne or (known and not any(identifiers[other].value == user[other] for other in borne)):
        return False
    own, latest = identifiers[name], max((identifiers[other] for other in borne), key=lambda one: one.last_ms)
    return own.first_ms == latest.first_ms or own.last_ms == latest.last_ms


def _browser_of(visitor: Visitor) -> Visitor:
    identifiers = {name: one for name, one in visitor.identifiers.items() if name not in HASHED}
    return structs.replace(visitor, identifiers=identifiers, sealed=None, sealed_at=None)


def allowed(layers: tuple[Layer, ...], choice: Consent | None) -> tuple[Layer, ...]:
    """What they may give: nothing that a purpose covers which was denied."""
    if choice is None or not choice.denies(_WITHHOLDING):
        return layers
    return tuple(Layer(layer.origin, tuple(_allowed(v, choice) for v in layer.visitors)) for layer in layers)


def _allowed(visitor: Visitor, choice: Consent) -> Visitor:
    identifiers = {name: one for name, one in visitor.identifiers.items() if not choice.withholds(name)}
    id_, device = (visitor.id, visitor.device) if choice.analytics is not False else (None, None)
    if choice.ad_user_data is not False:
        return structs.replace(visitor, identifiers=identifiers, id=id_)
    return structs.replace(visitor, identifiers=identifiers, id=id_, sealed=None, sealed_at=None, device=device)


def consent(event: Event, id_: bytes, layers: Sequence[Layer]) -> Consent | None:
    """What holds of each purpose: denied where the event denies it, else the latest choice, of two at once the
    denial. None was made after it arrived, as its id tells, whatever time the event bears."""
    if not layers:
        return event.consent
    choices: dict[str, list[tuple[datetime, bool]]] = {}
    for layer in layers:
        for visitor in layer.visitors:
            for purpose, (may, at) in visitors.consent(visitor.identifiers).items():
                choices.setdefault(purpose, []).append((at, not may))
    chosen: dict[str, bool] = {}
    for purpose in PURPOSES:
        own: bool | None = getattr(event.consent, purpose, None)
        if own is not None:
            at = min(event.occurred_at, buckets.time_of(UUID(bytes=id_)))
            choices.setdefault(purpose, []).append((at, not own))
        if known := choices.get(purpose):
            chosen[purpose] = own is not False and not max(known)[1]
    return Consent(**chosen) if chosen else None
