"""What many people bore is no single person's: it goes from wherever it stands, and takes none of them with it."""

from datetime import UTC, datetime
from typing import Any

import pytest

from postback.db import Tx
from postback.privacy import erasing, rounds
from postback.privacy.people import Kind
from tests.intake.taking import scalar
from tests.privacy.erasable import Erasable, everything, forms

SHOP = {"email": "till@shop.example", "phone": "+14155550100"}
EACH: list[Kind] = ["email", "phone"]


def customer(n: int, kind: str) -> dict[str, Any]:
    """Who gave the shop's own address at the till, in a browser of their own."""
    name = {"external_id": f"u{n}"} if kind == "email" else {"email": f"c{n}@x.example"}
    return {"user": {kind: SHOP[kind]} | name, "visitor_id": f"v{n}", "session_id": f"s{n}"}


async def come(hub: Erasable, kind: str, count: int, bare: int = 0) -> tuple[set[str], set[str]]:
    """So many customers, the last `bare` of them without a browser: events that bear what is the shop's, and others."""
    own, theirs = set[str](), set[str]()
    for n in range(count):
        fields = customer(n, kind)
        name = {field: value for field, value in fields["user"].items() if value != SHOP[kind]}
        if n >= count - bare:
            fields = {"user": fields["user"]}
        own.add(str(await hub.put(f"till{n}", **fields)))
        theirs.add(str(await hub.put(f"later{n}", name)))
        theirs.add(str(await hub.put(f"view{n}", visitor_id=f"v{n}", click_ids={"gclid": f"click-{n}"})))
    return own, theirs


@pytest.mark.parametrize("kind", EACH)
@pytest.mark.parametrize("bare", [0, 9, 12])
async def test_what_many_bore_takes_none_of_them_with_it(hub: Erasable, kind: Kind, bare: int) -> None:
    own, _ = await come(hub, kind, 15, bare)
    counted = await hub.count(kind, SHOP[kind])
    done = await hub.erase(kind, SHOP[kind])
    assert '"shared":true' in str(done.receipt)
    assert await hub.erased() == own == {str(id_) for id_ in counted.events}


async def test_rows_of_visitors_lose_what_many_bore_and_nothing_else(hub: Erasable, tx: Tx) -> None:
    await come(hub, "email", 15)
    counted = await hub.count("email", SHOP["email"])
    done = await hub.erase("email", SHOP["email"])
    assert (counted.visitors, done.removed.get("visitors", 0), done.removed["visitors_narrowed"]) == (0, 0, 15)
    bore = "SELECT array_agg(DISTINCT k ORDER BY k) FROM visitor, jsonb_object_keys(identifiers) k"
    assert await scalar(tx, bore) == ["external_id_lower_sha256", "external_id_sha256", "gclid"]
    kinds = "SELECT array_agg(kind || ' ' || n ORDER BY kind) FROM (SELECT kind, count(*) n FROM link GROUP BY 1) l"
    assert await scalar(tx, kinds) == ["external_id 15", "session 15"]
    assert not [form for form in forms(SHOP["email"]) if form in await everything(tx)]


@pytest.mark.parametrize("bare", [0, 12])
async def test_an_export_of_what_many_bore_holds_nothing_else_of_them(hub: Erasable, bare: int) -> None:
    own, _ = await come(hub, "email", 15, bare)
    found = await hub.export("email", SHOP["email"])
    assert {one["id"] for one in found["events"]} == own
    assert (found["visitors"], found["touches"]) == ([], [])


async def test_an_address_that_led_to_browsers_of_many_others_is_nobodys(hub: Erasable) -> None:
    """Said once in each, by nobody: later each named somebody else."""
    own = {str(await hub.put(f"till{n}", {"email": SHOP["email"]}, visitor_id=f"v{n}")) for n in range(15)}
    for n in range(15):
        await hub.put(f"login{n}", {"email": f"c{n}@x.example"}, visitor_id=f"v{n}")
        await hub.put(f"view{n}", visitor_id=f"v{n}")
    done = await hub.erase("email", SHOP["email"])
    assert '"shared":true' in str(done.receipt)
    assert await hub.erased() == own


