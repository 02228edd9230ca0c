"""What the browser, Google's consent mode or a TCF API tells of consent."""

from typing import Any

import pytest
from playwright.async_api import Page

from tests.browser.consenting import ADS, GTAG, KEPT, NONE, landed, only_the_denial, settle
from tests.browser.recorder import Recorder


@pytest.mark.parametrize(
    ("before", "then", "expected"),
    [
        ("navigator.__defineGetter__('globalPrivacyControl', () => true)", "", {"ad_user_data": False, "ad_personalization": False}),
        ("dataLayer = []; function gtag() { dataLayer.push(arguments) } gtag('consent', 'default', {ad_storage: 'denied', ad_user_data: 'granted'})",
         "", {"ad_user_data": False}),
        ("dataLayer = []; function gtag() { dataLayer.push(arguments) } gtag('consent', 'default', {analytics_storage: 'denied', ad_user_data: 'denied'})",
         "gtag('consent', 'update', {analytics_storage: 'granted', ad_user_data: 'granted'})", {"analytics": True, "ad_user_data": True}),
        ("__tcfapi = (command, version, then) => { window.told = then }",
         "told({gdprApplies: true, eventStatus: 'cmpuishown'}, true); told({gdprApplies: true, eventStatus: 'useractioncomplete', purpose: {consents: {1: true, 8: true}}}, true)",
         {"analytics": True, "ad_user_data": False, "ad_personalization": False}),
        ("__tcfapi = (command, version, then) => then({gdprApplies: false, eventStatus: 'tcloaded'}, true)", "", {"analytics": True}),
    ],
    ids=["gpc", "google-default-ads", "google-update", "tcf", "tcf-elsewhere"],
)  # fmt: skip
async def test_what_the_browser_or_a_consent_platform_says_holds(
    page: Page, recorder: Recorder, before: str, then: str, expected: dict[str, Any]
) -> None:
    await landed(page, recorder, before)
    if then:
        await settle(page)
        assert recorder.batches == []
        await page.evaluate(then)
    await recorder.first("page_view")
    batch = recorder.batches[0]
    assert batch["consent"] == expected
    assert ADS & batch["identifiers"].keys() == (ADS if expected.get("ad_user_data") is not False else set())


@pytest.mark.parametrize(
    ("before", "then"),
    [
        ("dataLayer = [['consent', 'default', {analytics_storage: 'denied'}]]", "dataLayer.push(['consent', 'update', {analytics_storage: 'denied'}])"),
        ("__tcfapi = (command, version, then) => { window.told = then }", "told({gdprApplies: true, eventStatus: 'useractioncomplete', purpose: {consents: {}}}, true)"),
    ],
    ids=["google", "tcf"],
)  # fmt: skip
async def test_a_platforms_denial_sends_no_page_view(page: Page, recorder: Recorder, before: str, then: str) -> None:
    await landed(page, recorder, before)
    await page.evaluate(then)
    await page.evaluate("postback.track('lead')")
    await page.wait_for_function(f"{KEPT}.length === 1")
    await settle(page)
    assert {event["event"] for event in recorder.events} <= {"consent"}
    assert await page.evaluate(KEPT) == ["_pb_c"]


@pytest.mark.parametrize(
    ("said", "holds"),
    [
        (["default {ad_storage: 'denied', ad_user_data: 'denied'}", "update {ad_user_data: 'granted'}"], False),
        (["default {ad_storage: 'denied', ad_user_data: 'denied'}", "update {ad_storage: 'granted'}"], False),
        (["default {ad_storage: 'denied', ad_user_data: 'denied'}", "update {ad_storage: 'granted'}", "update {ad_user_data: 'granted'}"], True),
        (["default {ad_storage: 'denied'}", "default {ad_storage: 'granted'}", "update {ad_user_data: 'granted'}"], False),
        (["update {ad_storage: 'granted', ad_user_data: 'granted'}", "update {ad_storage: 'denied'}", "update {ad_user_data: 'granted'}"], False),
        (["update {ad_user_data: 'granted'}"], True),
    ],
)  # fmt: skip
async def test_google_grants_advertising_where_neither_of_its_names_is_denied(
    page: Page, recorder: Recorder, said: list[str], holds: bool
) -> None:
    calls = "; ".join(f"gtag('consent', '{one.split()[0]}', {one.split(' ', 1)[1]})" for one in said)
    await landed(page, recorder, f"{GTAG}; {calls}")
    await recorder.first("page_view")
    assert recorder.batches[0]["consent"]["ad_user_data"] is holds
    assert bool(ADS & recorder.batches[0]["identifiers"].keys()) is holds


@pytest.mark.parametrize("entry", ["'consent', 'default'", "'consent', 'default', null", "'consent'", "'event', 'x'"])
async def test_what_google_says_in_part_stops_nothing(page: Page, recorder: Recorder, entry: str) -> None:
    await landed(page, recorder, f"{GTAG}; gtag({entry}); dataLayer.push(null, 1)")
    await recorder.first("page_view")
    assert recorder.batches[0]["consent"] == {}


async def test_where_the_law_does_not_apply_a_denial_holds(page: Page, recorder: Recorder) -> None:
    elsewhere = "__tcfapi = (command, version, then) => then({gdprApplies: false, eventStatus: 'tcloaded'}, true)"
    await landed(page, recorder, elsewhere)
    await recorder.first("page_view")
    await page.evaluate(f"postback.consent({NONE})")
    await recorder.first("consent")
    await page.wait_for_function(f"{KEPT}.length === 1")
    before = len(recorder.batches)
    await page.goto(recorder.url("/"))
    await recorder.until(lambda: len(recorder.batches) > before)
    await settle(page)
    only_the_denial(recorder, before)
