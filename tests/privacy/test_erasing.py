"""Erasure: what is the person's goes, what is another's stays, and what was counted stays counted."""

import hashlib
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from postback.db import Tx, buckets
from postback.db.trip import Trip
from postback.errors import Invalid
from postback.event import RawUser
from postback.privacy import erasing, receipt, rounds
from postback.privacy.people import Kind
from postback.visitors import links
from tests.intake.taking import scalar
from tests.privacy.erasable import EMAIL_HASH, JANE, PERSON, PHONE_HASH, Erasable, everything, forms


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("email", "jane.doe@gmail.com"),
        ("email", "janedoe+news@gmail.com"),
        ("email", hashlib.sha256(b"jane.doe@gmail.com").hexdigest()),
        ("phone", "+1 415 555-0123"),
        ("phone", hashlib.sha256(b"14155550123").hexdigest()),
        ("external_id", "cust-7"),
        ("user_id", "cust-7"),
        ("user_id", "login-7"),
        ("external_id", "login-7"),
        ("visitor_id", "v-jane"),
    ],
)
async def test_a_person_is_erased_by_whatever_names_them(hub: Erasable, tx: Tx, kind: Kind, value: str) -> None:
    await hub.add_goal("Purchases", events=["purchase"])
    mine = await hub.put("event-of-jane", **PERSON, amount=Decimal(40), currency="EUR")
    other = await hub.put("o", {"email": "bob@x.example"}, visitor_id="v-bob", order_id="of-bob")
    before = (await hub.bodies())[str(other)]
    done = await hub.erase(kind, value)
    assert await hub.erased() == {str(mine)}
    assert (await hub.bodies())[str(other)] == before
    assert {name: done.removed[name] for name in ("events", "visitors", "deliveries_cancelled", "conversions")} == {
        "events": 1, "visitors": 1, "deliveries_cancelled": 1, "conversions": 2,
    }  # fmt: skip
    text = await everything(tx)
    hashed = [hashlib.sha256(v.encode()).hexdigest() for v in ("jane.doe@gmail.com", "+14155550123", "cust-7", "jane")]
    planted = ["v-jane", "s-jane", "jane-click", "order-of-jane", "jane-page", "jane-note", "event-of-jane", *hashed]
    assert not [needle for needle in planted for form in forms(needle) if form in text]
    assert "v-bob" in text or b"v-bob".hex() in text


@pytest.mark.parametrize(
    ("kind", "value", "name", "alone"),
    [
        ("email", "bob.fox@x.example", "email_nodots_sha256", "bobfox@x.example"),
        ("email", "bob.fox@gmail.com", "email_google_sha256", "bobfox@gmail.com"),
        ("phone", "+1 415 555-0123", "phone_digits_sha256", "14155550123"),
        ("external_id", "Cust-7", "external_id_lower_sha256", "cust-7"),
        ("user_id", "Cust-7", "external_id_lower_sha256", "cust-7"),
    ],
)
async def test_a_person_is_found_by_a_hash_of_another_form_that_stands_alone(
    hub: Erasable, tx: Tx, kind: Kind, value: str, name: str, alone: str
) -> None:
    digest = hashlib.sha256(alone.encode()).hexdigest()
    await hub.put("a", hashes={name: digest}, visitor_id="v9")
    await hub.put("v", visitor_id="v9", session_id="s9")
    counted, found = await hub.count(kind, value), await hub.export(kind, value)
    await hub.erase(kind, value)
    ids = set(await hub.bodies())
    assert await hub.erased() == ids == {one["id"] for one in found["events"]} == {str(id_) for id_ in counted.events}
    assert not [form for form in (*forms(digest), *forms("v9")) if form in await everything(tx)]


async def test_a_hash_of_another_form_that_stands_alone_is_found_by_what_was_said_beside_the_main_one(
    hub: Erasable,
) -> None:
    ids = [await hub.put("a", {"email": "bob.fox@x.example", "phone": JANE["phone"], "external_id": "Cust-7"})]
    for name, alone in [("email_nodots_sha256", "bobfox@x.example"), ("external_id_lower_sha256", "cust-7")]:
        ids.append(await hub.put(name, hashes={name: hashlib.sha256(alone.encode()).hexdigest()}))
    await hub.erase("phone", JANE["phone"])
    late = await hub.put(
        "late",
        hashes={"email_nodots_sha256": hashlib.sha256(b"bobfox@x.example").hexdigest()},
        occurred_at=datetime.now(UTC) - timedelta(minutes=5),
    )
    assert await hub.erased() == {str(id_) for id_ in (*ids, late)}


