"""Only what the visitor allowed leaves the browser, or stays in it."""

import pytest
from playwright.async_api import BrowserContext, Page

from tests.browser.consenting import ADS, ALL, ASKING, KEPT, NO_ADS, NONE, landed, only_the_denial, settle
from tests.browser.recorder import Recorder
from tests.browser.test_loading import stub


async def test_before_consent_nothing_is_sent_or_stored_and_a_late_one_loses_nothing(
    context: BrowserContext, page: Page, recorder: Recorder
) -> None:
    await landed(page, recorder, attributes=ASKING)
    identity = await page.evaluate("postback.getIdentity()")
    await page.evaluate("postback.track('lead')")
    await settle(page)
    assert recorder.batches == []
    assert await page.evaluate(KEPT) == []
    assert await context.cookies() == []
    assert await page.evaluate("document.querySelector('input').value") == identity["visitorId"]
    await page.evaluate(f"postback.consent({ALL})")
    await recorder.first("lead")
    await recorder.first("consent")
    assert {batch["visitor_id"] for batch in recorder.batches} == {identity["visitorId"]}
    assert recorder.batches[0]["consent"] == {"analytics": True, "ad_user_data": True, "ad_personalization": True}
    assert recorder.batches[0]["identifiers"].keys() >= ADS
    assert recorder.batches[0]["utm"]["source"] == "a"
    # A page that is left before it heard the answer leaves its events to be sent again, under the same ids.
    await page.wait_for_function(f"!{KEPT}.some((key) => /^_pb_c?q/.test(key))")
    await page.goto(recorder.url("/"))
    await recorder.until(lambda: len(recorder.named("page_view")) == 2)
    assert recorder.batches[-1]["visitor_id"] == identity["visitorId"]
    assert len(recorder.named("consent")) == 1


@pytest.mark.parametrize("attribute", ["data-consent", "data-consent=Required", "data-consent=true"])
async def test_however_the_asking_for_consent_is_spelled_nothing_is_sent_before(
    page: Page, recorder: Recorder, attribute: str
) -> None:
    await landed(page, recorder, attributes=attribute)
    await settle(page)
    assert recorder.batches == []


async def test_consent_to_some_is_denial_of_the_rest_where_it_is_required(page: Page, recorder: Recorder) -> None:
    await landed(page, recorder, attributes=ASKING)
    await page.evaluate("postback.consent({analytics: true})")
    await recorder.first("page_view")
    assert recorder.batches[0]["consent"] == {"analytics": True, "ad_user_data": False, "ad_personalization": False}
    assert not ADS & recorder.batches[0]["identifiers"].keys()
    [event, *_] = recorder.batches[0]["events"]
    place = recorder.url("/?gclid=&fbclid=&utm_source=a")
    assert (event["url"], recorder.batches[0]["session"]["landing"]) == (place, place)


async def test_denied_before_anything_was_sent_only_the_denial_leaves(
    context: BrowserContext, page: Page, recorder: Recorder
) -> None:
    await landed(page, recorder, attributes=ASKING)
    await page.evaluate(f"postback.track('lead'); postback.consent({NONE}); postback.track('signup')")
    await recorder.first("consent")
    await page.wait_for_function(f"{KEPT}.length === 1")
    await page.goto(recorder.url("/"))
    await page.evaluate("postback.track('lead')")
    await settle(page)
    assert len(recorder.batches) == 2
    only_the_denial(recorder)
    assert await page.evaluate(KEPT) == ["_pb_c"]
    assert await context.cookies() == []


