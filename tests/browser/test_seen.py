"""What the tag notices: the visitor, the visit, page views, click ids, campaign, other vendors' cookies."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import pytest
from playwright.async_api import BrowserContext, Page, async_playwright

from tests.browser.chromium import launched
from tests.browser.recorder import SITE, Recorder, path_of

CLICK = "IwAR2-Case_Kept"


async def test_a_landing_says_who_came_from_where(page: Page, recorder: Recorder) -> None:
    await page.goto(recorder.url(f"/?gclid=G1&fbclid={CLICK}&ScCid=S1&utm_source=News&utm_campaign=May%20sale&x=1"))
    await recorder.first("page_view")
    [batch] = recorder.batches
    assert batch["site_key"] == SITE
    assert batch["_type"] == "text/plain"
    assert batch["bot"] is True
    assert batch["consent"] == {}
    assert re.fullmatch(r"v_\d{20,30}", batch["visitor_id"])
    assert re.fullmatch(r"s_\d{20,30}", batch["session_id"])
    session = batch["session"]
    assert session["new"] is True
    assert session["landing"] == recorder.url(
        f"/?gclid=G1&fbclid={CLICK}&ScCid=S1&utm_source=News&utm_campaign=May%20sale&x=1"
    )
    ids = batch["identifiers"]
    assert {name: ids[name]["value"] for name in ("gclid", "fbclid", "sccid")} == {
        "gclid": "G1",
        "fbclid": CLICK,
        "sccid": "S1",
    }
    assert all(seen["first"] <= seen["last"] for seen in ids.values())
    utm = batch["utm"]
    assert (utm["source"], utm["campaign"]) == ("News", "May sale")
    assert abs(utm["first"] - ids["gclid"]["first"]) < 1000
    [event] = batch["events"]
    assert event["title"] == "/"
    assert event["event_id"].startswith("e_")
    assert event["occurred_at"] <= batch["sent_at"]
    assert await page.evaluate("postback.getIdentity()") == {
        "visitorId": batch["visitor_id"], "sessionId": batch["session_id"],
    }  # fmt: skip


async def test_fbc_is_minted_once_from_the_click_and_fbp_once(page: Page, recorder: Recorder) -> None:
    await page.goto(recorder.url(f"/?fbclid={CLICK}"))
    await recorder.first("page_view")
    ids = recorder.batches[0]["identifiers"]
    clicked = ids["fbclid"]["first"]
    # shop.localhost: one label above the top, so the index is 1.
    assert ids["fbc"]["value"] == f"fb.1.{clicked}.{CLICK}"
    assert re.fullmatch(r"fb\.1\.\d{13}\.\d{10}", ids["fbp"]["value"])
    await page.goto(recorder.url("/?fbclid=another"))
    await recorder.until(lambda: len(recorder.batches) > 1)
    later = recorder.batches[-1]["identifiers"]
    assert later["fbc"]["value"] == f"fb.1.{later['fbclid']['first']}.another"
    assert later["fbclid"]["first"] > clicked
    await page.goto(recorder.url("/"))
    await recorder.until(lambda: len(recorder.batches) > 2)
    last = recorder.batches[-1]["identifiers"]
    assert last["fbc"]["value"] == later["fbc"]["value"]
    assert last["fbp"]["value"] == ids["fbp"]["value"]
    cookies = {one["name"]: one for one in await page.context.cookies()}
    assert cookies["_fbc"]["value"] == last["fbc"]["value"]
    assert cookies["_fbp"]["value"] == last["fbp"]["value"]
    assert cookies["_pb_vid"]["sameSite"] == "Lax"


async def test_what_other_vendors_left_is_read_as_it_stands(
    context: BrowserContext, page: Page, recorder: Recorder
) -> None:
    given = {
        "_ga": "GA1.1.1234567890.1700000000", "_ga_ABC123": "GS2.1.o28$g0$s1747323152$t1747323152",
        "_gcl_aw": "GCL.1763719200.Cj0K", "_gcl_gb": "GCL.1763719201.WB",
        "_fbp": "fb.1.1596403881668.1116446470", "_fbc": "fb.1.1700000000000.AbC.AQIBAQIA",
        "_ttp": "2F7h37", "_conv_v": "vi:1*sc:1*exp:{1.{v.2-g.{}}}", "_epik": "dj0y",
    }  # fmt: skip
    await context.add_cookies([{"name": name, "value": value, "url": recorder.url()} for name, value in given.items()])
    await page.goto(recorder.url("/"))
    await recorder.first("page_view")
    ids = recorder.batches[0]["identifiers"]
    assert {name: seen["value"] for name, seen in ids.items()} == {
        "ga_client_id": "1234567890.1700000000", "ga_session_id": "1747323152",
        "gcl_aw": "GCL.1763719200.Cj0K", "wbraid": "WB",
        "fbp": given["_fbp"], "fbc": given["_fbc"], "ttp": "2F7h37", "conv_v": given["_conv_v"], "epik": "dj0y",
    }  # fmt: skip
    assert ids["wbraid"]["first"] == 1763719201_000


async def test_an_identifier_of_ten_kilobytes_is_left_behind(page: Page, recorder: Recorder) -> None:
    await page.goto(recorder.url(f"/?fbclid={'x' * 10_000}&gclid=G1&ttclid=a%3Bdomain%3Dx&msclkid=jane%40x.example"))
    await recorder.first("page_view")
    assert recorder.batches[0]["identifiers"].keys() == {"gclid", "fbp"}


@pytest.mark.parametrize(
    ("query", "term"),
    [
        ("utm_term=a%00b", "ab"),
        ("utm_term=" + "x" * 149 + quote("\U0001f600"), "x" * 149),
        ("utm_term=" + "x" * 148 + quote("\U0001f600"), "x" * 148 + "\U0001f600"),
    ],
    ids=["nul", "cut-in-two", "whole"],
)
async def test_what_the_server_would_refuse_a_batch_for_is_left_out(
    page: Page, recorder: Recorder, query: str, term: str
) -> None:
    await page.goto(recorder.url(f"/?{query}&gclid=G%001"))
    await page.evaluate("postback.track('lead', {'a\\0\\ud83d': '\\udc00b\\\\u0000 \\n\U0001f600'})")
    lead = await recorder.first("lead")
    # As ASCII: half a pair could not even be reported.
    assert ascii(recorder.batches[0]["utm"]["term"]) == ascii(term)
    assert ascii(recorder.batches[0]["identifiers"]["gclid"]["value"]) == "'G1'"
    assert ascii(lead["properties"]) == ascii({"a": "b\\u0000 \n\U0001f600"})
    for count in (2, 3):
        await page.goto(recorder.url(f"/?{query}&gclid=G%001"))
        await recorder.until(lambda count=count: len(recorder.named("page_view")) == count)
    assert len({batch["session_id"] for batch in recorder.batches}) == 1


async def test_a_visit_goes_on_until_30_idle_minutes_or_a_new_campaign(page: Page, recorder: Recorder) -> None:
    await page.clock.install()
    recorder.page("/two")

    async def session(path: str) -> dict[str, Any]:
        before = len(recorder.batches)
        await page.goto(recorder.url(path))
        await recorder.until(lambda: len(recorder.batches) > before)
        # What is left before the answer is heard is sent again by a later page.
        await page.wait_for_function("Object.keys(localStorage).every((key) => !key.startsWith('_pb_q'))")
        return recorder.batches[-1]

    landed = await session("/?utm_source=a&utm_medium=cpc")
    await page.wait_for_function("JSON.parse(sessionStorage._pb_s).told.new === false")
    again = await session("/?utm_source=a&utm_medium=cpc")
    browsed = await session("/two")
    assert landed["session_id"] == again["session_id"] == browsed["session_id"]
    assert landed["session"]["new"]
    assert not again["session"]["new"]
    assert browsed["session"]["landing"] == landed["session"]["landing"]
    campaign = await session("/?utm_source=b")
    assert campaign["session_id"] != browsed["session_id"]
    assert campaign["visitor_id"] == browsed["visitor_id"]
    await page.clock.fast_forward("29:00")
    assert (await session("/two"))["session_id"] == campaign["session_id"]
    await page.clock.fast_forward("31:00")
    idle = await session("/two")
    assert idle["session_id"] != campaign["session_id"]
    assert idle["session"]["new"]
    assert idle["utm"]["source"] == "b"
    assert idle["utm"]["first"] < idle["utm"]["last"] or idle["utm"]["first"] == campaign["utm"]["first"]


async def test_a_history_driven_app_has_a_page_view_for_each_address(page: Page, recorder: Recorder) -> None:
    await page.goto(recorder.url("/"))
    await recorder.first("page_view")
    steps = [
        "history.pushState({}, '', '/lamp'); document.title = 'Lamp'",
        "history.replaceState({same: 1}, '', '/lamp')",
        "history.replaceState({}, '', '/lamp?color=red')",
        "location.hash = '#top'",
        "history.pushState({}, '', '#/cart')",
        "history.back()",
        "history.back()",
    ]
    for step in steps:
        await page.evaluate(step)
        await page.evaluate("new Promise((done) => setTimeout(done, 30))")
    await recorder.until(lambda: len(recorder.named("page_view")) >= 5)
    views = recorder.named("page_view")
    assert [path_of(view) for view in views] == [
        "/",
        "/lamp",
        "/lamp?color=red",
        "/lamp?color=red#/cart",
        "/lamp?color=red#top",
    ]
    assert views[1]["title"] == "Lamp"
    assert views[2]["referrer"] == recorder.url("/lamp")
    assert len({view["event_id"] for view in views}) == len(views)
    assert len({batch["session_id"] for batch in recorder.batches}) == 1


@asynccontextmanager
async def gone_back(recorder: Recorder, leave: str = "0") -> AsyncIterator[Page]:
    """A page that was left for another, which `leave` runs in, and is back out of the back-forward cache."""
    recorder.page("/", "<script>addEventListener('pageshow', (e) => { window.wasKept = e.persisted })</script>")
    recorder.page("/two")
    async with async_playwright() as playwright, await launched(playwright, whole=True) as browser:
        page = await browser.new_page()
        await page.goto(recorder.url("/"))
        await recorder.first("page_view")
        await page.evaluate("window.mark = 1")
        await page.goto(recorder.url("/two"))
        await recorder.until(lambda: len(recorder.named("page_view")) == 2)
        await page.evaluate(leave)
        await page.go_back(wait_until="commit")
        await page.wait_for_function("window.wasKept")
        assert await page.evaluate("window.mark") == 1
        yield page


async def test_a_page_out_of_the_back_forward_cache_is_seen_again_by_the_same_visitor(recorder: Recorder) -> None:
    async with gone_back(recorder) as page:
        await recorder.until(lambda: len(recorder.named("page_view")) == 3)
        views = recorder.named("page_view")
        assert [path_of(view) for view in views] == ["/", "/two", "/"]
        assert len({view["event_id"] for view in views}) == 3
        assert len({(batch["visitor_id"], batch["session_id"]) for batch in recorder.batches}) == 1
        await page.evaluate("postback.track('lead')")
        await recorder.first("lead")


async def test_a_page_out_of_the_back_forward_cache_goes_by_what_was_chosen_meanwhile(recorder: Recorder) -> None:
    async with gone_back(recorder, "postback.consent({analytics: false})") as page:
        await page.evaluate("postback.track('lead'); new Promise((done) => setTimeout(done, 300))")
        assert len(recorder.named("page_view")) == 2
        assert recorder.named("lead") == []
        kept = "[...Object.keys(localStorage), ...Object.keys(sessionStorage)]"
        await page.wait_for_function(f"{kept}.join() === '_pb_c'")


async def test_tracked_events_carry_their_fields_and_an_interaction_its_product(page: Page, recorder: Recorder) -> None:
    await page.goto(recorder.url("/"))
    made = await page.evaluate(
        """postback.track('purchase', {value: 12.5, currency: 'EUR', order_id: 'o-1', items: [{product_id: 'p', quantity: 2}],
           event_id: 'purchase_o-1', experiments: {7: '9'}, coupon: 'MAY'})"""
    )
    assert made == "purchase_o-1"
    event = await recorder.first("purchase")
    assert event["event_id"] == "purchase_o-1"
    assert (event["value"], event["currency"], event["order_id"]) == (12.5, "EUR", "o-1")
    assert event["items"] == [{"product_id": "p", "quantity": 2}]
    assert event["experiments"] == {"7": "9"}
    assert event["properties"] == {"coupon": "MAY"}
    await page.evaluate("postback.open('chair', {widget: 'w1', placement: 'hero', color: 'red'})")
    event = await recorder.first("open")
    assert (event["product"], event["widget"], event["placement"]) == ("chair", "w1", "hero")
    assert event["properties"] == {"color": "red"}


async def test_reset_makes_another_visitor_and_what_waits_stays_the_firsts(
    context: BrowserContext, page: Page, recorder: Recorder
) -> None:
    await page.goto(recorder.url("/?gclid=G1&fbclid=F1"))
    await recorder.first("page_view")
    await page.evaluate("postback.track('lead'); postback.reset(); postback.track('signup')")
    await recorder.first("signup")
    await recorder.first("lead")
    of = {event["event"]: batch for batch in recorder.batches for event in batch["events"]}
    assert of["lead"]["visitor_id"] == of["page_view"]["visitor_id"] != of["signup"]["visitor_id"]
    assert of["lead"]["session_id"] != of["signup"]["session_id"]
    assert not {"gclid", "fbclid", "fbc"} & of["signup"]["identifiers"].keys()
    cookies = {one["name"]: one["value"] for one in await context.cookies()}
    assert cookies["_pb_vid"] == of["signup"]["visitor_id"]


async def test_a_second_tab_does_not_forget_the_click_that_another_landed_with(
    context: BrowserContext, page: Page, recorder: Recorder
) -> None:
    await page.goto(recorder.url("/"))
    await recorder.first("page_view")
    other = await context.new_page()
    await other.goto(recorder.url("/?gclid=G1"))
    await recorder.until(lambda: len(recorder.named("page_view")) == 2)
    await page.evaluate("postback.track('lead')")
    await recorder.first("lead")
    await other.goto(recorder.url("/"))
    await recorder.until(lambda: len(recorder.named("page_view")) == 3)
    assert recorder.batches[-1]["identifiers"]["gclid"]["value"] == "G1"
