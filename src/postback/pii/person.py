"""A person as events name one, for erasure and export: what ties an event to somebody, and what is left of it without.

Everything here is a MAC under the installation's key (see `seal.link_key`), so that what is kept about an erasure names
nobody. Kinds: `email` and `external_id` (a user id is one) name a person; `phone`, `session`, `visitor`, `order` only
lead to one: a line or a browser may be shared, and others may post of an order.
"""

from collections.abc import Iterable, Mapping, Set
from hashlib import sha256
from uuid import UUID

from msgspec import Struct

from postback.event import Event, Order, RawUser
from postback.pii import normalise
from postback.pii.identify import identify
from postback.pii.seal import link_key

ERASED = "erased"
NAMES = frozenset({"email", "external_id"})
BROWSER = frozenset({"session", "visitor"})
# Ways to write the same address.
_VARIANTS = {
    "email": ("email_sha256", "email_google_sha256"),
    "phone": ("phone_sha256", "phone_digits_sha256"),
    "external_id": ("external_id_sha256",),
}
# Another's may read so too (dots dropped everywhere, an id in lower case): they name somebody where they stand alone.
# Kind, to the hash's name and a kind of its own.
_ALONE = {
    "email": ("email_nodots_sha256", "email nodots"),
    "external_id": ("external_id_lower_sha256", "external lower"),
}

# One identifier: its kind and the MACs of the ways to write it.
Trace = tuple[str, tuple[bytes, ...]]


class Maker(Struct, frozen=True):
    """Makes the MACs of one workspace."""

    installation_key: bytes
    workspace: bytes

    def mac(self, kind: str, value: str) -> bytes:
        return link_key(self.installation_key, self.workspace, kind, value)

    def of_visitor(self, key: bytes) -> bytes:
        """`key`: that of the visitor's row."""
        return self.mac("visitor", key.hex())

    def of_order(self, key: bytes) -> bytes:
        """`key`: that of the order's row."""
        return self.mac("order", key.hex())

    def of_digest(self, digest: str) -> set[bytes]:
        """Of a hash that may be anything's."""
        return {self.mac(kind, digest) for kind in (*_VARIANTS, *(kind for _, kind in _ALONE.values()))}

    def of_user(self, user: Mapping[str, str]) -> list[Trace]:
        """Of hashes by identifier name."""
        traces: list[Trace] = []
        for kind, names in _VARIANTS.items():
            if digests := [user[name] for name in names if name in user]:
                traces.append((kind, tuple(self.mac(kind, digest) for digest in dict.fromkeys(digests))))
            elif alone := self._alone(kind, user):
                traces.append((kind, alone))
        return traces

    def all_of_user(self, user: Mapping[str, str]) -> list[Trace]:
        """The same, and how each would stand alone: by what else a person may be found."""
        return [(kind, tuple(dict.fromkeys(macs + self._alone(kind, user)))) for kind, macs in self.of_user(user)]

    def _alone(self, kind: str, user: Mapping[str, str]) -> tuple[bytes, ...]:
        name, own_kind = _ALONE.get(kind, ("", ""))
        return (self.mac(own_kind, user[name]),) if name in user else ()

    def of_event(self, event: Event, visitor_keys: Iterable[bytes], user_id: str | None) -> list[Trace]:
        """`user_id`: the readable one, where it could be read."""
        traces = self.of_user(event.user)
        if user_id:
            own = self.mac("external_id", normalise.hashed_already(user_id) or sha256(user_id.encode()).hexdigest())
            if all(own not in macs for _, macs in traces):
                traces.append(("external_id", (own,)))
        if event.session_id:
            traces.append(("session", (self.mac("session", event.session_id),)))
        traces += [("visitor", (self.of_visitor(key),)) for key in visitor_keys]
        return traces


def hashes(kind: str, value: str, country: str | None) -> dict[str, str]:
    """By name, those of an identifier as somebody wrote it, in clear or as its SHA-256; none where it is no such thing.
    `country`: of phones without a plus. A visitor is not asked for here: his row's key names him."""
    return identify(RawUser(**{kind: value}), country, [], keep_email=False).hashed


def digests(text: str, country: str | None) -> dict[str, str]:
    """Hashes by name: what an event bears of an email, a phone or a user id, in clear or as its SHA-256."""
    found: dict[str, str] = {}
    for kind, names in _VARIANTS.items():
        hashed = hashes(kind, text, country)
        found |= {name: hashed[name] for name in names if name in hashed}
    return found


def belongs(traces: Iterable[Trace], seeds: Set[bytes], known: Set[bytes]) -> tuple[bool, bool]:
    """Whether something is the person's, and whether what else it names is theirs too.

    `seeds`: what was asked for. `known`: that, and what was found to be theirs. What names somebody by an email or an
    id that is not the person's is another one's, though it shares a browser, a phone or an account.
    """
    ours: set[str] = set()
    is_foreign = False
    for kind, macs in traces:
        if not seeds.isdisjoint(macs):
            return True, True
        if not known.isdisjoint(macs):
            ours.add(kind)
        elif kind in NAMES:
            is_foreign = True
    if is_foreign or not ours:
        return False, False
    return True, bool(ours & (NAMES | BROWSER))


def stripped(event: Event, id_: UUID) -> Event:
    """What is kept of an erased event: what happened, when, on which site, and what it was worth. Its id is ours."""
    status = event.order.status if event.order else None
    return Event(
        event_id=str(id_),
        name=event.name,
        source_name=event.source_name,
        occurred_at=event.occurred_at,
        dialect=event.dialect,
        action_source=event.action_source,
        site_id=event.site_id,
        goal_id=event.goal_id,
        value=event.value,
        order=Order(status=status) if status else None,
        is_test=event.is_test,
        notes=(ERASED,),
    )
