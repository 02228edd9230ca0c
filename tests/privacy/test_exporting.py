"""What the one who asks is given, and what of somebody else is not."""

import hashlib
import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from postback.connectors import catalog
from postback.db import Tx, buckets
from postback.delivery import prepare
from postback.privacy import exporting, visitor_rows
from postback.queue import sending
from tests.intake.taking import scalar
from tests.privacy.erasable import EMAIL_HASH, JANE, Erasable

BOB = {"email": "bob@x.example", "user_id": "bobs-login", "client_ip_address": "203.0.113.9"}
EMAIL = {"email": JANE["email"]}


async def test_somebody_elses_post_of_the_order_is_shown_without_them(hub: Erasable) -> None:
    order = {"order_id": "gift-1", "currency": "EUR", "amount": Decimal(3)}
    first = await hub.put("e1", EMAIL, **order)
    bobs = await hub.put("bobs-refund", BOB, visitor_id="v-bob", click_ids={"gclid": "bobs"}, name="refund", **order)
    nobodys = await hub.put("e3", name="refund", properties={"why": "too small"}, **order)
    found = await hub.export("email", JANE["email"])
    shown = {one["id"]: one for one in found["events"]}
    assert shown.keys() == {str(first), str(bobs), str(nobodys)}
    without = shown[str(bobs)]
    assert (without["event"]["order"]["id"], without["event"]["name"]) == ("gift-1", "refund")
    assert (without["readable"], without["deliveries"]) == ({}, [])
    assert shown[str(nobodys)]["event"]["properties"] == {"why": "too small"}
    assert not [text for text in ("bob", "203.0.113.9") if text in json.dumps(found)]


async def test_a_post_that_turns_out_to_be_theirs_is_shown_whole(hub: Erasable) -> None:
    order = {"order_id": "gift-1", "currency": "EUR", "amount": Decimal(3)}
    await hub.put("e1", EMAIL, **order)
    await hub.put("e2", {"email": "jane@work.example"}, name="refund", **order)
    await hub.put("e3", EMAIL | {"external_id": "cust-7"})
    await hub.put("e4", {"external_id": "cust-7", "email": "jane@work.example"})
    found = await hub.export("email", JANE["email"])
    assert "user" not in next(one["event"] for one in found["events"] if one["event"]["name"] == "refund")
    found = await hub.export("external_id", "cust-7")
    assert all("user" in one["event"] for one in found["events"])
    assert len(found["events"]) == 4


async def test_of_a_shared_browser_only_what_is_theirs_is_shown(hub: Erasable, tx: Tx) -> None:
    phone = {"phone": JANE["phone"]}
    await hub.put("e1", EMAIL | phone, visitor_id="tablet", session_id="s-jane")
    await hub.put("e2", BOB, visitor_id="tablet", session_id="s-bob", click_ids={"gclid": "bobs-click"})
    key = await scalar(tx, "SELECT visitor_key FROM event LIMIT 1")
    assert isinstance(key, UUID)
    for session in ("s-jane", "s-bob"):
        await tx.execute(
            "INSERT INTO touch (bucket, visitor_key, id, workspace_id, kind, session_id, at) "
            "VALUES (%s, %s, %s, %s, 'session', %s, now())",
            (buckets.of_key(key.bytes), key, buckets.new_id(datetime.now(UTC)), hub.workspace.id, session),
        )
    found = await hub.export("email", JANE["email"])
    [row] = found["visitors"]
    assert (row["id"], row["readable"]) == ("tablet", {})
    assert {name.partition("_")[0] for name in row["identifiers"]} == {"phone"}
    assert [one["session_id"] for one in found["touches"]] == ["s-jane"]
    assert not [text for text in ("bobs", "203.0.113.9") if text in json.dumps(found)]
    assert EMAIL_HASH in json.dumps(found["events"])


