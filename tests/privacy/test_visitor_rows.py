"""What an erasure leaves of visitors' rows: what was denied there, and what is somebody else's."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from postback import destinations
from postback.connectors import Skipped
from postback.db import Tx
from postback.delivery import prepare
from postback.event import Consent
from postback.privacy.people import Kind
from postback.queue import sending
from tests.intake.taking import scalar
from tests.privacy.erasable import EMAIL_HASH, JANE, PERSON, PHONE_HASH, Erasable, everything, forms

DENIED = Skipped("consent: denied by the visitor")
NO = Consent(ad_user_data=False, analytics=True)
BOB = {"email": "bob@x.example"}
DEVICE = {"client_ip_address": "203.0.113.9", "client_user_agent": "UA/1"}
SALE: dict[str, Any] = {"url": "https://shop.example/x", "amount": Decimal(5), "currency": "EUR"}
LEFT = "SELECT array_agg(k ORDER BY k) FROM visitor, jsonb_object_keys(identifiers) k"


@pytest.fixture
async def meta(hub: Erasable) -> UUID:
    return await hub.add_destination("meta", dataset_id="1", access_token="t" * 20)


async def built(hub: Erasable, tx: Tx, id_: UUID, destination_id: UUID) -> prepare.Built:
    """What would go out for an event now."""
    rows = await sending.events(tx, [id_.bytes])
    known = (await prepare.join(tx, list(rows.values()), hub.vault))[id_.bytes]
    destination = await destinations.read(tx, hub.vault.sealer, hub.workspace.id, destination_id)
    assert known is not None
    return prepare.build(known, destination, hub.vault, datetime.now(UTC))


async def test_what_was_denied_in_the_persons_browser_holds_for_who_shares_it(
    hub: Erasable, tx: Tx, meta: UUID
) -> None:
    bob = await hub.put("b", BOB | DEVICE, visitor_id="v-jane", **SALE)
    await hub.put("e1", **PERSON | {"consent": NO})
    done = await hub.erase("email", JANE["email"])
    assert (done.removed["visitors"], str(bob) in await hub.erased()) == (1, False)
    later = await hub.put("b2", BOB | DEVICE, visitor_id="v-jane", **SALE)
    assert [await built(hub, tx, id_, meta) for id_ in (bob, later)] == [DENIED, DENIED]


@pytest.mark.parametrize(("kind", "value"), [("email", JANE["email"]), ("visitor_id", "v-jane")])
async def test_of_the_persons_browser_nothing_stays_but_what_was_denied(
    hub: Erasable, tx: Tx, kind: Kind, value: str
) -> None:
    await hub.put("e1", **PERSON | {"consent": NO})
    done = await hub.erase(kind, value)
    assert (done.removed["visitors"], done.removed["visitors_narrowed"]) == (1, 0)
    assert await scalar(tx, LEFT) == ["consent.ad_user_data"]
    assert await scalar(tx, "SELECT (id, sealed, device)::text FROM visitor") == "(,,)"
    text = await everything(tx)
    planted = ("v-jane", "s-jane", "jane-click", EMAIL_HASH, "order-of-jane")
    assert not [needle for needle in planted for form in forms(needle) if form in text]


async def test_a_browser_in_which_nothing_was_denied_goes_whole(hub: Erasable, tx: Tx) -> None:
    await hub.put("e1", **PERSON | {"consent": Consent(ad_user_data=True)})
    await hub.erase("email", JANE["email"])
    assert await scalar(tx, "SELECT count(*) FROM visitor") == 0


async def test_what_was_denied_in_a_browser_that_bore_the_phone_alone_holds(hub: Erasable, tx: Tx, meta: UUID) -> None:
    phone = {"phone": JANE["phone"]}
    await hub.put("n1", {"email": JANE["email"]} | phone, visitor_id="v1")
    await hub.put("n2", phone, visitor_id="v2")
    waits = await hub.put("n3", DEVICE, visitor_id="v2", **SALE)
    await hub.put("n4", name="consent", visitor_id="v2", consent=NO)
    done = await hub.erase("email", JANE["email"])
    assert (done.removed["visitors"], str(waits) in await hub.erased()) == (2, False)
    assert await built(hub, tx, waits, meta) == DENIED


async def test_what_was_denied_holds_for_who_comes_back_to_the_browser_since(hub: Erasable, tx: Tx, meta: UUID) -> None:
    await hub.put("e1", {"email": JANE["email"]}, visitor_id="v1")
    await hub.put("e2", JANE)
    await hub.put("e3", {"external_id": "cust-7"}, visitor_id="v2", click_ids={"gclid": "janes"}, consent=NO)
    asked = await hub.ask("email", JANE["email"])
    bob = await hub.put("b", BOB | DEVICE, visitor_id="v2", **SALE)  # v2 is found to be hers on the way
    done = await hub.finish(asked.id)
    assert (done.removed["visitors"], done.removed["visitors_narrowed"]) == (1, 1)
    assert await scalar(tx, "SELECT array_agg(id) FROM visitor") == ["v2"]
    backwards = "SELECT count(*) FROM visitor, jsonb_each(identifiers) n WHERE n.value -> 2 < n.value -> 1"
    assert await scalar(tx, backwards) == 0
    assert await scalar(tx, LEFT) == [
        "consent.ad_user_data", "email_google_sha256", "email_nodots_sha256", "email_sha256",
    ]  # fmt: skip
    assert await built(hub, tx, bob, meta) == DENIED


async def test_a_browser_that_somebody_else_shares_keeps_what_is_theirs(hub: Erasable, tx: Tx) -> None:
    phone = {"phone": JANE["phone"], "first_name": "Jane"}
    await hub.put("e1", {"email": JANE["email"]}, visitor_id="tablet", session_id="s-jane")
    await hub.put("e2", phone, visitor_id="tablet")
    bob = await hub.put("b", BOB, visitor_id="tablet", session_id="s-bob", click_ids={"gclid": "bobs-click"})
    counted = await hub.count("email", JANE["email"])
    done = await hub.erase("email", JANE["email"])
    assert (done.removed["visitors"], done.removed["visitors_narrowed"]) == (0, 1)
    assert (counted.visitors, len(counted.events)) == (0, done.removed["events"])
    assert str(bob) not in await hub.erased()
    assert await scalar(tx, LEFT) == ["email_google_sha256", "email_nodots_sha256", "email_sha256", "gclid"]
    assert await scalar(tx, "SELECT array_agg(kind ORDER BY kind) FROM link") == ["email", "session"]
    assert not [form for form in (*forms(EMAIL_HASH), *forms(PHONE_HASH)) if form in await everything(tx)]


async def test_who_uses_a_shared_browser_while_the_erasure_runs_keeps_what_is_theirs(hub: Erasable, tx: Tx) -> None:
    await hub.put("e1", {"email": JANE["email"]}, visitor_id="tablet")
    await hub.put("e2", {"phone": JANE["phone"]}, visitor_id="tablet")
    await hub.put("b", BOB, visitor_id="tablet", click_ids={"gclid": "bobs-click"})
    asked = await hub.ask("email", JANE["email"])
    await hub.put("b2", BOB, visitor_id="tablet")
    await hub.finish(asked.id)
    assert await scalar(tx, LEFT) == ["email_google_sha256", "email_nodots_sha256", "email_sha256", "gclid"]
    assert await scalar(tx, "SELECT array_agg(kind ORDER BY kind) FROM link") == ["email"]


async def test_a_browser_whose_name_is_found_to_be_the_persons_goes(hub: Erasable, tx: Tx) -> None:
    phone, second = {"phone": JANE["phone"]}, {"email": "jane@work.example"}
    await hub.put("e1", phone | second, visitor_id="v1")
    await hub.put("e2", second | {"phone": "+14155550199"}, visitor_id="v1")
    counted = await hub.count("phone", JANE["phone"])
    done = await hub.erase("phone", JANE["phone"])
    assert (counted.visitors, done.removed["visitors"]) == (1, 1)
    assert [await scalar(tx, f"SELECT count(*) FROM {table}") for table in ("visitor", "link")] == [0, 0]


async def test_a_shared_browser_is_no_longer_proved_to_be_the_persons(hub: Erasable, tx: Tx) -> None:
    for n, (user, visitor_id) in enumerate([(JANE, "janes"), (JANE, "tablet"), (BOB, "tablet"), (BOB, "bobs")]):
        await hub.put(f"e{n}", {"email": user["email"]}, visitor_id=visitor_id)
    keys = dict(await (await tx.execute("SELECT id, key FROM visitor")).fetchall())
    await hub.erase("email", JANE["email"])
    aliases = "SELECT array_agg(visitor_key ORDER BY visitor_key) FROM link WHERE kind = 'alias' AND others IS NULL"
    assert await scalar(tx, aliases) == sorted([keys["tablet"], keys["bobs"]])
    emails = (
        "SELECT array_agg(a) FROM (SELECT unnest(visitor_key || others) a FROM link WHERE kind = 'email' ORDER BY 1) l"
    )
    assert await scalar(tx, emails) == sorted([keys["tablet"], keys["bobs"]])


@pytest.mark.parametrize("is_shared", [True, False])
async def test_what_was_readable_of_the_person_goes_with_what_is_narrowed(
    hub: Erasable, tx: Tx, is_shared: bool
) -> None:
    """Of a row that another shares; and of one that is found to be the person's while another is there already."""
    await hub.put("e1", {"email": JANE["email"]}, visitor_id="v1")
    await hub.put("e2", JANE)
    hers = JANE if is_shared else {"external_id": "cust-7"}
    await hub.put("e3", hers | {"user_id": "login-7"}, visitor_id="v2")
    await tx.execute("UPDATE visitor SET device = sealed, device_at = sealed_at WHERE id = 'v2'")
    if is_shared:
        await hub.put("b", BOB | {"external_id": "bob-1"}, visitor_id="v2")
    asked = await hub.ask("email", JANE["email"])
    if not is_shared:
        await hub.put("b", BOB, visitor_id="v2")
    done = await hub.finish(asked.id)
    assert done.removed["visitors_narrowed"] == 1
    rows = "SELECT sealed IS NULL, device IS NULL FROM visitor WHERE id = 'v2'"
    assert await (await tx.execute(rows.encode())).fetchone() == (True, not is_shared)


