"""From the landing to the platforms: a real browser, the hub, the backend's order with only the ids that the documents
say, and what the platforms' stand-ins got.
"""

import re
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qs

import pytest
from playwright.async_api import Page, async_playwright

from tests.browser.chromium import launched
from tests.browser.recorder import Recorder
from tests.delivery.delivering import until
from tests.delivery.stand_ins import StandIns

AGENT = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36"
COOKIES = {
    "_ga": "GA1.1.1234567890.1700000000", "_ga_DEMO123456": "GS2.1.s1747323152$o28$g0$t1747323152",
    "_conv_v": "vi:1*exp:{100218245.{v.100299457-g.{}}}",
}  # fmt: skip
DIALECTS = ("native", "roasproof", "selektable", "convultra", "velaro")
# What each platform may have of what the browser saw.
CARRIED = {
    "meta": {"fbc", "fbp", "client_ip_address", "client_user_agent"},
    "ga4": {"ga_client_id", "ga_session_id"},
    "convert": {"conv_v"},
    "webhook": {
        "gclid",
        "fbclid",
        "fbc",
        "fbp",
        "ga_client_id",
        "ga_session_id",
        "conv_v",
        "client_ip_address",
        "client_user_agent",
    },
}
HEARD = "JSON.parse(sessionStorage._pb_s).told.new === false && !Object.keys(localStorage).some((key) => key.startsWith('_pb_q'))"
CONFIGS: dict[str, dict[str, Any]] = {
    "meta": {"dataset_id": "123456789012345", "access_token": "EAAB-example"},
    "ga4": {"measurement_id": "G-DEMO123456", "api_secret": "s3cr3t"},
    "convert": {"account_id": "10001234", "project_id": "20005678", "api_key": "k"},
}


@pytest.fixture
async def shopper() -> AsyncIterator[Page]:
    """A visitor whom nothing gives away as made up, in a browser of this test's loop."""
    async with async_playwright() as playwright:
        browser = await launched(playwright, "--disable-blink-features=AutomationControlled")
        context = await browser.new_context(user_agent=AGENT)
        context.set_default_timeout(10_000)
        yield await context.new_page()
        await browser.close()


@pytest.fixture
async def shop(served: Any) -> AsyncIterator[Recorder]:
    """Two pages and a checkout on another host; the tag and its batches are the hub's."""
    recorder = Recorder()
    await recorder.start()
    tag = f'<script src="{served.url}/tag.js" data-site="{served.keys.site_key}" data-cookie="_sgnl_vid" data-global="Selektable"></script>'
    form = '<form action="/paid" method="post"><input type="hidden" name="visitorId"><input type="hidden" name="session_id"><button>Pay</button></form>'
    pages = {
        "/": '<a href="/lamp">Lamp</a>',
        "/lamp": f'<a href="{recorder.url("/checkout", "checkout.localhost")}">Buy</a>',
        "/checkout": form,
        "/paid": "Thanks",
    }
    for path, body in pages.items():
        recorder.pages[path] = f"<!doctype html><html><head><title>{path}</title>{tag}</head><body>{body}"
    path = f"/v1/admin/sites/{served.keys.site}"
    assert (await served.call("PATCH", path, {"link_domains": ["checkout.localhost"]}))[0] == 200
    yield recorder
    await recorder.stop()


@pytest.fixture
async def platforms(served: Any, stand_ins: StandIns) -> StandIns:
    configs = {name: config | {"endpoint": stand_ins[name].endpoint} for name, config in CONFIGS.items()}
    configs["webhook"] = {"url": f"{stand_ins['webhook'].endpoint}/hook", "include_readable": True}
    for connector, config in configs.items():
        body = {"name": connector, "variant": "default", "config": config}
        status, answer = await served.call("POST", f"/v1/admin/integration-catalog/{connector}/install", body)
        assert status == 201, answer
    return stand_ins


async def bought(page: Page, shop: Recorder) -> dict[str, str]:
    """Land by an ad, look around, cross to the checkout, pay. Gives the ids of the checkout's form and cookie, and the `_fbc` of the landing."""
    given = [{"name": name, "value": value, "url": shop.url()} for name, value in COOKIES.items()]
    await page.context.add_cookies(given)
    await page.goto(shop.url("/?gclid=Cj0K-Case&fbclid=IwAR2-Case&utm_source=meta&utm_campaign=may"))
    await page.wait_for_function(HEARD)
    [fbc] = [one["value"] for one in await page.context.cookies() if one["name"] == "_fbc"]
    await page.click("a")
    await page.wait_for_function(f"location.pathname == '/lamp' && {HEARD}")
    first = await page.evaluate("Selektable.getIdentity()")
    await page.evaluate("Selektable.open('lamp')")
    await page.wait_for_function(HEARD)
    await page.click("a")
    await page.wait_for_url(shop.url("/checkout", "checkout.localhost"))
    await page.wait_for_function(HEARD)
    assert await page.evaluate("Selektable.getIdentity()") == first
    [cookie] = [one for one in await page.context.cookies(page.url) if one["name"] == "_sgnl_vid"]
    async with page.expect_request("**/paid") as posted:
        await page.click("button")
    form = {name: values[0] for name, values in parse_qs((await posted.value).post_data or "").items()}
    assert form == {"visitorId": first["visitorId"], "session_id": first["sessionId"]}
    assert cookie["value"] == first["visitorId"]
    return form | {"cookie": cookie["value"], "fbc": fbc}


