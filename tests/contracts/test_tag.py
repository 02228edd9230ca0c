"""What was seen in the browser is there when the order comes from the backend: a client that posts as the tag does lands
with click ids, browses, crosses to a checkout on another host by pb_vid; then the order comes in each of the five
dialects with only the ids that its document says."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.contracts.clients import all_settle_as, logged, newest
from tests.delivery.stand_ins import StandIns

CONFIGS = {
    "meta": {"dataset_id": "123456789012345", "access_token": "EAAB"},
    "ga4": {"measurement_id": "G-ABC1234567", "api_secret": "s3cr3t"},
    "convert": {"account_id": "10001234", "project_id": "20005678", "api_key": "key"},
}
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:146.0) Gecko/20100101 Firefox/146.0"
CLICKED = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=10)
CLICK_MS = int(CLICKED.timestamp() * 1000)
FBC = f"fb.1.{CLICK_MS}.IwAR0click"
SEEN = {
    "gclid": "Cj0KCQclick", "fbclid": "IwAR0click", "fbc": FBC, "fbp": f"fb.1.{CLICK_MS}.1098115397",
    "ga_client_id": "1098115397.1763600000", "ga_session_id": "1763600123",
}  # fmt: skip
LANDING = "https://shop.example/?gclid=Cj0KCQclick&fbclid=IwAR0click&utm_source=google&utm_medium=cpc"


class Browser:
    """Posts as the tag does; adopts what it is told."""

    def __init__(self, served: Any, visitor: str, session: str, landing: str) -> None:
        self.served, self.visitor, self.session, self.landing = served, visitor, session, landing
        self.link = ""
        self.n = 0

    async def send(self, *events: dict[str, Any], **about: Any) -> None:
        made = []
        for event in events or ({"event": "page_view"},):
            self.n += 1
            now = datetime.now(UTC).isoformat()
            made.append({"event_id": f"{self.visitor}-{self.n}", "occurred_at": now, "url": self.landing} | event)
        body = {
            "site_key": self.served.keys.site_key, "sent_at": datetime.now(UTC).isoformat(),
            "visitor_id": self.visitor, "session_id": self.session, "events": made,
            "session": {"started_at": CLICKED.isoformat(), "landing": self.landing, "referrer": ""},
        }  # fmt: skip
        headers = {"User-Agent": FIREFOX, "Content-Type": "text/plain;charset=UTF-8"}
        sent = json.dumps(body | about)
        async with self.served.http.post(f"{self.served.url}/collect", data=sent, headers=headers) as answer:
            assert answer.status == 200, await answer.text()
            told = await answer.json()
        self.visitor, self.session, self.link = told["visitor_id"], told["session_id"], told["link"]


async def install(served: Any, stand_ins: StandIns) -> None:
    configs: dict[str, dict[str, Any]] = {
        name: own | {"endpoint": stand_ins[name].endpoint} for name, own in CONFIGS.items()
    }
    configs["webhook"] = {"url": f"{stand_ins['webhook'].endpoint}/in"}
    for connector, config in configs.items():
        path = f"/v1/admin/integration-catalog/{connector}/install"
        body = {"name": connector, "variant": "default", "config": config, "delivery_mode": "server_side"}
        status, answer = await served.call("POST", path, body)
        assert status == 201, answer


async def shop(served: Any) -> Browser:
    """A visitor who landed, browsed, and is at the checkout; as the checkout's pages know it."""
    seen = {name: {"value": value, "first": CLICK_MS, "last": CLICK_MS} for name, value in SEEN.items()}
    here = Browser(served, "v_shop", "s_shop", LANDING)
    await here.send({"event": "page_view", "experiments": {"100218245": "100299457"}}, identifiers=seen)
    await here.send({"event": "open", "product": "sku-1"}, identifiers=seen)
    there = Browser(served, "v_checkout", "s_checkout", "https://checkout.example/pay")
    await there.send(link=here.link)
    assert (there.visitor, there.session) == ("v_shop", "s_shop")
    return there


def roasproof(browser: Browser, served: Any, goal: int) -> tuple[str, Any]:
    user = {"visitor_id": browser.visitor}
    return "/api/v1/events", {"event": "purchase", "event_id": "o1", "value": 9, "currency": "EUR", "user_data": user}


def velaro(browser: Browser, served: Any, goal: int) -> tuple[str, Any]:
    return "/Conversions/record", {"goalId": goal, "visitorId": browser.session, "integrationOrderId": "o1"}


def selektable(browser: Browser, served: Any, goal: int) -> tuple[str, Any]:
    line = {"productId": "sku-1", "quantity": 1, "priceCents": 900, "totalCents": 900}
    ids = {"orderId": "o1", "storeId": served.keys.site_key, "organizationId": served.keys.organization_id}
    who = {"visitorId": browser.visitor, "sessionId": browser.session}
    order = {"totalCents": 900, "currency": "EUR", "platform": "custom", "status": "completed", "items": [line]}
    return "/api/webhooks/orders", ids | who | order | {"orderCreatedAt": datetime.now(UTC).isoformat()}


