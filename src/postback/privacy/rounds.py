"""What is a person's is learned in rounds over all events, from what was asked for alone.

What a round finds beside is theirs in the next, as long as all of it together is no more than a single person's: else
it is many people's, and none of it is taken. The first round takes nothing but what bears what was asked for, so that
all that came along with it is counted before it costs anybody anything. Each round but the last learns a name, a phone
or a visitor, of which there are few, or sessions, that lead to these: so there is a last.
"""

from collections.abc import Sequence

from postback import visitors
from postback.db import Tx
from postback.pii.person import Maker, belongs
from postback.privacy.people import Found, Person
from postback.visitors import links

# More of one kind beside what was asked for is no single person's: a shop's own address, a shared browser.
SHARED_BY = {"email": 10, "phone": 10, "external_id": 10, "visitor": 50}
MOST_SESSIONS = 2000  # a browser has as many as it likes: more of them lead no further


async def begin(tx: Tx, person: Person, maker: Maker) -> tuple[Person, bool]:
    """Who is looked for first: `person` as `people.meant` gave it, with what the rows of its visitors name; and whether
    that is many people's, so that it is what was asked for alone."""
    found = Person(person.seeds, {}, [])
    if await _widen(tx, person, found, person.visitors, maker):
        return person.asked(maker), True
    person.join(found, maker)
    return person, False


def learn(person: Person, found: Person, events: Sequence[Found], maker: Maker) -> bool:
    """What events of the person name beside goes into `found`. Whether that is many people's."""
    if not events:
        return False
    sessions = set(person.known.get("session", ()))
    for one in events:
        if one.spreads:
            is_full = len(sessions) + len(found.known.get("session", ())) >= MOST_SESSIONS
            traces = [
                (kind, macs)
                for kind, macs in one.traces
                if kind != "session" or (not is_full and sessions.isdisjoint(macs))
            ]
            found.add([*maker.all_of_user(one.event.user), *traces], one.visitor_keys, maker)
    return is_shared(person, found)


async def take(tx: Tx, person: Person, found: Person, maker: Maker) -> bool:
    """What a round found is the person's too, and what the rows of its visitors name. False: it is many people's, and
    nothing was taken."""
    if await _widen(tx, person, found, [key for key in found.visitors if key not in person.visitors], maker):
        return False
    person.join(found, maker)
    return True


def is_last(person: Person, found: Person, *, is_first: bool) -> bool:
    """Whether a round took all there is to take: it found nothing new, and held nothing back."""
    known = person.macs()
    return found.macs() <= known and not (is_first and known != set(person.seeds))


def is_shared(person: Person, found: Person) -> bool:
    """Whether more is known beside what was asked for, and was found, than is a single person's."""
    seeds, known = set(person.seeds), person.macs()
    return any(
        sum(seeds.isdisjoint(macs) for macs in person.identifiers.get(kind, ()))
        + sum(known.isdisjoint(macs) for macs in found.identifiers.get(kind, ()))
        > most
        for kind, most in SHARED_BY.items()
    )


async def _widen(tx: Tx, person: Person, found: Person, visitor_keys: Sequence[bytes], maker: Maker) -> bool:
    """Into `found` goes what the rows of some visitors name, and visitors that are proved to be the same ones; neither
    where it names somebody else, or did before: what such a row bears may be of two people. Whether this is many
    people's, those somebody elses included."""
    _, twins = await links.find(tx, (), visitor_keys) if visitor_keys else ({}, {})
    own = set(visitor_keys)
    others = sorted({key for keys in twins.values() for key in keys} - own - set(person.visitors))
    rows = await visitors.find(tx, [*visitor_keys, *others]) if own else {}
    named, known = Person(person.seeds, {}, []), person.macs() | found.macs()
    for key, visitor in rows.items():
        user = {name: one.value for name, one in visitor.identifiers.items()}
        traces, itself = maker.of_user(user), ("visitor", (maker.of_visitor(key),))
        if key in own:
            named.add(traces, [], maker)
        is_asked = itself[1][0] in person.seeds
        if not is_asked and links.has_others(visitor.people, ((kind, macs[0]) for kind, macs in traces)):
            continue
        if belongs([*traces, itself], set(person.seeds), known | set(itself[1]))[1]:
            found.add(maker.all_of_user(user), [key], maker)
            known |= found.macs()
    named.join(found, maker)
    return is_shared(person, named)
