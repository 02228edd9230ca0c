"""Consent that comes step by step: a platform that is still loading, purposes one after the other, a hub that is away."""

import pytest
from playwright.async_api import BrowserContext, Page

from tests.browser.consenting import ADS, ALL, ASKING, DENIED, KEPT, NAMES, NONE, landed, settle
from tests.browser.recorder import Recorder

ANALYTICS = f"gtag('consent', 'update', {dict.fromkeys(NAMES[:1], 'granted')})"
MARKETING = f"gtag('consent', 'update', {dict.fromkeys(NAMES[1:], 'granted')})"
TCF = "__tcfapi = (command, version, then) => { (window.told = then)(%s, true) }"
GRANTED = (
    "{gdprApplies: true, eventStatus: 'tcloaded', purpose: {consents: {1: true, 3: true, 4: true, 7: true, 8: true}}}"
)
LATER = "await new Promise((done) => setTimeout(done, 20));"
IS_ANSWERED = "!Object.keys(localStorage).some((key) => /^_pb_c?q/.test(key))"
FILLED = """(() => {
  for (let size = 1 << 20, n = 0; size >= 1; )
    try { localStorage['fill' + n++] = 'x'.repeat(size) } catch { size >>= 1 }
})()"""


@pytest.mark.parametrize(
    "loading",
    [
        "{cmpStatus: 'loading', gdprApplies: undefined, eventStatus: undefined, purpose: {consents: {}}}",
        "{cmpStatus: 'loading', gdprApplies: true, eventStatus: null}",
    ],
)
async def test_a_platform_that_is_still_loading_has_said_nothing(page: Page, recorder: Recorder, loading: str) -> None:
    await landed(page, recorder, TCF % loading)
    await page.evaluate("told({gdprApplies: true, eventStatus: 'cmpuishown', purpose: {consents: {}}}, true)")
    await page.evaluate("history.pushState({}, '', '/lamp')")
    await settle(page)
    assert recorder.batches == []
    await page.evaluate(f"told({GRANTED}, true); postback.track('lead')")
    await recorder.first("lead")
    assert len(recorder.named("page_view")) == 2
    assert "gclid" in recorder.batches[-1]["identifiers"]


async def test_a_visitor_who_granted_stays_known_while_the_platform_loads(page: Page, recorder: Recorder) -> None:
    await landed(page, recorder, TCF % GRANTED)
    await page.wait_for_function("sessionStorage._pb_s && JSON.parse(sessionStorage._pb_s).told.new === false")
    known = await page.evaluate("postback.getIdentity()")
    recorder.pages["/two"] = f"<!doctype html><script>{TCF % '{}'}</script>{recorder.script()}"
    await page.goto(recorder.url("/two"))
    await page.evaluate(f"told({GRANTED}, true)")
    await recorder.until(lambda: len(recorder.named("page_view")) == 2)
    assert await page.evaluate("postback.getIdentity()") == known
    assert all(batch["consent"]["analytics"] for batch in recorder.batches)
    assert recorder.batches[-1]["identifiers"]["gclid"]["value"] == "G1"


@pytest.mark.parametrize(
    "steps",
    [f"{ANALYTICS}; {MARKETING}", f"{MARKETING}; {ANALYTICS}", f"{MARKETING}; {LATER} {ANALYTICS}"],
    ids=["analytics first", "marketing first", "marketing first, analytics later"],
)
async def test_purposes_that_are_granted_one_by_one_lose_nothing_of_the_landing(
    context: BrowserContext, page: Page, recorder: Recorder, steps: str
) -> None:
    fbp = "fb.1.1763719200123.7"
    await context.add_cookies([{"name": "_fbp", "value": fbp, "domain": ".shop.localhost", "path": "/"}])
    await landed(page, recorder, DENIED)
    given = await page.evaluate("postback.getIdentity()")
    await page.evaluate("postback.identify({userId: 'u-1'})")
    await settle(page)
    await page.evaluate(f"(async () => {{ {steps}; postback.track('lead') }})()")
    await recorder.first("lead")
    assert "gclid=G1" in recorder.named("page_view")[0]["url"]
    assert recorder.named("identify")[0]["user_data"]
    identifiers = recorder.batches[-1]["identifiers"]
    assert (identifiers["gclid"]["value"], identifiers["fbp"]["value"]) == ("G1", fbp)
    assert {batch["session_id"] for batch in recorder.batches} == {given["sessionId"]}
    assert await page.evaluate("postback.getIdentity()") == given


async def test_a_word_on_advertising_alone_does_not_end_the_waiting(page: Page, recorder: Recorder) -> None:
    await landed(page, recorder, "__tcfapi = (command, version, then) => { window.told = then }")
    await page.evaluate("postback.consent({ad_user_data: false})")
    await settle(page)
    assert recorder.batches == []
    await page.evaluate("postback.consent({analytics: true})")
    await recorder.first("page_view")
    assert recorder.batches[0]["consent"] == {"analytics": True, "ad_user_data": False}