async def test_a_hash_of_another_form_beside_the_main_one_names_nobody_else(hub: Erasable) -> None:
    """Two addresses that differ in a dot are two people's, outside of gmail."""
    await hub.put("a", {"email": "bob.fox@x.example"})
    other = await hub.put("b", {"email": "bobfox@x.example"})
    upper = await hub.put("c", {"external_id": "CUST-7"})
    await hub.erase("email", "bob.fox@x.example")
    await hub.erase("external_id", "cust-7")
    assert not await hub.erased() & {str(other), str(upper)}


async def test_what_is_counted_stays_as_it_was(hub: Erasable, tx: Tx) -> None:
    await hub.add_goal("Purchases", events=["purchase"])
    await hub.put("e1", **PERSON, amount=Decimal(40), currency="EUR")
    counts = "SELECT array_agg((writer, hour, destination_id, n)::text ORDER BY 1) FROM usage"
    worth = "SELECT array_agg((id, goal_id, order_key, value, currency, occurred_at)::text ORDER BY id) FROM conversion"
    before = [await scalar(tx, query) for query in (counts, worth)]
    assert await hub.erase("email", JANE["email"])
    assert [await scalar(tx, query) for query in (counts, worth)] == before
    assert await hub.fates() == [("skipped", "erased")]
    assert await hub.is_balanced(hub.destination)
    body = next(iter((await hub.bodies()).values()))
    assert (body["name"], body["value"]["amount"]) == ("purchase", "40.00")


async def test_what_the_person_is_named_by_beside_is_theirs_too(hub: Erasable) -> None:
    email, phone, account = {"email": "a@x.example"}, {"phone": "+14155550100"}, {"external_id": "acc"}
    theirs = [
        await hub.put("view", visitor_id="v1", session_id="s1"),
        await hub.put("by-session", session_id="s1", dialect="selektable"),
        await hub.put("signup", email, visitor_id="v1"),
        await hub.put("call", email | phone),
        await hub.put("by-phone", phone),
        await hub.put("login", account, visitor_id="v1"),
        await hub.put("by-account", account, visitor_id="v2"),
        await hub.put("other-browser", visitor_id="v2"),
    ]
    await hub.erase("email", "a@x.example")
    assert await hub.erased() == {str(id_) for id_ in theirs}


@pytest.mark.parametrize(
    "shared", [{"visitor_id": "family"}, {"user": {"phone": "+14155550100"}}, {"session_id": "kiosk"}]
)
async def test_who_shares_a_browser_or_a_phone_is_somebody_else(hub: Erasable, shared: dict[str, Any]) -> None:
    common = shared.get("user", {})
    fields = {name: value for name, value in shared.items() if name != "user"}
    mine = await hub.put("a", {"email": "a@x.example"} | common, **fields)
    await hub.put("b", {"email": "b@x.example"} | common, **fields)
    await hub.put("b2", {"email": "b@x.example"})
    await hub.erase("email", "a@x.example")
    assert await hub.erased() == {str(mine)}


async def test_what_many_share_leads_to_nobody(hub: Erasable) -> None:
    phone = {"phone": "+14155550100"}
    own = [await hub.put(f"c{n}", phone | {"email": f"c{n}@x.example"}) for n in range(12)]
    await hub.put("elsewhere", {"email": "c3@x.example"})
    done = await hub.erase("phone", phone["phone"])
    assert await hub.erased() == {str(id_) for id_ in own}
    assert done.receipt is not None
    assert '"shared":true' in done.receipt


@pytest.mark.parametrize(("count", "is_shared"), [(10, False), (11, True)])
async def test_of_what_many_share_identifiers_are_counted_however_they_are_written(
    hub: Erasable, count: int, is_shared: bool
) -> None:
    account = {"external_id": "acc"}
    for n in range(count):
        # A phone is hashed in two ways; these addresses are one at Google.
        address = "janedoe"[: n % 6 + 1] + "." + "janedoe"[n % 6 + 1 :]
        await hub.put(f"e{n}", account | {"phone": f"+141555501{n:02}", "email": f"{address}@gmail.com"})
    own = await hub.put("p", {"phone": "+14155550100"})
    done = await hub.erase("external_id", "acc")
    assert f'"shared":{str(is_shared).lower()}' in str(done.receipt)
    assert (str(own) in await hub.erased()) is not is_shared