async def orders(served: Any, ids: dict[str, str], dialects: Sequence[str] = DIALECTS) -> None:
    """The backend's posts, one a dialect, each with the ids that its document says."""
    _, goals = await served.call("GET", "/v1/admin/goals")
    [goal] = [one["id"] for one in goals["items"] if one["name"] == "Purchases"]
    order = {
        "currency": "EUR",
        "platform": "custom",
        "status": "completed",
        "orderCreatedAt": datetime.now(UTC).isoformat(),
        "items": [],
    }
    site = {"storeId": served.keys.site_key, "organizationId": served.keys.organization_id}
    line = {"productId": "lamp", "quantity": 1, "priceCents": 4000, "totalCents": 4000}
    posts: list[tuple[str, dict[str, Any]]] = [
        ("/v1/events", {"event": "purchase", "order_id": "native", "value": 40, "currency": "EUR", "visitor_id": ids["visitorId"]}),
        ("/api/v1/events", {"event": "purchase", "event_id": "roasproof", "value": 40, "currency": "EUR", "user_data": {"visitor_id": ids["cookie"]}}),
        ("/api/webhooks/orders", order | site | {"orderId": "selektable", "visitorId": ids["visitorId"], "sessionId": ids["session_id"], "totalCents": 4000, "items": [line]}),
        ("/v1/track", {"event_type": "purchase", "session_id": ids["session_id"], "properties": {"order_id": "convultra", "value": 40, "currency": "EUR"}}),
        ("/Conversions/record", {"goalId": goal, "visitorId": ids["session_id"], "amount": 40, "integrationOrderId": "velaro"}),
    ]  # fmt: skip
    for dialect, (path, body) in zip(DIALECTS, posts, strict=True):
        if dialect in dialects:
            status, answer = await served.call("POST", path, body, key=served.keys.api_key)
            assert status in (200, 202), (path, answer)


async def test_an_order_with_the_visitors_id_alone_carries_all_that_the_browser_saw_to_every_platform(
    served: Any, platforms: StandIns, worker: Any, shop: Recorder, shopper: Page
) -> None:
    ids = await bought(shopper, shop)
    await orders(served, ids)
    async with worker:
        await until(lambda: settled(served), seconds=20)
    purchases = await all_purchases(served)
    assert sorted(event["dialect"] for event in purchases) == sorted(DIALECTS)
    for event in purchases:
        for delivery in event["deliveries"]:
            said = (event["dialect"], delivery["connector"], delivery["status"], delivery["reason"])
            assert said[2] == "delivered", said
            _, logged = await served.call("GET", f"/v1/admin/deliveries/{delivery['id']}")
            came = logged["attempts"][-1]["identifiers"]
            assert came.keys() >= CARRIED[delivery["connector"]], (said, came)
            assert {came[name] for name in CARRIED[delivery["connector"]]} <= {"visitor", "session"}, (said, came)
    meta = [e for e in await sent(platforms, "meta", "data") if e["event_name"] == "Purchase"]
    assert len(meta) == 5
    for user in (event["user_data"] for event in meta):
        # With the time of the click, in the letters of the click.
        assert user["fbc"] == ids["fbc"]
        assert user["fbc"].endswith(".IwAR2-Case")
        assert user["fbp"].startswith("fb.1.")
        assert (user["client_ip_address"], user["client_user_agent"]) == ("127.0.0.1", AGENT)
    bodies = [request["body"] for request in await platforms["ga4"].requests()]
    analytics = [(body, event) for body in bodies for event in body["events"] if event["name"] == "purchase"]
    assert len(analytics) == 5
    for body, event in analytics:
        assert body["client_id"] == "1234567890.1700000000"
        assert str(event["params"]["session_id"]) == "1747323152"
    bucketed = [one["raw"] for one in await platforms["convert"].requests()]
    assert bucketed
    assert all("100218245" in raw and "100299457" in raw for raw in bucketed)
    hooks = [one["raw"] for one in await platforms["webhook"].requests() if '"event.purchase"' in one["raw"]]
    assert len(hooks) == 5
    assert all(told in raw for raw in hooks for told in ("Cj0K-Case", ids["fbc"], "1747323152", "100299457", AGENT))


async def settled(served: Any) -> bool:
    _, listed = await served.call("GET", "/v1/admin/deliveries?limit=200")
    return bool(listed["items"]) and all(one["status"] not in ("queued", "retrying") for one in listed["items"])


async def all_purchases(served: Any) -> list[dict[str, Any]]:
    _, listed = await served.call("GET", "/v1/admin/events?name=purchase&limit=100")
    return [(await served.call("GET", f"/v1/admin/events/{one['id']}"))[1] for one in listed["items"]]


async def sent(platforms: StandIns, name: str, key: str) -> list[dict[str, Any]]:
    return [event for request in await platforms[name].requests() for event in request["body"][key]]