async def test_what_google_denies_by_default_is_denied_on_a_page_without_it(page: Page, recorder: Recorder) -> None:
    await landed(page, recorder, DENIED)
    await page.evaluate(ANALYTICS)
    await recorder.first("page_view")
    await page.wait_for_function(IS_ANSWERED)
    recorder.page("/checkout")
    await page.goto(recorder.url("/checkout?gclid=G2"))
    await page.evaluate("postback.identify({userId: 'u-1'})")
    await recorder.first("identify")
    assert not ADS & recorder.batches[-1]["identifiers"].keys()
    assert "user_data" not in recorder.named("identify")[0]


@pytest.mark.parametrize("choice", [NONE, "{ad_user_data: false}"])
async def test_a_denial_and_a_log_out_at_once_are_told_of_who_denied(
    page: Page, recorder: Recorder, choice: str
) -> None:
    await landed(page, recorder)
    await recorder.first("page_view")
    await page.wait_for_function(IS_ANSWERED)
    hers = await page.evaluate("postback.getVisitorId()")
    await page.evaluate(f"postback.consent({choice}); postback.reset()")
    await recorder.until(
        lambda: hers in {one["visitor_id"] for one in recorder.batches if one["consent"].get("ad_user_data") is False}
    )


@pytest.mark.parametrize("leave", ["location.reload()", "location.href = '/two'"])
async def test_a_choice_that_the_page_is_left_with_loses_nothing(page: Page, recorder: Recorder, leave: str) -> None:
    recorder.page("/two")
    await landed(page, recorder, attributes=ASKING)
    await page.evaluate(f"postback.track('lead'); postback.consent({ALL}); {leave}")
    await recorder.first("lead")
    await recorder.first("consent")
    assert recorder.named("page_view")[0]["url"].endswith("gclid=G1&fbclid=F1&utm_source=a")


async def test_a_choice_that_is_repeated_wakes_no_other_tab(context: BrowserContext, recorder: Recorder) -> None:
    recorder.page("/")
    first, other = await context.new_page(), await context.new_page()
    for page in (first, other):
        await page.goto(recorder.url("/"))
    await first.evaluate("postback.consent({analytics: true})")
    await settle(first)
    await other.evaluate("window.heard = 0; addEventListener('storage', ({key}) => key == '_pb_c' && heard++)")
    await first.evaluate("for (let n = 0; n < 5; n++) postback.consent({analytics: true})")
    await settle(other)
    assert await other.evaluate("heard") == 0


async def test_a_data_layer_that_is_no_array_stops_nothing(page: Page, recorder: Recorder) -> None:
    await landed(page, recorder, "dataLayer = {pageType: 'home'}")
    await recorder.first("page_view")


@pytest.mark.parametrize(("choice", "count"), [(NONE, 0), (ALL, 1)], ids=["denied", "granted"])
@pytest.mark.parametrize("attributes", ["", ASKING], ids=["", "asking"])
async def test_a_later_page_that_clears_the_storage_keeps_the_choice_it_knew(
    page: Page, recorder: Recorder, attributes: str, choice: str, count: int
) -> None:
    await landed(page, recorder, attributes=attributes)
    await page.evaluate(f"postback.consent({choice})")
    await recorder.first("consent")
    await page.wait_for_function(IS_ANSWERED)
    await page.goto(recorder.url("/"))
    await settle(page)
    await page.evaluate("localStorage.clear(); postback.track('lead')")
    await settle(page)
    assert len(recorder.named("lead")) == count


async def test_while_the_hub_is_away_the_news_of_a_denial_keeps_no_address_and_does_not_pile_up(
    page: Page, recorder: Recorder
) -> None:
    recorder.answer = lambda body: (503, {})
    await landed(page, recorder)
    await page.evaluate(f"postback.consent({NONE})")
    recorder.pages["/clinic"] = recorder.pages["/"]
    await page.goto(recorder.url("/clinic?q=hiv"))
    await settle(page)
    assert "clinic" not in await page.evaluate("JSON.stringify({...localStorage, ...sessionStorage})")
    # As so many pages would.
    await page.evaluate("for (let n = 0; n < 600; n++) postback.reset()")
    assert await page.evaluate(f"{KEPT}.length") < 510


async def test_a_withdrawal_for_which_there_is_no_room_leaves_no_grant(page: Page, recorder: Recorder) -> None:
    await landed(page, recorder, attributes=ASKING)
    await page.evaluate(f"postback.consent({ALL})")
    await recorder.first("consent")
    await page.wait_for_function(IS_ANSWERED)
    await page.evaluate(FILLED)
    await page.evaluate(f"postback.consent({NONE})")
    await page.goto(recorder.url("/"))
    await settle(page)
    assert len(recorder.named("page_view")) == 1
