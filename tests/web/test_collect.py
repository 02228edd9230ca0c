"""`/collect` over real sockets: who may post, what comes back and what is kept of it."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.web.collecting import COLLECT, NOW, ORIGIN, batch, event, identifiers, ms, post, rows, stored, taken


async def test_a_batch_is_taken_and_answered_with_ids_cookie_and_a_link(served: Any) -> None:
    status, body, headers = await post(served, batch(served, event(), event("open", product="p1")))
    assert (status, body["accepted"], body["rejected"]) == (200, 2, [])
    assert (body["visitor_id"], body["session_id"], body["link_expires_in"]) == ("v_1", "s_1", 300)
    assert body["link"]
    assert headers["Set-Cookie"] == "_pb_vid=v_1; Max-Age=34560000; Path=/; SameSite=Lax"
    assert headers["Access-Control-Allow-Origin"] == ORIGIN
    assert headers["Access-Control-Allow-Credentials"] == "true"
    assert [one["dialect"] for one in stored(served)] == ["tag", "tag"]


async def test_the_cookie_has_the_name_that_the_page_chose_and_none_where_analytics_is_denied(served: Any) -> None:
    _, _, headers = await post(served, batch(served, event(), cookie="_sgnl_vid"))
    assert headers["Set-Cookie"].startswith("_sgnl_vid=v_1;")
    _, _, headers = await post(served, batch(served, event(), cookie="a=b; c"))
    assert headers["Set-Cookie"].startswith("_pb_vid=v_1;")
    consent = {"analytics": False}
    status, body, headers = await post(served, batch(served, event("consent"), event("x"), consent=consent))
    assert (status, body["accepted"], [one["index"] for one in body["rejected"]]) == (200, 1, [1])
    assert "Set-Cookie" not in headers


async def test_who_denies_analytics_is_given_no_link_and_the_cookie_that_came_along_is_removed(served: Any) -> None:
    denial = {"analytics": False}

    async def removed(cookies: str, *events: Any, **about: Any) -> str | None:
        status, body, headers = await post(served, batch(served, *events, **about), Cookie=cookies)
        assert status == 200
        assert ("link" in body) == (about["consent"] != denial)
        return headers.get("Set-Cookie")

    gone = "; Max-Age=0; Path=/; SameSite=Lax"
    for events in ((event("consent"),), (event("consent"), event("x")), ()):
        assert await removed("a=b; _pb_vid=v_1; c=d", *events, consent=denial) == f"_pb_vid={gone}"
    assert await removed("_pb_vid=v_1; _sgnl_vid=v_2", cookie="_sgnl_vid", consent=denial) == f"_sgnl_vid={gone}"
    for others in ("", "x_pb_vid=v_1", "_pb_vid=theirs", "_sgnl_vid=v_1", "_pb_vid"):
        assert await removed(others, event("consent"), consent=denial) is None
    kept = await removed("_pb_vid=v_1", event(), consent={"ad_user_data": False})
    assert kept == "_pb_vid=v_1; Max-Age=34560000; Path=/; SameSite=Lax"
    secure = {"Cookie": "_pb_vid=v_1", "Origin": "null"}
    assert "Set-Cookie" not in (await post(served, batch(served, consent=denial), **secure))[2]


async def test_a_page_can_set_no_other_cookie_and_no_other_value(served: Any) -> None:
    for name in ("PHPSESSID", "session", "_pb_", "__Host-_pb_vid"):
        _, _, headers = await post(served, batch(served, event(), cookie=name))
        assert headers["Set-Cookie"].startswith("_pb_vid=v_1;")
    for id_ in ("attackers-session", "v_1.2", "v_" + "1" * 41):
        status, body, headers = await post(served, batch(served, event(), visitor_id=id_))
        assert (status, body["visitor_id"], "Set-Cookie" in headers) == (200, id_, False)
    _, _, headers = await post(served, batch(served, event()), Origin="null")
    assert "Set-Cookie" not in headers
    _, _, headers = await post(served, batch(served, event()), **{"Origin": "null", "Sec-Fetch-Mode": "cors"})
    assert headers["Set-Cookie"].startswith("_pb_vid=v_1;")


async def test_a_form_that_is_sent_here_is_403_and_writes_nothing(served: Any) -> None:
    form = json.dumps(batch(served, event()))[:-1] + ', "x": "="}\r\n'
    for body in (form.encode(), batch(served)):
        status, _, headers = await post(served, body, **{"Sec-Fetch-Mode": "navigate"})
        assert (status, "Set-Cookie" in headers) == (403, False)
    assert not stored(served)


async def test_a_browser_without_ids_or_with_malformed_ones_is_given_its_own(served: Any) -> None:
    for about in ({"visitor_id": None, "session_id": None}, {"visitor_id": "<script>", "session_id": "x" * 129}):
        body = await taken(served, event(event_id=str(about)), **about)
        assert body["visitor_id"].startswith("v_")
        assert body["session_id"].startswith("s_")
    assert "visitor_id: malformed, replaced" in stored(served)[1]["notes"]


@pytest.mark.parametrize("key", ["nobody", "", "a\u00e9"])
async def test_a_wrong_site_key_is_403_and_writes_nothing(served: Any, key: str) -> None:
    status, body, headers = await post(served, batch(served, event(), site_key=key))
    assert (status, body["error"]["field"]) == (403, "site_key")
    assert headers["Access-Control-Allow-Origin"] == ORIGIN  # so that the tag reads it and gives up
    assert not stored(served)


async def test_an_api_key_and_a_site_key_do_not_open_each_others_doors(served: Any) -> None:
    assert (await post(served, batch(served, event(), site_key=served.keys.api_key)))[0] == 403
    for key in (served.keys.site_key, f"site {served.keys.site_key}"):
        assert (await served.call("POST", "/v1/events", event(), key=key))[0] == 401


async def test_a_foreign_origin_is_403_and_writes_nothing(served: Any) -> None:
    site = f"/v1/admin/sites/{served.keys.site}"
    assert (await served.call("PATCH", site, {"allowed_origins": [ORIGIN]}))[0] == 200
    for origin in ("https://evil.example", "https://shop.example.evil.example", "null", "http://shop.example"):
        assert (await post(served, batch(served, event()), Origin=origin))[0] == 403
    assert not stored(served)
    assert (await post(served, batch(served, event())))[0] == 200


async def test_the_last_origins_that_were_refused_are_told_and_what_is_sent_fills_nothing(served: Any) -> None:
    site = f"/v1/admin/sites/{served.keys.site}"

    async def refused() -> list[str]:
        status, page = await served.call("GET", f"{site}/refused-origins")
        assert status == 200
        return [one["origin"] for one in page["items"]]

    assert (await served.call("PATCH", site, {"allowed_origins": [ORIGIN]}))[0] == 200
    wrong = ["null", "https://<script>alert(1)</script>", "https://" + "x" * 300, "file://x", *(
        f"https://{n}.example" for n in (*range(20), 17))]  # fmt: skip
    for origin in wrong:
        assert (await post(served, batch(served, event()), Origin=origin))[0] == 403
        await refused()
    assert await refused() == [f"https://{n}.example" for n in (17, 19, 18, 16, 15)]
    assert rows(served, "SELECT count(*) FROM refused_origin") == [(5,)]
    allowed = [ORIGIN, "https://18.example"]
    assert (await served.call("PATCH", site, {"allowed_origins": allowed}))[0] == 200
    assert await refused() == [f"https://{n}.example" for n in (17, 19, 16, 15)]
    assert (await post(served, batch(served, event()), Origin="https://18.example"))[0] == 200
    assert (await served.call("PATCH", site, {"allowed_origins": []}))[0] == 200
    assert await refused() == []


async def test_a_removed_sites_key_takes_nothing_from_its_removal_on(served: Any) -> None:
    _, other = await served.call("POST", "/v1/admin/sites", {"name": "other"})
    assert (await post(served, batch(served, event(), site_key=other["site_key"])))[0] == 200
    assert (await served.call("DELETE", f"/v1/admin/sites/{other['id']}"))[0] == 204
    assert (await post(served, batch(served, event(event_id="2"), site_key=other["site_key"])))[0] == 403
    assert len(stored(served)) == 1


async def test_a_preflight_is_answered(served: Any) -> None:
    headers = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}
    async with served.http.options(served.url + COLLECT, headers=headers) as answer:
        assert answer.status == 204
        assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
        assert answer.headers["Access-Control-Allow-Methods"] == "POST"
        assert answer.headers["Access-Control-Allow-Headers"] == "content-type"
    async with served.http.get(served.url + COLLECT) as answer:
        assert (answer.status, answer.headers["Allow"]) == (405, "OPTIONS, POST")


REFUSED: list[tuple[bytes, int]] = [
    (b"", 400),
    (b"{", 400),
    (b"[]", 422),
    (b'{"site_key": 1}', 422),
    (b'{"events": []}', 422),
    (b'{"site_key": "x", "events": [' + b",".join([b'{"event": "x"}'] * 51) + b"]}", 422),
    (b" " * 64_001, 413),
]


@pytest.mark.parametrize(("body", "status"), REFUSED, ids=[str(body[:20]) for body, _ in REFUSED])
async def test_a_body_that_cannot_be_used_is_refused_in_a_way_that_the_page_can_read(
    served: Any, body: bytes, status: int
) -> None:
    got, said, headers = await post(served, body)
    assert (got, headers["Access-Control-Allow-Origin"]) == (status, ORIGIN)
    assert said["error"]["message"]
    assert not stored(served)


async def test_one_wrong_event_harms_no_other(served: Any) -> None:
    body = await taken(served, event("a"), {"event": 7}, event("b", value="x"), event("c", occurred_at="soon"))
    assert body["accepted"] == 1
    assert [(one["index"], one["error"].get("field")) for one in body["rejected"]] == [
        (1, "event"), (2, "value"), (3, "occurred_at"),
    ]  # fmt: skip


async def test_identifiers_go_to_the_visitor_each_with_its_times(served: Any) -> None:
    first, last = NOW - timedelta(days=3), NOW - timedelta(days=1)
    seen = {"value": "fbclick", "first": ms(first), "last": ms(last)}
    await taken(served, identifiers={"fbclid": seen, "fbp": {"value": "fb.1.1763719200123.42"}})
    found = identifiers(served)
    assert found["fbclid"] == ["fbclick", ms(first), ms(last), "tag"]
    assert found["fbp"][0] == "fb.1.1763719200123.42"
    assert "click_ids" not in stored(served)[0]


@pytest.mark.parametrize("wrong_by", [timedelta(hours=5), -timedelta(days=40)])
async def test_a_wrong_clock_is_corrected_by_the_time_of_sending(served: Any, wrong_by: timedelta) -> None:
    clock, real = datetime.now(UTC) + wrong_by, datetime.now(UTC)
    click = {"value": "c", "first": ms(clock - timedelta(minutes=9)), "last": ms(clock - timedelta(minutes=9))}
    await taken(
        served, event(occurred_at=(clock - timedelta(minutes=2)).isoformat()), sent_at=clock.isoformat(),
        identifiers={"gclid": click},
    )  # fmt: skip
    at = datetime.fromisoformat(stored(served)[0]["occurred_at"])
    assert abs(at - (real - timedelta(minutes=2))) < timedelta(seconds=30)
    assert abs(identifiers(served)["gclid"][1] - ms(real - timedelta(minutes=9))) < 30_000


FAR = ("9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "2019-01-01T00:00:00+00:00")


@pytest.mark.parametrize("sent_at", [*FAR, None])
async def test_a_time_of_another_age_harms_neither_the_event_nor_its_visitor(served: Any, sent_at: str | None) -> None:
    began = datetime.now(UTC)
    about = {
        "sent_at": sent_at or datetime.now(UTC).isoformat(),
        "identifiers": {"gclid": {"value": "c", "first": -62135596800000, "last": 253402300799000}},
        "session": {"started_at": sent_at or FAR[0], "landing": f"{ORIGIN}/?gclid=c", "referrer": ""},
    }
    events = [event("open", event_id=said, occurred_at=said, product="p") for said in FAR]
    assert (await taken(served, *events, **about))["accepted"] == 4
    for one in stored(served):
        at = datetime.fromisoformat(one["occurred_at"])
        assert datetime(2000, 1, 1, tzinfo=UTC) <= at <= datetime.now(UTC)
        assert sent_at is None or "sent_at: more than a year off, times taken as now" in one["notes"]
        assert sent_at is None or at > began - timedelta(minutes=1)
    assert "identifiers: a time that is none in ms, dropped" in stored(served)[0]["notes"]
    assert abs(identifiers(served)["gclid"][1] - ms(began)) < 60_000
    status, visitor = await served.call("GET", "/v1/admin/visitors/v_1")
    assert (status, len(visitor["identifiers"])) == (200, 1)


async def test_no_time_of_a_browser_lies_ahead(served: Any) -> None:
    ahead = datetime.now(UTC) + timedelta(hours=2)
    click = {"value": "c", "first": ms(ahead), "last": ms(ahead)}
    await taken(served, event(occurred_at=ahead.isoformat()), identifiers={"gclid": click})
    assert datetime.fromisoformat(stored(served)[0]["occurred_at"]) <= datetime.now(UTC)
    assert identifiers(served)["gclid"][2] <= ms(datetime.now(UTC))


@pytest.mark.parametrize("headers", [{"User-Agent": "Googlebot/2.1"}, {"User-Agent": "HeadlessChrome/142"}, {}])
async def test_a_bot_is_kept_and_marked_and_makes_no_conversion(served: Any, headers: dict[str, str]) -> None:
    hook = {"name": "hook", "config": {"url": "http://127.0.0.1:9/x"}}
    await served.call("POST", "/v1/admin/integration-catalog/webhook/install", hook)
    about = {} if headers else {"bot": True}
    status, _, _ = await post(served, batch(served, event("purchase", order_id="o1"), **about), **headers)
    assert status == 200
    assert stored(served)[0]["is_bot"] is True
    assert rows(served, "SELECT count(*) FROM conversion") == [(0,)]
    assert [status for status, _ in rows(served, "SELECT status, reason FROM delivery")] == ["skipped"]


async def test_a_bots_copy_takes_no_place_of_the_servers_sale(served: Any) -> None:
    hook = {"name": "hook", "config": {"url": "http://127.0.0.1:9/x"}}
    await served.call("POST", "/v1/admin/integration-catalog/webhook/install", hook)
    sale = {"event_id": "order-1", "order_id": "1", "value": 10, "currency": "EUR"}
    for _ in range(2):
        await taken(served, event("purchase", **sale), bot=True)
    assert len(stored(served)) == 1
    _, receipt = await served.call("POST", "/v1/events", {"event": "purchase", **sale})
    assert (receipt["status"], receipt["destinations"][0]["status"]) == ("accepted", "queued")
    assert rows(served, "SELECT count(*) FROM conversion") == [(1,)]
    assert (await served.call("GET", "/v1/admin/orders/1"))[1]["value"] == 10


async def test_identify_and_consent_go_to_no_destination_unless_a_blueprint_names_them(served: Any) -> None:
    hook = {"name": "hook", "config": {"url": "http://127.0.0.1:9/x"}}
    _, made = await served.call("POST", "/v1/admin/integration-catalog/webhook/install", hook)
    await taken(served, event("identify"), event("consent"), event("page_view"))
    found = rows(served, "SELECT e.name, d.status FROM event e JOIN delivery d ON d.event_id = e.id ORDER BY 1")
    assert found == [("consent", "skipped"), ("identify", "skipped"), ("page_view", "queued")]
    blueprint = {"blueprint": {"rules": [{"event": "identify"}, {"event": "*"}]}}
    assert (await served.call("PATCH", f"/v1/admin/destinations/{made['id']}", blueprint))[0] == 200
    await taken(served, event("identify", event_id="again"))
    found = rows(served, "SELECT d.status FROM event e JOIN delivery d ON d.event_id = e.id WHERE e.event_id = 'again'")
    assert found == [("queued",)]


async def test_the_servers_copy_of_a_browsers_event_is_one_conversion(served: Any) -> None:
    sale = {"value": 10, "currency": "EUR"}
    await taken(served, event("purchase", event_id="order-1", **sale))
    _, receipt = await served.call("POST", "/v1/events", {"event": "purchase", "event_id": "order-1", **sale})
    assert receipt["status"] == "duplicate"
    await served.call("POST", "/v1/events", {"event": "purchase", "event_id": "order-2", **sale})
    assert (await taken(served, event("purchase", event_id="order-2", **sale)))["accepted"] == 1
    assert rows(served, "SELECT count(*) FROM conversion") == [(2,)]


async def test_a_batch_sent_again_is_the_same_batch(served: Any) -> None:
    about = {"session": {"started_at": NOW.isoformat(), "landing": f"{ORIGIN}/?utm_source=x", "referrer": ""}}
    for _ in range(2):
        assert (await taken(served, event("page_view"), event("open", product="p"), **about))["accepted"] == 2
    assert len(stored(served)) == 2
    assert rows(served, "SELECT kind FROM touch ORDER BY kind") == [("open",), ("session",)]


async def test_what_is_denied_is_not_kept_though_it_was_sent(served: Any) -> None:
    ids = {"gclid": {"value": "g"}, "fbp": {"value": "fb.1.1.1"}, "ga_client_id": {"value": "1.2"}}
    person = {"email_sha256": "a" * 64}
    await taken(served, event(user_data=person), identifiers=ids, consent={"ad_user_data": False})
    assert identifiers(served).keys() == {"ga_client_id", "consent.ad_user_data"}
    assert "user" not in stored(served)[0]


PERSON = {"email": "jane@example.com", "phone": "+14155550123", "user_id": "u-1", "first_name": "Jane", "state": ["NY"]}


async def test_properties_hold_nothing_of_the_person_where_advertising_is_denied(served: Any) -> None:
    ids = {"email_sha256": "a" * 64, "gclid": "G1", "client_ip_address": "203.0.113.7", "ga_client_id": "1.2"}
    consent = {"ad_user_data": False, "analytics": True}
    await taken(served, event("signup", properties=PERSON | ids | {"plan": "pro"}), consent=consent)
    [only] = stored(served)
    assert "user" not in only
    assert only["properties"] == {"plan": "pro", "ga_client_id": "1.2"}
    assert set(only["notes"]) == {
        f"properties.{name}: dropped, ad_user_data is denied" for name in (PERSON | ids).keys() - {"ga_client_id"}
    }
    assert identifiers(served).keys() == {"consent.ad_user_data", "consent.analytics"}
    assert rows(served, "SELECT kind FROM link") == [("session",)]


LANDING = "https://shop.example/?gclid=CLICK&utm_source=x"


@pytest.mark.parametrize(
    "own",
    [
        {"properties": {"landing_page": LANDING, "nested": {"gclid": "CLICK", "all": [LANDING, {"gclid": "CLICK"}]}}},
        {"properties": {"ScCid": "CLICK", "deep": [{"GCLID": "CLICK"}], LANDING: 1, "query": "gclid=CLICK&b=1"}},
        {"title": LANDING},
        {"referrer": "https://shop.example/login?next=%2Fp%3Fa%3D1%26fbclid%3DCLICK"},
        *(
            {"url": f"https://shop.example/{rest}"}
            for rest in (
                "#gclid=CLICK",
                "#/x?gclid=CLICK",
                "?a=1;gclid=CLICK",
                "?gclid=A;CLICK",
                "login?next=%2Fp%3Fgclid%3DCLICK",
                "login?next=%252Fp%253Fgclid%253DCLICK",
            )
        ),
    ],
)
async def test_a_click_is_nowhere_where_advertising_is_denied(served: Any, own: dict[str, Any]) -> None:
    await taken(served, event("signup", **own), consent={"ad_user_data": False, "analytics": True})
    assert "CLICK" not in str(stored(served))


async def test_what_nests_too_deep_is_refused_where_advertising_is_denied(served: Any) -> None:
    deep: Any = []
    for _ in range(400):
        deep = [deep]
    done = await taken(served, event("signup", properties={"a": deep}), consent={"ad_user_data": False}, count=0)
    assert [one["error"]["field"] for one in done["rejected"]] == ["properties.a"]


@pytest.mark.parametrize("ad_user_data", [False, True, None])
async def test_the_news_that_analytics_is_denied_bears_nothing_else(served: Any, ad_user_data: bool | None) -> None:
    more = {
        "properties": PERSON, "user_data": {"user_id": "u-1"}, "title": "x", "product": "p", "experiments": {"a": "b"},
        "value": 1, "currency": "EUR", "order_id": "o1", "items": [{"name": "x"}],
    }  # fmt: skip
    await taken(served, event("consent", **more), consent={"ad_user_data": ad_user_data, "analytics": False})
    [only] = stored(served)
    assert not {"user", "properties", "page", "experiments", "value", "order", "notes"} & only.keys()
    assert {name.partition(".")[0] for name in identifiers(served)} == {"consent"}
    assert rows(served, "SELECT kind FROM link") == [("session",)]
    # Nor where it came from.
    assert rows(served, "SELECT sealed FROM event") == rows(served, "SELECT device FROM visitor") == [(None,)]


async def test_an_empty_batch_asks_for_a_fresh_link_and_writes_nothing(served: Any) -> None:
    status, body, _ = await post(served, batch(served))
    assert (status, body["accepted"], bool(body["link"])) == (200, 0, True)
    assert rows(served, "SELECT count(*) FROM visitor") == [(0,)]


async def test_the_first_answer_after_a_change_of_the_site_tells_it(served: Any) -> None:
    assert (await taken(served))["link_domains"] == []
    _, site = await served.call("GET", f"/v1/admin/sites/{served.keys.site}")
    for domains in (["pay.example"], []):
        status, _ = await served.call("PATCH", f"/v1/admin/sites/{site['id']}", {"link_domains": domains})
        assert status == 200
        assert (await taken(served, event(event_id=f"after {domains}")))["link_domains"] == domains


async def test_who_denied_advertising_is_not_told_by_an_address_nor_who_denied_all_by_any(served: Any) -> None:
    place, landing = (
        f"{ORIGIN}/?gclid=G1&a=1",
        {"landing": f"{ORIGIN}/l?fbclid=F1", "referrer": f"{ORIGIN}/?msclkid=M1"},
    )
    about = {"consent": {"ad_user_data": False}, "session": {"started_at": NOW.isoformat()} | landing}
    await taken(served, event(url=place, referrer=place), **about)
    [page] = [one["page"] for one in stored(served)]
    assert page == {"url": f"{ORIGIN}/?gclid=&a=1", "referrer": f"{ORIGIN}/?gclid=&a=1"}
    [(touch,)] = rows(served, "SELECT to_jsonb(t)::text FROM touch t")
    assert f"{ORIGIN}/l" in touch
    assert not [click for click in ("G1", "F1", "M1") if click in touch]
    assert (json.loads(touch)["source"], json.loads(touch)["click_id"]) == ("facebook", "fbclid")
    await taken(served, event("consent", url=place, title="Her illness"), consent={"analytics": False})
    last = stored(served)[-1]
    assert last["name"] == "consent"
    assert not {"page", "properties"} & last.keys()
