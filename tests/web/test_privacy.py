"""Erasures and exports over HTTP."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from postback.db import Pool
from postback.installation import open_vault
from postback.privacy import erasing, exporting
from postback.web.admin import privacy

ERASURES, EXPORTS = "/v1/admin/privacy/erasures", "/v1/admin/privacy/exports"
JANE = {"email": "jane@secret.example"}


async def post(served: Any, event_id: str, **fields: object) -> None:
    event = {"event": "purchase", "event_id": event_id, "user_data": JANE, "visitor_id": "v-jane", **fields}
    assert (await served.call("POST", "/v1/events", event))[0] == 202


async def finish(served: Any, pool: Pool, id_: str) -> Any:
    """An erasure, to its end."""
    async with pool.connection() as tx:
        vault = await open_vault(tx, served.settings)
        tools = erasing.Tools(vault.sealer, vault.link_key, timedelta(0))
        while await erasing.step(tx, UUID(id_), tools, datetime.now(UTC)):
            pass
    return (await served.call("GET", f"{ERASURES}/{id_}"))[1]


async def test_an_erasure_is_asked_for_listed_and_read_and_names_nobody(served: Any) -> None:
    await post(served, "e1")
    status, made = await served.call("POST", ERASURES, JANE)
    assert (status, made["status"], made["asked_by"], made["receipt"]) == (201, "running", "email", None)
    assert made["removed"]["visitors"] == 1
    _, again = await served.call("POST", ERASURES, JANE)
    assert (
        (await served.call("GET", f"{ERASURES}/{made['id']}"))[1] == again == made | {"changed_at": again["changed_at"]}
    )
    _, listed = await served.call("GET", ERASURES)
    assert [one["id"] for one in listed["items"]] == [made["id"]]
    _, audit = await served.call("GET", "/v1/admin/audit?noun=erasure")
    assert [(one["action"], one["noun_id"], one["after"]["asked_by"]) for one in audit["items"]] == [
        ("created", made["id"], "email")
    ]
    assert "jane" not in str([made, listed, audit]).lower()


async def test_an_erased_event_and_order_are_not_found_by_what_the_sender_called_them(served: Any, pool: Pool) -> None:
    await post(served, "e/1", order_id="o-1", value=5, currency="EUR")
    _, events = await served.call("GET", "/v1/admin/events?event_id=e/1")
    [event] = events["items"]
    _, made = await served.call("POST", ERASURES, JANE)
    await finish(served, pool, made["id"])
    for path in ("events/e%2F1", "events/o-1", "admin/events/e%2F1", "admin/orders/o-1"):
        assert (await served.call("GET", f"/v1/{path}"))[0] == 404, path
    for path in ("events?event_id=e/1", "events?order_id=o-1", "orders?order_id=o-1", "conversions?order_id=o-1"):
        assert (await served.call("GET", f"/v1/admin/{path}"))[1]["items"] == [], path
    for text in ("e/1", "o-1"):
        assert (await served.call("POST", "/v1/admin/find", {"q": text}))[1]["items"] == []
    assert (await served.call("GET", f"/v1/admin/events/{event['id']}"))[1]["notes"] == ["erased"]
    status, again = await served.call("POST", "/v1/events", {"event": "purchase", "event_id": "e/1", "user_data": JANE})
    assert (status, again["status"]) == (202, "duplicate")


async def test_an_export_is_the_whole_of_it_and_is_written_down(served: Any) -> None:
    await post(served, "e1", properties={"size": "M"})
    await post(served, "other", user_data={"email": "bob@x.example"}, visitor_id="v-bob")
    status, found = await served.call("POST", EXPORTS, JANE)
    assert status == 201
    assert [(one["event"]["event_id"], one["event"]["properties"]) for one in found["events"]] == [
        ("e1", {"size": "M"})
    ]
    assert len(found["visitors"]) == 1
    _, audit = await served.call("GET", "/v1/admin/audit?noun=export")
    assert len(audit["items"]) == 1
    assert "jane" not in str(audit).lower()


async def test_one_export_is_sent_at_a_time(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = asyncio.Event()

    async def slow(*_: object) -> AsyncIterator[bytes]:
        yield b"{"
        await go_on.wait()
        yield b"}"

    monkeypatch.setattr(exporting, "export", slow)
    headers = {"Authorization": f"Bearer {served.keys.admin_key}"}
    async with served.http.post(served.url + EXPORTS, json=JANE, headers=headers) as first:
        assert (first.status, await first.content.read(1)) == (201, b"{")
        async with served.http.post(served.url + EXPORTS, json=JANE, headers=headers) as second:
            assert (second.status, int(second.headers["Retry-After"]) > 0) == (503, True)
        go_on.set()
        assert await first.read() == b"}"
    assert await served.call("POST", EXPORTS, JANE) == (201, {})
    go_on.clear()
    async with served.http.post(served.url + EXPORTS, json=JANE, headers=headers) as left:
        await left.content.read(1)
        left.close()
    while (await served.call("POST", EXPORTS, {"email": "no address"}))[0] == 503:
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("path", [ERASURES, EXPORTS])
@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "email"),
        ({"email": "a@x.example", "phone": "+14155550100"}, "phone"),
        ({"email": "no address"}, "email"),
        ({"name": "Jane"}, "name"),
    ],
)
async def test_a_person_is_named_by_exactly_one_usable_identifier(
    served: Any, path: str, body: dict[str, str], field: str
) -> None:
    status, answer = await served.call("POST", path, body)
    assert (status, answer["error"]["field"]) == (422, field), answer


async def test_only_a_key_that_may_erase_erases_and_exports(served: Any) -> None:
    _, admin = await served.call("POST", "/v1/admin/keys", {"label": "a", "scopes": ["admin", "read"]})
    _, eraser = await served.call("POST", "/v1/admin/keys", {"label": "e", "scopes": ["erase"]})
    for path in (ERASURES, EXPORTS):
        assert (await served.call("POST", path, JANE, key=admin["key"]))[0] == 403
        assert (await served.call("POST", path, JANE, key=eraser["key"]))[0] == 201
    assert (await served.call("GET", ERASURES, key=admin["key"]))[0] == 403


async def test_a_phone_without_a_plus_is_of_the_first_sites_country(served: Any) -> None:
    _, sites = await served.call("GET", "/v1/admin/sites")
    await served.call("PATCH", f"/v1/admin/sites/{sites['items'][0]['id']}", {"country": "US"})
    _, with_plus = await served.call("POST", ERASURES, {"phone": "+14155550100"})
    assert (await served.call("POST", ERASURES, {"phone": "(415) 555-0100"}))[1]["subject"] == with_plus["subject"]


async def test_an_erased_event_is_found_by_our_id_and_shows_nobody(served: Any, pool: Pool) -> None:
    await post(served, "e1", order_id="order-of-jane", value=9, currency="EUR")
    _, made = await served.call("POST", ERASURES, JANE)
    done = await finish(served, pool, made["id"])
    assert (done["status"], done["percent"], done["removed"]["events"]) == ("done", 100, 1)
    _, events = await served.call("GET", "/v1/admin/events")
    status, seen = await served.call("GET", f"/v1/events/{events['items'][0]['id']}")
    assert (status, seen["event"]) == (200, "purchase")
    _, one = await served.call("GET", f"/v1/admin/events/{events['items'][0]['id']}")
    assert (one["notes"], one["value"], one["identifiers"]) == (["erased"], 9, {})
    _, conversions = await served.call("GET", "/v1/admin/conversions")
    assert [(c["value"], c["order_id"], c["visitor_id"]) for c in conversions["items"]] == [(9, None, None)]
    assert "order-of-jane" not in str([seen, events, one, conversions])


async def test_a_dry_run_says_whom_it_would_be_and_erases_nothing(served: Any) -> None:
    await post(served, "e1")
    await post(served, "e2", user_data={"phone": "+14155550100"})
    await post(served, "other", user_data={"email": "bob@x.example"}, visitor_id="v-bob")
    status, meant = await served.call("POST", ERASURES, JANE | {"dry_run": True})
    # e2 came from the browser in which she was seen.
    assert (status, meant) == (200, {"visitors": 1, "events": 2, "complete": True})
    assert (await served.call("GET", ERASURES))[1]["items"] == []
    assert (await served.call("GET", "/v1/admin/audit?noun=erasure"))[1]["items"] == []
    _, nobody = await served.call("POST", ERASURES, {"email": "nobody@x.example", "dry_run": True})
    assert nobody == {"visitors": 0, "events": 0, "complete": True}


async def test_a_dry_run_counts_what_is_erased_afterwards(served: Any, pool: Pool) -> None:
    phone, account = {"phone": "+14155550100"}, {"external_id": "acc"}
    await post(served, "account", user_data=account, visitor_id="v-3")
    await post(served, "phone", user_data=phone, visitor_id="v-2")
    await post(served, "both", user_data=JANE | phone | account, order_id="of-jane")
    await post(served, "refund", event="refund", user_data={}, visitor_id="v-4", order_id="of-jane")
    await post(served, "other", user_data={"email": "bob@x.example"} | phone, visitor_id="v-bob")
    _, meant = await served.call("POST", ERASURES, JANE | {"dry_run": True})
    _, made = await served.call("POST", ERASURES, JANE)
    removed = (await finish(served, pool, made["id"]))["removed"]
    assert meant == {"visitors": removed["visitors"], "events": removed["events"], "complete": True}
    assert (removed["visitors"], removed["events"], removed["visitors_narrowed"]) == (3, 4, 1)


async def test_a_dry_run_that_ran_out_of_time_says_so(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    await post(served, "e1")
    monkeypatch.setattr(privacy, "COUNT_SECONDS", 0.0)
    _, meant = await served.call("POST", ERASURES, JANE | {"dry_run": True})
    assert not meant["complete"]