async def test_what_is_known_already_is_not_counted_in_another_spelling(
    hub: Erasable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(rounds.SHARED_BY, "phone", 0)
    await hub.put("e1", {"phone": JANE["phone"]})
    done = await hub.erase("phone", PHONE_HASH)
    assert '"shared":false' in str(done.receipt)


async def test_rows_of_visitors_past_the_limit_of_a_link_lose_what_was_asked_for(hub: Erasable, tx: Tx) -> None:
    email = {"email": JANE["email"]}
    waiting = [await hub.pending(event_id=f"e{n}", user=RawUser(**email), visitor_id=f"v{n}") for n in range(53)]
    await hub.submit(waiting)
    await hub.put("mine", visitor_id="v0", click_ids={"gclid": "click"})
    done = await hub.erase("email", email["email"])
    assert done.receipt is not None
    assert '"visitors_narrowed":53' in done.receipt
    assert EMAIL_HASH not in await everything(tx)
    assert await scalar(tx, "SELECT count(*) FROM visitor") == 53


async def test_a_visitor_that_bore_nothing_but_the_persons_phone_goes_with_its_events(hub: Erasable, tx: Tx) -> None:
    phone = {"phone": JANE["phone"]}
    await hub.put("n1", {"email": JANE["email"]} | phone, visitor_id="v1")
    await hub.put("n2", phone | {"first_name": "Jane"}, visitor_id="v2", session_id="s2")
    done = await hub.erase("email", JANE["email"])
    assert (done.removed["events"], done.removed["visitors"]) == (2, 2)
    assert [await scalar(tx, f"SELECT count(*) FROM {table}") for table in ("visitor", "link")] == [0, 0]
    await hub.put("n3", visitor_id="v2")
    assert await scalar(tx, "SELECT identifiers::text FROM visitor") == "{}"


async def test_of_many_visitors_that_bore_the_phone_the_others_stay_without_it(
    hub: Erasable, tx: Tx, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(rounds.SHARED_BY, "visitor", 2)
    phone = {"phone": JANE["phone"]}
    await hub.put("n1", {"email": JANE["email"]} | phone, visitor_id="v1")
    for n in range(2, 7):
        await hub.put(f"n{n}", phone, visitor_id=f"v{n}")
    counted = await hub.count("email", JANE["email"])
    done = await hub.erase("email", JANE["email"])
    assert [done.removed[name] for name in ("events", "visitors", "visitors_narrowed")] == [6, 3, 3]
    assert counted.visitors == 3
    assert await scalar(tx, "SELECT array_agg(DISTINCT identifiers::text) FROM visitor") == ["{}"]


async def test_a_visitor_of_somebody_else_keeps_their_names_alone(hub: Erasable, tx: Tx) -> None:
    phone, bob = {"phone": JANE["phone"]}, {"email": "bob@x.example"}
    await hub.put("n1", {"email": JANE["email"]} | phone, visitor_id="v1")
    await hub.put("n2", phone | {"first_name": "Jane"}, visitor_id="v2", click_ids={"gclid": "click"})
    await hub.put("n3", bob, visitor_id="v2")
    await hub.put("n4", bob | {"phone": "+14155550199"}, visitor_id="v3")
    before = "SELECT identifiers::text FROM visitor WHERE id = 'v3'"
    other = await scalar(tx, before)
    done = await hub.erase("email", JANE["email"])
    assert [done.removed[name] for name in ("events", "visitors", "visitors_narrowed")] == [2, 1, 1]
    kept = "SELECT array_agg(k ORDER BY k) FROM visitor, jsonb_object_keys(identifiers) k WHERE id = 'v2'"
    assert await scalar(tx, kept) == ["email_google_sha256", "email_nodots_sha256", "email_sha256", "gclid"]
    assert await scalar(tx, before) == other


async def test_what_a_new_person_says_in_such_a_visitor_since_stays(hub: Erasable, tx: Tx) -> None:
    phone = {"phone": JANE["phone"]}
    await hub.put("n1", {"email": JANE["email"]} | phone, visitor_id="v1")
    await hub.put("n2", phone, visitor_id="v2", session_id="s2")
    asked = await hub.ask("email", JANE["email"])
    await hub.put("n3", {"email": "bob@x.example"}, visitor_id="v2", session_id="s3")
    await hub.finish(asked.id)
    rows = "SELECT array_agg(k ORDER BY k) FROM visitor, jsonb_object_keys(identifiers) k"
    assert await scalar(tx, rows) == ["email_google_sha256", "email_nodots_sha256", "email_sha256"]
    assert await scalar(tx, "SELECT array_agg(kind ORDER BY kind) FROM link") == ["email", "session"]


async def test_another_workspaces_person_is_not_touched(hub: Erasable) -> None:
    await hub.put("e1", **PERSON)
    theirs = Erasable(hub.pool, hub.dsn)
    theirs.vault = hub.vault
    await theirs.install()
    await theirs.erase("email", JANE["email"])
    assert await hub.erased() == set()
    late = await hub.put("late", **PERSON, occurred_at=datetime.now(UTC) - timedelta(hours=1))
    assert str(late) not in await hub.erased()


async def test_what_was_sent_is_blanked_and_what_is_under_way_is_never_written(hub: Erasable, tx: Tx) -> None:
    id_ = await hub.put("e1", **PERSON)
    sent = "INSERT INTO attempt VALUES (%s, %s, %s, %s, now(), %s, 'said jane', 200, 5, 'POST x', 'jane', 'jane')"
    key = (buckets.of_id(id_), id_, hub.destination)
    for n, outcome in ((1, "retry"), (2, None)):
        await tx.execute(sent, (*key, n, outcome))
    await hub.erase("email", JANE["email"])
    rows = await (await tx.execute("SELECT outcome, status, reason, head, request, response FROM attempt")).fetchall()
    assert sorted(rows) == [("retry", 200, None, None, None, None), ("unknown", 200, None, None, None, None)]
    assert await hub.fates() == [("skipped", erasing.PERHAPS)]


async def test_a_receipt_says_what_was_removed_and_names_nobody(hub: Erasable) -> None:
    await hub.put("e1", **PERSON)
    done = await hub.erase("email", JANE["email"])
    assert done.receipt is not None
    assert done.signature is not None
    shown = receipt.shown(hub.vault.link_key, done.receipt, done.signature)
    assert receipt.is_genuine(hub.vault.link_key, shown)
    assert '"events":1' in shown.text
    assert not [value for value in (*JANE.values(), "v-jane") if value.lower() in shown.text.lower()]
    assert hashlib.sha256(b"jane.doe@gmail.com").hexdigest() not in shown.text
    forged = receipt.Receipt(shown.text.replace('"events":1', '"events":2'), shown.signature, shown.public_key)
    assert not receipt.is_genuine(hub.vault.link_key, forged)
    assert not receipt.is_genuine(bytes(32), shown)


@pytest.mark.parametrize(("kind", "value"), [("email", "nobody"), ("phone", "12"), ("email", " "), ("visitor_id", "")])
async def test_what_is_no_identifier_is_refused(hub: Erasable, kind: Kind, value: str) -> None:
    with pytest.raises(Invalid) as refused:
        await hub.ask(kind, value)
    assert refused.value.field == kind


async def test_an_export_holds_what_is_stored_and_what_is_sealed_opened(hub: Erasable) -> None:
    await hub.add_goal("Purchases", events=["purchase"])
    await hub.put("e1", **PERSON, amount=Decimal(40), currency="EUR")
    await hub.put("e2", {"phone": JANE["phone"]})
    await hub.put("o", {"email": "bob@x.example"})
    found = await hub.export("email", JANE["email"])
    first, second = sorted(found["events"], key=lambda one: one["id"])
    assert first["event"]["order"]["id"] == "order-of-jane"
    assert first["readable"]["client_ip_address"] == "198.51.100.7"
    assert [c["value"] for c in first["conversions"]] == [40, 40]
    assert [d["status"] for d in first["deliveries"]] == ["queued"]
    assert second["event"]["event_id"] == "e2"
    assert found["visitors"][0]["identifiers"]["fbclid"]["value"] == "jane-click"
    assert found["visitors"][0]["readable"]["user_id"] == "login-7"
    assert found["links"] >= 4
    await hub.erase("email", JANE["email"])
    assert await hub.export("email", JANE["email"]) == {"events": [], "visitors": [], "touches": [], "links": 0}


async def test_an_export_holds_all_that_an_erasure_removes(hub: Erasable) -> None:
    """Also the visitor that bore the phone and no name, and what was posted of an order without saying whose it is."""
    phone = {"phone": JANE["phone"]}
    first = await hub.take(await hub.order("pending", user=RawUser(email=JANE["email"], phone=JANE["phone"])))
    later = await hub.take(await hub.order("completed"))
    await hub.put("n2", phone, visitor_id="v2", click_ids={"gclid": "her-click"})
    await hub.put("n3", {"email": "bob@x.example"} | phone, visitor_id="v3", order_id="bobs")
    found = await hub.export("email", JANE["email"])
    done = await hub.erase("email", JANE["email"])
    assert {one["id"] for one in found["events"]} == await hub.erased()
    assert {str(UUID(bytes=one.id)) for one in (first, later)} < {one["id"] for one in found["events"]}
    assert [one["id"] for one in found["visitors"]] == ["v2"]
    assert done.removed["visitors"] == 1


async def test_what_brought_a_visitor_goes_and_whom_they_shared_with_keeps_theirs(hub: Erasable, tx: Tx) -> None:
    await hub.put("a", {"email": "a@x.example"}, visitor_id="a-own", session_id="s-a1")
    await hub.put("a2", {"email": "a@x.example"}, visitor_id="tablet", session_id="s-a2")
    await hub.put("b", {"email": "b@x.example"}, visitor_id="tablet", session_id="s-b")
    keys = dict(await (await tx.execute("SELECT id, key FROM visitor")).fetchall())
    for n, (id_, session_id) in enumerate([("a-own", "s-a1"), ("tablet", "s-a2"), ("tablet", "s-b")]):
        await tx.execute(
            "INSERT INTO touch (bucket, visitor_key, id, workspace_id, kind, session_id, at)"
            "     VALUES (%s, %s, %s, %s, 'session', %s, now())",
            (
                buckets.of_key(keys[id_].bytes), keys[id_], UUID(int=buckets.floor(datetime.now(UTC)).int + n),
                hub.workspace.id, session_id,
            ),
        )  # fmt: skip
    done = await hub.erase("email", "a@x.example")
    assert done.removed["touches"] == 2
    assert await scalar(tx, "SELECT array_agg(session_id) FROM touch") == ["s-b"]
    left = await (await tx.execute("SELECT kind, visitor_key, others FROM link ORDER BY kind")).fetchall()
    assert left == [("email", keys["tablet"], None), ("session", keys["tablet"], None)]


async def test_a_visitor_proved_to_be_the_same_is_erased_too(hub: Erasable, tx: Tx) -> None:
    first = await hub.put("shop", visitor_id="v1")
    second = await hub.put("checkout", visitor_id="v2")
    keys = await (await tx.execute("SELECT visitor_key FROM event ORDER BY id")).fetchall()
    (a,), (b,) = keys
    trip = Trip(tx, set())
    links.record(trip, links.both_ways(a.bytes, b.bytes, b"via" * 6, "tag", datetime.now(UTC)), datetime.now(UTC))
    await trip.run()
    await hub.erase("visitor_id", "v1")
    assert await hub.erased() == {str(first), str(second)}
    assert await scalar(tx, "SELECT count(*) FROM link") == 0


async def test_what_a_platform_said_of_them_goes_and_what_is_ours_stays(hub: Erasable, tx: Tx) -> None:
    reasons = {
        "failed": "Meta's error 100 (33): bad em jane-quoted",
        "gave up": "gave up: answered 503: jane-quoted is not known",
        "noted": "sent without value; jane-quoted",
        "skipped": "consent denied: ad_user_data",
    }
    ids = {name: await hub.put(name, {"email": JANE["email"]}) for name in reasons}
    for name, reason in reasons.items():
        status = {"noted": "delivered", "skipped": "skipped"}.get(name, "failed")
        await tx.execute(
            "UPDATE delivery SET status = %s, reason = %s, fix = 'jane-quoted', settled_at = now() WHERE event_id = %s",
            (status, reason, ids[name]),
        )
    await tx.execute("UPDATE delivery SET fix = NULL WHERE status = 'skipped'")
    await hub.erase("email", JANE["email"])
    found = [reason for _, reason in await hub.fates()]
    assert found == [
        "Meta's error 100 (33)",
        "gave up: answered 503",
        "sent without value",
        "consent denied: ad_user_data",
    ]
    assert "jane-quoted" not in await everything(tx)
