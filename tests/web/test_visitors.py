"""`/v1/admin/visitors`: who came last, and what is known of one visitor."""

import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import pytest

from postback.queue import lists

VISITORS = "/v1/admin/visitors/"
FIREFOX = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:146.0) Gecko/20100101 Firefox/146.0"}
AT = "2026-11-20T10:00:00Z"


async def collect(
    served: Any, *events: dict[str, Any], visitor: str = "v1", origin: str | None = None, **about: Any
) -> dict[str, Any]:
    body = {"site_key": served.keys.site_key, "visitor_id": visitor, "session_id": f"s of {visitor}".replace(" ", "-")}
    body |= {"sent_at": datetime.now(UTC).isoformat(), "events": list(events or [{"event": "page_view"}])} | about
    headers = FIREFOX | ({"Origin": origin} if origin else {})
    async with served.http.post(f"{served.url}/collect", data=json.dumps(body), headers=headers) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.json()


async def visitor(served: Any, id_: str = "v1") -> dict[str, Any]:
    status, found = await served.call("GET", VISITORS + quote(id_, safe=""))
    assert status == 200, found
    return found


async def test_a_visitor_is_shown_with_all_that_the_tag_and_the_backend_said(served: Any) -> None:
    now = datetime.now(UTC).isoformat()
    landing = "https://shop.example/boots?utm_source=news&utm_medium=email&utm_campaign=autumn&gclid=g1"
    ms = int(datetime.fromisoformat(AT).timestamp() * 1000)
    await collect(
        served,
        {"event": "page_view", "experiments": {"100": "200"}},
        {"event": "open", "product": "p1", "widget": "w1", "placement": "top"},
        session={"started_at": now, "landing": landing, "referrer": "https://mail.example/inbox?id=7"},
        identifiers={"gclid": {"value": "g1", "first": ms, "last": ms}},
        consent={"ad_user_data": True},
    )
    order = {"event": "purchase", "order_id": "o1", "value": 5, "visitor_id": "v1", "user_id": "u1"}
    assert (await served.call("POST", "/v1/events", order))[0] == 202
    found = await visitor(served)
    by_name = {one["name"]: one for one in found["identifiers"]}
    assert by_name["gclid"] == {
        "name": "gclid", "value": "g1", "first_seen_at": AT, "last_seen_at": AT, "origin": "tag",
    }  # fmt: skip
    assert by_name["external_id_sha256"]["origin"] == "native"
    assert found["readable"] == ["client_ip_address", "client_user_agent", "user_id"]
    assert found["experiments"] == {"100": "200"}
    assert [(one["purpose"], one["granted"]) for one in found["consent"]] == [("ad_user_data", True)]
    [session] = found["sessions"]
    assert (session["source"], session["medium"], session["campaign"]) == ("news", "email", "autumn")
    assert (session["click_id"], session["landing"]) == ("gclid", "https://shop.example/boots")
    assert session["referrer"] == "https://mail.example/inbox"
    [opened] = [one for one in found["touches"] if one["kind"] == "open"]
    assert (opened["product"], opened["widget"], opened["placement"]) == ("p1", "w1", "top")
    assert [one["order_id"] for one in found["conversions"]] == ["o1"]


async def test_a_conversion_of_one_of_its_sessions_is_the_visitors(served: Any) -> None:
    await collect(served, session={"started_at": datetime.now(UTC).isoformat()})
    await served.call("POST", "/v1/track", {"event_type": "purchase", "session_id": "s-of-v1"})
    assert [one["session_id"] for one in (await visitor(served))["conversions"]] == ["s-of-v1"]