async def test_a_person_who_used_the_browser_of_many_is_erased_whole(hub: Erasable) -> None:
    await hub.put("j", {"email": "jane@x.example"}, visitor_id="kiosk")
    for n in range(15):
        await hub.put(f"c{n}", {"email": f"c{n}@x.example"}, visitor_id="kiosk")
        await hub.put(f"h{n}", {"email": f"c{n}@x.example"}, visitor_id=f"v{n}")
    hers = [await hub.put("acc", {"email": "jane@x.example", "external_id": "acc"})]
    hers.append(await hub.put("own", {"external_id": "acc"}))
    done = await hub.erase("email", "jane@x.example")
    assert '"shared":false' in str(done.receipt)
    assert {str(id_) for id_ in hers} < await hub.erased()


async def test_who_asks_again_for_what_many_bore_takes_none_of_them_either(hub: Erasable, tx: Tx) -> None:
    """What told that they are many is gone by then."""
    own, _ = await come(hub, "email", 15, bare=12)
    asked = await hub.ask("email", SHOP["email"])
    while await hub.erased() < own:
        await erasing.step(tx, asked.id, hub.tools, datetime.now(UTC))
    own.add(str(await hub.put("meanwhile", SHOP | {"external_id": "u0"}, visitor_id="v0")))
    await hub.erase("email", SHOP["email"])
    assert await hub.erased() == own


async def test_sessions_of_a_persons_own_browser_are_as_many_as_they_like(
    hub: Erasable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounds, "MOST_SESSIONS", 5)
    email = {"email": "a@x.example"}
    await hub.put("m", email, visitor_id="v1")
    await hub.put("acc", email | {"external_id": "acc"})
    own = {str(await hub.put("own", {"external_id": "acc"}))}
    own |= {str(await hub.put(f"s{n}", visitor_id="v1", session_id=f"s{n}")) for n in range(12)}
    bare = {str(await hub.put(f"b{n}", session_id=f"s{n}")) for n in range(12)}
    done = await hub.erase("email", "a@x.example")
    assert '"shared":false' in str(done.receipt)
    erased = await hub.erased()
    assert own < erased
    assert len(bare & erased) == 5


async def test_a_chain_is_followed_to_its_end(hub: Erasable) -> None:
    ids = [await hub.put("e0", {"email": "a@x.example"}, visitor_id="v0", session_id="s0")]
    for n in range(12):
        ids.append(await hub.put(f"a{n}", visitor_id=f"v{n + 1}", session_id=f"s{n}"))
        ids.append(await hub.put(f"b{n}", visitor_id=f"v{n + 1}", session_id=f"s{n + 1}"))
    all_ = {str(id_) for id_ in ids}
    counted, found = await hub.count("email", "a@x.example"), await hub.export("email", "a@x.example")
    done = await hub.erase("email", "a@x.example")
    assert '"shared":false' in str(done.receipt)
    assert await hub.erased() == all_ == {one["id"] for one in found["events"]} == {str(id_) for id_ in counted.events}


async def test_a_chain_of_more_than_a_persons_browsers_ends(hub: Erasable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(rounds.SHARED_BY, "visitor", 5)
    await hub.put("e0", {"email": "a@x.example"}, visitor_id="v0", session_id="s0")
    for n in range(12):
        await hub.put(f"a{n}", visitor_id=f"v{n + 1}", session_id=f"s{n}")
        await hub.put(f"b{n}", visitor_id=f"v{n + 1}", session_id=f"s{n + 1}")
    done = await hub.erase("email", "a@x.example")
    assert '"shared":true' in str(done.receipt)
    assert len(await hub.erased()) < 25


async def test_asked_again_while_it_runs_those_who_bore_it_since_are_proved_one_person_no_more(
    hub: Erasable, tx: Tx
) -> None:
    async def bear(*customers: int) -> None:
        for n in customers:
            await hub.put(f"a{n}", {"email": SHOP["email"]}, visitor_id=f"v{n}")
            await hub.put(f"b{n}", {"external_id": f"c{n}"}, visitor_id=f"v{n}")

    await bear(*range(14))
    first = await hub.ask("email", SHOP["email"])
    await bear(90, 91, 92)
    assert (await hub.ask("email", SHOP["email"])).id == first.id
    await hub.finish(first.id)
    assert await scalar(tx, "SELECT count(*) FROM link WHERE kind IN ('email', 'alias')") == 0