async def test_another_workspaces_visitor_that_bears_the_phone_is_not_touched(hub: Erasable, tx: Tx) -> None:
    phone = {"phone": JANE["phone"]}
    other = Erasable(hub.pool, hub.dsn)
    other.vault, other.directory, other.judge = hub.vault, hub.directory, hub.judge
    await other.install()
    await hub.put("e1", {"email": JANE["email"]} | phone, visitor_id="v1")
    other.writer = hub.writer
    for visitor_id, user in [("v2", phone), ("v3", phone | BOB)]:
        await other.put(visitor_id, user, visitor_id=visitor_id)
    theirs = "SELECT array_agg(v::text ORDER BY v::text) FROM visitor v WHERE id <> 'v1'"
    before = await scalar(tx, theirs)
    await hub.erase("email", JANE["email"])
    assert await scalar(tx, theirs) == before


async def test_of_an_erased_event_stays_which_goal_it_was_sent_for(hub: Erasable) -> None:
    goal = await hub.add_goal("Leads", events=["lead"])
    await hub.put("e1", JANE, name="lead", goal_id=goal.id)
    await hub.erase("email", JANE["email"])
    assert [body["goal_id"] for body in (await hub.bodies()).values()] == [goal.id]


async def test_two_shared_browsers_are_no_longer_proved_to_be_one_by_the_person(hub: Erasable, tx: Tx) -> None:
    for n in (1, 2):
        await hub.put(f"j{n}", {"email": JANE["email"]}, visitor_id=f"tablet{n}")
        await hub.put(f"o{n}", {"email": f"other{n}@x.example"}, visitor_id=f"tablet{n}")
    aliases = "SELECT count(*) FROM link WHERE kind = 'alias'"
    assert await scalar(tx, aliases) == 2
    await hub.erase("email", JANE["email"])
    assert await scalar(tx, aliases) == 0