async def test_a_payment_page_starts_no_touch(served: Any) -> None:
    start = {"started_at": datetime.now(UTC).isoformat(), "landing": "https://shop.example/thanks"}
    for n, (referrer, added, count) in enumerate(
        [
            ("https://www.paypal.com/checkout", [], 0),
            ("https://pay.bank.example/3ds", [], 1),
            ("https://pay.bank.example/3ds", ["bank.example"], 0),
            ("https://notpaypal.com/", [], 1),
        ]
    ):
        site = f"/v1/admin/sites/{served.keys.site}"
        assert (await served.call("PATCH", site, {"payment_referrers": added}))[0] == 200
        await served.call("GET", "/v1/admin/sites")  # by which this process has read it
        await collect(served, visitor=f"v{n}", session=start | {"referrer": referrer})
        assert len((await visitor(served, f"v{n}"))["sessions"]) == count, referrer


async def test_another_host_of_the_site_starts_no_touch(served: Any) -> None:
    """A checkout on another domain, on its second page, or where the visitor was not carried."""
    site = f"/v1/admin/sites/{served.keys.site}"
    origins = ["https://www.shop.example", "https://test.example:8443"]
    hosts = {"link_domains": ["pay.example"], "allowed_origins": origins}
    assert (await served.call("PATCH", site, hosts))[0] == 200
    await served.call("GET", "/v1/admin/sites")  # by which this process has read it
    start = {"started_at": datetime.now(UTC).isoformat()}
    for n, (referrer, landing, count) in enumerate(
        [
            ("https://shop.example/cart", "https://pay.example/", 0),
            ("https://www.shop.example/cart", "https://pay.example/", 0),
            ("https://de.pay.example/", "https://shop.example/thanks", 0),
            ("https://test.example:8443/", "https://shop.example/", 0),
            ("https://shop.example/cart", "https://pay.example/?utm_source=news", 1),
            ("https://shop.example/boots", "https://shop.example/cart", 1),
            ("https://notshop.example/", "https://shop.example/", 1),
        ]
    ):
        session = start | {"referrer": referrer, "landing": landing}
        await collect(served, visitor=f"v{n}", origin=origins[0], session=session)
        assert len((await visitor(served, f"v{n}"))["sessions"]) == count, referrer


async def test_an_unknown_visitor_is_404_whatever_its_id(served: Any) -> None:
    for id_ in ("nobody", "a/b", "%00", "x" * 2000):
        assert (await served.call("GET", VISITORS + quote(id_, safe="")))[0] == 404


async def test_visitors_are_listed_once_who_came_last_first(served: Any) -> None:
    await collect(served, visitor="first")
    await collect(served, {"event": "page_view"}, {"event": "lead"}, visitor="second")
    await served.call("POST", "/v1/events", {"event": "lead"})
    await collect(served, visitor="first")
    _, found = await served.call("GET", "/v1/admin/visitors")
    assert [one["id"] for one in found["items"]] == ["first", "second"]
    assert found["next_cursor"] is None
    assert found["items"][0]["first_seen_at"] < found["items"][0]["last_seen_at"]
    _, page = await served.call("GET", "/v1/admin/visitors?limit=1")
    assert [one["id"] for one in page["items"]] == ["first"]
    _, page = await served.call("GET", f"/v1/admin/visitors?limit=1&cursor={page['next_cursor']}")
    assert [one["id"] for one in page["items"]] == ["second"]
    _, other = await served.call("POST", "/v1/admin/sites", {"name": "other"})
    assert (await served.call("GET", f"/v1/admin/visitors?site={other['id']}"))[1]["items"] == []


async def test_visitors_are_found_page_by_page_past_what_one_look_examines(
    served: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(6):
        await collect(served, {"event": "page_view"}, {"event": "lead"}, visitor=f"v{number}")
    for name, value in (("ROWS", 3), ("EXAMINED", 1), ("EXAMINED_MAX", 1), ("LOOKING_SECONDS", 0)):
        monkeypatch.setattr(lists, name, value)
    seen, cursor = list[str](), ""
    while cursor is not None:
        _, page = await served.call("GET", f"/v1/admin/visitors?limit=2{cursor}")
        seen += [one["id"] for one in page["items"]]
        cursor = f"&cursor={page['next_cursor']}" if page["next_cursor"] else None
    assert list(dict.fromkeys(seen)) == [f"v{number}" for number in reversed(range(6))]