def convultra(browser: Browser, served: Any, goal: int) -> tuple[str, Any]:
    sold = {"order_id": "o1", "value": 9, "currency": "EUR"}
    return "/v1/track", {"event_type": "purchase", "session_id": browser.session, "properties": sold}


def datafly(browser: Browser, served: Any, goal: int) -> tuple[str, Any]:
    sold = {"order_id": "o1", "revenue": 9, "currency": "EUR"}
    message = {"type": "track", "event": "Order Completed", "messageId": "o1", "anonymousId": browser.visitor}
    return "/v1/batch", {"batch": [message | {"properties": sold}]}


DIALECTS = {
    "roasproof": (roasproof, "visitor"), "velaro": (velaro, "session"), "selektable": (selektable, "visitor"),
    "convultra": (convultra, "session"), "datafly": (datafly, "visitor"),
}  # fmt: skip


async def arrived(stand_ins: StandIns, platform: str) -> dict[str, Any]:
    """The only request since the sandbox forgot."""
    [request] = await stand_ins[platform].requests()
    assert request["status"] in (200, 204), request
    return request


@pytest.mark.parametrize("crossing", ["adopted", "not heard of"])
@pytest.mark.parametrize(("order", "origin"), DIALECTS.values(), ids=DIALECTS)
async def test_an_order_carries_every_identifier_of_the_browser_that_each_platform_may_have(
    served: Any, stand_ins: StandIns, worker: Any, goal: int, order: Any, origin: str, crossing: str
) -> None:
    checkout = await shop(served)
    if crossing == "not heard of":
        # The form was filled before the answer came.
        checkout.visitor, checkout.session = "v_checkout", "s_checkout"
    await install(served, stand_ins)
    path, body = order(checkout, served, goal)
    status, answer = await served.call("POST", path, body, key=served.keys.api_key)
    assert status in (200, 202), answer
    # The page that a website's order is made on, where the dialect has no place for it, is not known.
    async with worker:
        await all_settle_as(served, *["delivered"] * 4)
    [meta] = (await arrived(stand_ins, "meta"))["body"]["data"]
    user = meta["user_data"]
    assert (user["fbc"], user["fbp"]) == (FBC, SEEN["fbp"])
    assert (user["client_ip_address"], user["client_user_agent"]) == ("127.0.0.1", FIREFOX)
    ga4 = (await arrived(stand_ins, "ga4"))["body"]
    assert ga4["client_id"] == SEEN["ga_client_id"]
    assert str(ga4["events"][0]["params"]["session_id"]) == SEEN["ga_session_id"]
    convert = (await arrived(stand_ins, "convert"))["body"]
    assert convert["bucketing"] == {"100218245": "100299457"}
    hook = (await arrived(stand_ins, "webhook"))["body"]["data"]
    assert hook["click_ids"] == SEEN
    event = await newest(served)
    for connector in ("meta", "ga4", "webhook"):
        log = await logged(served, event["event_id"], connector)
        had = log["attempts"][0]["identifiers"]
        assert {name: had[name] for name in SEEN if name in had}
        assert {had[name] for name in SEEN if name in had} == {origin}
        assert log["late_identifiers"] == {}


async def test_what_comes_after_the_delivery_is_noted_on_it(served: Any, stand_ins: StandIns, worker: Any) -> None:
    await install(served, stand_ins)
    await Browser(served, "v_1", "s_1", LANDING).send({"event": "purchase", "value": 1, "currency": "EUR"})
    async with worker:
        await all_settle_as(served, *["delivered"] * 4)
    late = {"gclid": {"value": "late"}, "fbp": {"value": "fb.1.1763719200123.7"}}
    await Browser(served, "v_1", "s_1", LANDING).send({"event": "consent", "event_id": "c1"}, identifiers=late)
    log = await logged(served, "v_1-1", "meta")
    assert log["late_identifiers"] == {"fbp": "visitor"}


async def test_the_site_of_an_order_that_names_none_is_its_visitors(served: Any) -> None:
    _, second = await served.call("POST", "/v1/admin/sites", {"name": "second"})
    await served.call("GET", "/v1/admin/sites")
    served.keys = type(served.keys)(**{
        name: getattr(served.keys, name) for name in served.keys.__struct_fields__ if name != "site_key"
    } | {"site_key": second["site_key"]})  # fmt: skip
    browser = Browser(served, "v_2", "s_2", LANDING)
    await browser.send()
    for n, ids in enumerate(({"visitor_id": "v_2"}, {"session_id": "s_2"}, {"visitor_id": "nobody"})):
        status, _ = await served.call("POST", "/v1/events", {"event": "lead", "event_id": f"l{n}"} | ids)
        assert status == 202
    _, listed = await served.call("GET", "/v1/admin/events?name=lead")
    sites = {one["event_id"]: one["site"] for one in listed["items"]}
    assert sites == {"l0": second["id"], "l1": second["id"], "l2": served.keys.site}