@pytest.mark.parametrize("attributes", ["", ASKING], ids=["", "required"])
@pytest.mark.parametrize("is_by_stub", [False, True], ids=["script", "stub"])
async def test_every_page_after_a_denial_tells_it_of_the_id_that_the_page_gives(
    page: Page, recorder: Recorder, attributes: str, is_by_stub: bool
) -> None:
    await landed(page, recorder, attributes=attributes)
    await page.evaluate(f"postback.consent({NONE})")
    await recorder.first("consent")
    await page.wait_for_function(f"{KEPT}.length === 1")
    head = stub(recorder, attributes) if is_by_stub else recorder.script(attributes)
    recorder.pages["/"] = f"<!doctype html>{head}<script>var given = postback.getIdentity()</script>"
    before = len(recorder.batches)
    for count in (1, 2):
        await page.goto(recorder.url("/?gclid=G2"))
        await recorder.until(lambda count=count: len(recorder.batches) == before + count)
        ids = {
            name: recorder.batches[-1][key] for name, key in (("visitorId", "visitor_id"), ("sessionId", "session_id"))
        }
        assert ids == await page.evaluate("given")
        assert ids == await page.evaluate("postback.getIdentity()")
        await page.wait_for_function(f"{KEPT}.length === 1")
    await settle(page)
    assert len(recorder.batches) == before + 2
    only_the_denial(recorder, before)
    # Somebody else on this device is told of too, since the denial is the device's.
    await page.evaluate("postback.reset()")
    await recorder.until(lambda: len(recorder.batches) == before + 3)
    assert recorder.batches[-1]["visitor_id"] == await page.evaluate("postback.getVisitorId()")
    only_the_denial(recorder, before)
    await page.evaluate(f"postback.consent({ALL})")
    await page.goto(recorder.url("/"))
    await recorder.first("page_view")


@pytest.mark.parametrize("said", ["granted", "denied"])
async def test_a_denial_that_the_page_begins_with_is_told_once_and_not_where_it_is_taken_back(
    page: Page, recorder: Recorder, said: str
) -> None:
    await landed(page, recorder, "dataLayer = []")
    await page.evaluate(f"postback.consent({NONE})")
    await page.wait_for_function(f"{KEPT}.length === 1")
    before = len(recorder.batches)
    await landed(page, recorder, f"dataLayer = [['consent', 'update', {{analytics_storage: '{said}'}}]]")
    await recorder.until(lambda: len(recorder.batches) > before)
    await settle(page)
    news = [event for batch in recorder.batches[before:] for event in batch["events"] if event["event"] == "consent"]
    assert len(news) == 1
    assert {batch["consent"]["analytics"] for batch in recorder.batches[before:]} == {said == "granted"}


@pytest.mark.parametrize("denial", [NONE, "{analytics: false}", NO_ADS])
@pytest.mark.parametrize("host", ["shop.localhost", "localhost", "127.0.0.1"])
async def test_a_denial_takes_metas_cookies_away_and_those_that_come_again(
    context: BrowserContext, page: Page, recorder: Recorder, denial: str, host: str
) -> None:
    recorder.page("/")
    await page.goto(recorder.url("/?fbclid=F1", host))
    await recorder.first("page_view")
    assert {"_fbc", "_fbp"} <= {one["name"] for one in await context.cookies()}
    await page.evaluate(f"postback.consent({denial})")
    assert not {"_fbc", "_fbp"} & {one["name"] for one in await context.cookies()}
    await page.evaluate("document.cookie = '_fbp=fb.1.1763719200123.7;domain=' + location.hostname")
    await page.goto(recorder.url("/", host))
    await recorder.until(lambda: len(recorder.batches) > 2)
    assert not {"_fbc", "_fbp"} & {one["name"] for one in await context.cookies()}
    await page.evaluate(f"postback.consent({ALL})")
    await recorder.until(lambda: "fbp" in recorder.batches[-1].get("identifiers", {}))


async def test_what_was_not_asked_takes_no_cookie_away(context: BrowserContext, page: Page, recorder: Recorder) -> None:
    await context.add_cookies([{"name": "_fbp", "value": "fb.1.1763719200123.7", "url": recorder.url("/")}])
    await landed(
        page, recorder, "dataLayer = [['consent', 'default', {analytics_storage: 'denied', ad_storage: 'denied'}]]"
    )
    await settle(page)
    assert "_fbp" in {one["name"] for one in await context.cookies()}