async def test_an_export_holds_what_was_sent_and_why_it_ended_so(hub: Erasable, tx: Tx) -> None:
    id_ = await hub.put("e1", EMAIL)
    await tx.execute(
        "INSERT INTO attempt (bucket, event_id, destination_id, n, at, outcome, reason, head, response) "
        "SELECT bucket, event_id, destination_id, 1, now(), 'failed', 'answered 400', 'POST https://hook.example', 'no' "
        "  FROM delivery WHERE event_id = %s",
        (id_,),
    )
    found = await hub.export("email", JANE["email"])
    [attempt] = found["events"][0]["deliveries"][0]["attempts"]
    assert (attempt["reason"], attempt["head"]) == ("answered 400", "POST https://hook.example")


async def lent(hub: Erasable, tx: Tx, id_: UUID) -> dict[str, str]:
    """Hashes that an event goes out with now; the log has them."""
    rows = await sending.events(tx, [id_.bytes])
    known = (await prepare.join(tx, list(rows.values()), hub.vault))[id_.bytes]
    assert known is not None
    user = prepare.join_one(known, catalog()["webhook"], hub.vault, datetime.now(UTC)).user
    await tx.execute(
        "INSERT INTO attempt (bucket, event_id, destination_id, n, at, outcome, head, request, response) "
        "SELECT bucket, event_id, destination_id, 1, now(), 'delivered', 'POST https://hook.example', %s, 'ok' "
        "  FROM delivery WHERE event_id = %s",
        (json.dumps(user).encode(), id_),
    )
    return user


def attempts(found: Any, id_: UUID) -> Any:
    [event] = [one for one in found["events"] if one["id"] == str(id_)]
    return event["deliveries"][0]["attempts"]


@pytest.mark.parametrize("is_last", [False, True])
async def test_what_somebody_else_lent_to_what_the_person_did_is_not_shown(
    hub: Erasable, tx: Tx, *, is_last: bool
) -> None:
    """Whoever of the two was the last to name themselves in the browser."""
    await hub.put("j", EMAIL, visitor_id="v1")
    await hub.put("b", {"email": BOB["email"]}, visitor_id="v1")
    view = await hub.put("view", visitor_id="v1")
    bob = hashlib.sha256(BOB["email"].encode()).hexdigest()
    assert (await lent(hub, tx, view))["email_sha256"] == bob
    if is_last:
        await hub.put("j2", EMAIL, visitor_id="v1")
    found = await hub.export("email", JANE["email"])
    assert bob not in json.dumps(found)
    [attempt] = attempts(found, view)
    assert (attempt["outcome"], attempt["reason"], attempt["request"]) == ("delivered", exporting.LENT, None)


async def test_what_the_persons_own_browser_lent_is_shown(hub: Erasable, tx: Tx) -> None:
    await hub.put("j", JANE, visitor_id="v1")
    view = await hub.put("view", visitor_id="v1")
    user = await lent(hub, tx, view)
    await hub.put("j2", {"email": "jane@work.example", "external_id": "cust-7", "first_name": "J."}, visitor_id="v1")
    found = await hub.export("email", JANE["email"])
    [attempt] = attempts(found, view)
    assert json.loads(attempt["request"]) == user
    assert {name.partition("_")[0] for name in user} == {"email", "phone", "external", "first"}


@pytest.mark.parametrize("is_shared", [False, True])
async def test_all_that_a_person_opened_is_shown_and_goes(
    hub: Erasable, tx: Tx, monkeypatch: pytest.MonkeyPatch, *, is_shared: bool
) -> None:
    """However much it is; in a browser that somebody else uses, what they opened stays."""
    monkeypatch.setattr(exporting, "PAGE", 2)
    monkeypatch.setattr(visitor_rows, "TOUCHES", 2)
    for n in range(5):
        await hub.put(
            f"o{n}", EMAIL, name="open", visitor_id="v1", session_id="s-jane", properties={"product": f"p{n}"}
        )
        if is_shared:
            bobs = {"email": BOB["email"]}
            await hub.put(
                f"b{n}", bobs, name="open", visitor_id="v1", session_id="s-bob", properties={"product": "bobs"}
            )
    found = await hub.export("email", JANE["email"])
    assert [one["product"] for one in found["touches"]] == [f"p{n}" for n in range(4, -1, -1)]
    done = await hub.erase("email", JANE["email"])
    assert done.removed["touches"] == 5
    assert await scalar(tx, "SELECT array_agg(DISTINCT product) FROM touch") == (["bobs"] if is_shared else None)