async def test_what_a_visitor_denied_never_reaches_a_platform(
    served: Any, platforms: StandIns, worker: Any, shop: Recorder, shopper: Page
) -> None:
    shop.pages["/"] = shop.pages["/"].replace("data-site", "data-consent=required data-site")
    await shopper.goto(shop.url("/?gclid=Cj0K-Case&fbclid=IwAR2-Case"))
    visitor = await shopper.evaluate("Selektable.getVisitorId()")
    await shopper.evaluate("Selektable.consent({analytics: true})")
    await shopper.evaluate("Selektable.track('lead', {value: 3, currency: 'EUR'})")
    await shopper.evaluate("Selektable.identify({email: 'jane@example.com'})")
    await shopper.wait_for_function(HEARD)
    order = {"event": "purchase", "order_id": "o-1", "value": 4, "currency": "EUR", "visitor_id": visitor}
    assert (await served.call("POST", "/v1/events", order, key=served.keys.api_key))[0] == 202
    async with worker:
        await until(lambda: settled(served), seconds=20)
    assert await platforms["meta"].requests() == []
    raws = [one["raw"] for name in ("ga4", "convert", "webhook") for one in await platforms[name].requests()]
    assert any('"event.lead"' in raw for raw in raws)
    assert any('"event.purchase"' in raw for raw in raws)
    digest = sha256(b"jane@example.com").hexdigest()
    # The address of the landing is all that still tells of the click.
    told = [re.sub(r"https?://[^\"]*", "", raw) for raw in raws]
    assert not [raw for raw in told if "Cj0K" in raw or "IwAR2" in raw or "fb.1." in raw or digest in raw]


@pytest.mark.parametrize("dialects", [DIALECTS[:3], DIALECTS[3:]], ids=["visitor", "session"])
async def test_an_order_by_an_id_of_a_page_after_a_denial_is_skipped(
    served: Any, platforms: StandIns, worker: Any, shop: Recorder, shopper: Page, dialects: Sequence[str]
) -> None:
    shop.pages["/checkout"] += "<script>var given = Selektable.getIdentity()</script>"
    await shopper.goto(shop.url("/"))
    await shopper.wait_for_function(HEARD)
    async with shopper.expect_response("**/collect") as answered:
        await shopper.evaluate("Selektable.consent({analytics: false, ad_user_data: false, ad_personalization: false})")
    await (await answered.value).finished()
    async with shopper.expect_response("**/collect") as answered:
        await shopper.goto(shop.url("/checkout"))
    await (await answered.value).finished()
    given = await shopper.evaluate("given")
    ids = {"visitorId": given["visitorId"], "session_id": given["sessionId"]}
    assert ids == {name: await shopper.input_value(f"input[name={name}]") for name in ids}
    await orders(served, ids | {"cookie": ids["visitorId"]}, dialects)
    async with worker:
        await until(lambda: settled(served), seconds=20)
    purchases = await all_purchases(served)
    assert sorted(event["dialect"] for event in purchases) == sorted(dialects)
    for event in purchases:
        became = {one["connector"]: (one["status"], one["reason"]) for one in event["deliveries"]}
        assert became.pop("webhook")[0] == "delivered"
        assert set(became.values()) == {("skipped", "consent: denied by the visitor")}, event["dialect"]


async def test_an_order_after_a_withdrawal_in_another_tab_is_skipped(
    served: Any, platforms: StandIns, worker: Any, shop: Recorder, shopper: Page
) -> None:
    await shopper.goto(shop.url("/?gclid=Cj0K-Case&fbclid=IwAR2-Case"))
    await shopper.wait_for_function(HEARD)
    await shopper.evaluate("Selektable.consent({analytics: true, ad_user_data: true, ad_personalization: true})")
    await shopper.wait_for_function(HEARD)
    visitor = await shopper.evaluate("Selektable.getVisitorId()")
    other = await shopper.context.new_page()
    await other.goto(shop.url("/lamp"))
    await other.wait_for_function(HEARD)
    async with other.expect_response("**/collect") as answered:
        await other.evaluate("Selektable.consent({analytics: false, ad_user_data: false, ad_personalization: false})")
    await (await answered.value).finished()
    posts: list[str] = []
    shopper.on("request", lambda request: posts.append(request.url))
    await shopper.evaluate("Selektable.open('lamp'); new Promise((done) => setTimeout(done, 300))")
    assert posts == []
    order = {"event": "purchase", "order_id": "o-1", "value": 4, "currency": "EUR", "visitor_id": visitor,
             "url": shop.url("/paid"), "user_data": {"email": "jane@example.com", "client_user_agent": AGENT}}  # fmt: skip
    assert (await served.call("POST", "/v1/events", order, key=served.keys.api_key))[0] == 202
    async with worker:
        await until(lambda: settled(served), seconds=20)
    [purchase] = await all_purchases(served)
    became = {one["connector"]: (one["status"], one["reason"]) for one in purchase["deliveries"]}
    assert became.pop("webhook")[0] == "delivered"
    assert set(became.values()) == {("skipped", "consent: denied by the visitor")}