@pytest.mark.parametrize("value", ["'denied'", "'no'", "0", "1", "''", "{}", "false"])
async def test_any_value_but_true_and_granted_denies(page: Page, recorder: Recorder, value: str) -> None:
    await landed(page, recorder, attributes=ASKING)
    await page.evaluate(f"postback.consent({{analytics: 'granted', ad_user_data: {value}, ad_personalization: true}})")
    await recorder.first("page_view")
    assert recorder.batches[0]["consent"] == {"analytics": True, "ad_user_data": False, "ad_personalization": True}
    await page.evaluate(f"postback.consent({{analytics: {value}, ad_personalization: null}})")
    await recorder.until(lambda: recorder.batches[-1]["consent"]["analytics"] is False)
    assert recorder.batches[-1]["consent"]["ad_personalization"] is True


@pytest.mark.parametrize(
    ("choice", "name"),
    [("{ad_userdata: false}", "ad_userdata"), ("'granted'", "granted"), ("false", "false"), ("", "undefined")],
)
async def test_a_purpose_of_unknown_name_is_not_taken_and_told(
    page: Page, recorder: Recorder, choice: str, name: str
) -> None:
    await landed(page, recorder)
    await recorder.first("page_view")
    async with page.expect_console_message(lambda said: said.text == f"postback: no purpose {name}") as told:
        await page.evaluate(f"postback.consent({choice})")
    assert (await told.value).type == "warning"
    await page.evaluate("postback.track('lead')")
    await recorder.first("lead")
    assert recorder.batches[-1]["consent"] == {}


@pytest.mark.parametrize("choice", ["'granted'", "true", "null"])
async def test_what_names_no_purpose_ends_no_waiting(page: Page, recorder: Recorder, choice: str) -> None:
    await landed(page, recorder, attributes=ASKING)
    await page.evaluate(f"postback.consent({choice})")
    await settle(page)
    assert recorder.batches == []
    assert await page.evaluate(KEPT) == []


async def test_withdrawn_what_waits_goes_away_and_so_does_what_was_stored(
    context: BrowserContext, page: Page, recorder: Recorder
) -> None:
    await landed(page, recorder)
    await recorder.first("page_view")
    await context.set_offline(True)
    await page.evaluate("postback.track('lead')")
    await page.evaluate(f"postback.identify({{email: 'jane@example.com'}}).then(() => postback.consent({NONE}))")
    await context.set_offline(False)
    await recorder.first("consent")
    await page.wait_for_function(f"{KEPT}.length === 1")
    assert [event["event"] for event in recorder.events] == ["page_view", "consent"]
    assert recorder.batches[1]["visitor_id"] == recorder.batches[0]["visitor_id"]
    assert await page.evaluate(KEPT) == ["_pb_c"]
    assert "_pb_vid" not in {one["name"] for one in await context.cookies()}
    await page.evaluate(f"postback.consent({ALL}); postback.track('signup')")
    await recorder.first("signup")


async def test_without_a_say_over_advertising_its_ids_and_who_it_is_stay_here(page: Page, recorder: Recorder) -> None:
    await landed(page, recorder)
    await recorder.first("page_view")
    assert recorder.batches[0]["identifiers"].keys() >= ADS
    await page.evaluate(f"postback.consent({NO_ADS})")
    await page.evaluate("postback.identify({email: 'jane@example.com', userId: 'u-1'})")
    await recorder.first("identify")
    await page.evaluate("""postback.track('lead', {note: 'a ?gclid=G1" and &fbclid=F1\\\\ b'})""")
    assert (await recorder.first("lead"))["properties"] == {"note": 'a ?gclid=" and &fbclid=\\ b'}
    for batch in recorder.batches[1:]:
        assert not ADS & batch["identifiers"].keys()
        assert all("user_data" not in event for event in batch["events"])
        assert batch["utm"]["source"] == "a"
    assert "gclid" not in await page.evaluate("localStorage._pb_ids")


async def test_a_session_of_one_who_denied_does_not_end_before_the_page(page: Page, recorder: Recorder) -> None:
    await page.clock.install()
    await landed(page, recorder)
    await page.evaluate(f"postback.consent({NONE})")
    await recorder.first("consent")
    known = await page.evaluate("postback.getIdentity()")
    assert recorder.batches[-1]["session_id"] == known["sessionId"]
    await page.clock.fast_forward("31:00")
    assert await page.evaluate("postback.getIdentity()") == known


async def test_an_answer_after_the_withdrawal_leaves_no_cookie(
    context: BrowserContext, page: Page, recorder: Recorder
) -> None:
    recorder.cookie = True
    recorder.held.clear()
    await landed(page, recorder)
    await recorder.first("page_view")
    await page.evaluate(f"postback.consent({NONE})")
    recorder.held.set()
    await recorder.first("consent")
    await page.wait_for_function(
        "performance.getEntriesByType('resource').filter((one) => one.name.endsWith('/collect')).length === 2"
    )
    await settle(page)
    assert await context.cookies() == []


@pytest.mark.parametrize("is_by_stub", [False, True], ids=["script", "stub"])
async def test_a_cookie_that_came_after_the_denial_makes_nobody_known(
    context: BrowserContext, page: Page, recorder: Recorder, is_by_stub: bool
) -> None:
    await landed(page, recorder)
    await page.evaluate(f"postback.consent({NONE})")
    await page.wait_for_function(f"{KEPT}.join() === '_pb_c'")
    await context.add_cookies([{"name": "_pb_vid", "value": "v_old", "url": recorder.url("/")}])
    head = stub(recorder) if is_by_stub else recorder.script()
    recorder.pages["/"] = f"<!doctype html>{head}<script>var given = postback.getIdentity()</script>"
    before = len(recorder.batches)
    await page.goto(recorder.url("/"))
    await recorder.until(lambda: len(recorder.batches) > before)
    only_the_denial(recorder, before)
    assert recorder.batches[-1]["visitor_id"] == (await page.evaluate("given"))["visitorId"]
    # The stub has given it to the page already; then the denial is told of it.
    assert (recorder.batches[-1]["visitor_id"] == "v_old") is is_by_stub
    assert await context.cookies() == []


@pytest.mark.parametrize("said", ["", f"postback.consent({NO_ADS})"], ids=["later", "before"])
async def test_nothing_of_a_click_or_a_person_is_kept_without_a_say_over_advertising(
    context: BrowserContext, page: Page, recorder: Recorder, said: str
) -> None:
    await landed(page, recorder)
    await recorder.first("page_view")
    await page.evaluate(said)
    await context.set_offline(True)
    await page.evaluate("postback.identify({email: 'jane@example.com', userId: 'u-1'})")
    await page.evaluate("postback.consent({ad_personalization: true})")
    await page.evaluate(f"postback.consent({NO_ADS})")
    kept = await page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}])")
    assert "identify" in kept
    assert "_pb_cq" in kept
    assert not [part for part in ("G1", "F1", "sha256", "u-1") if part in kept]
    # Granted before it was sent, it is not there any more.
    await page.evaluate(f"postback.consent({ALL})")
    await context.set_offline(False)
    assert "user_data" not in await recorder.first("identify")


async def test_visits_by_clicks_that_may_not_be_told_apart_are_one(page: Page, recorder: Recorder) -> None:
    await landed(page, recorder)
    await recorder.first("page_view")
    await page.evaluate(f"postback.consent({NO_ADS})")
    for path in ("/?gclid=G1&fbclid=F1&utm_source=a", "/?gclid=G2&fbclid=F2&utm_source=a", "/?gclid=G2&utm_source=b"):
        before = len(recorder.named("page_view"))
        await page.goto(recorder.url(path))
        await recorder.until(lambda before=before: len(recorder.named("page_view")) > before)
    sessions = [batch["session_id"] for batch in recorder.batches if "page_view" in str(batch["events"])]
    assert len(set(sessions[:3])) == 1
    assert sessions[3] != sessions[0]
