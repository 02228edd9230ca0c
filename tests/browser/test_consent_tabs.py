"""A choice in one tab holds in all of them."""

import pytest
from playwright.async_api import BrowserContext, Page

from tests.browser.consenting import ADS, ALL, ASKING, KEPT, NO_ADS, NONE, landed, only_the_denial, settle
from tests.browser.recorder import Recorder


async def of_two_tabs(context: BrowserContext, page: Page, recorder: Recorder) -> Page:
    """Another tab than `page`, both of a visitor who allowed all."""
    await landed(page, recorder)
    await page.evaluate(f"postback.consent({ALL})")
    await recorder.first("consent")
    other = await context.new_page()
    await other.goto(recorder.url("/"))
    await recorder.until(lambda: len(recorder.named("page_view")) == 2)
    return other


@pytest.mark.parametrize("heard", [True, False], ids=["heard", "not-heard"])
async def test_a_withdrawal_in_one_tab_holds_in_all_and_is_told_once(
    context: BrowserContext, page: Page, recorder: Recorder, heard: bool
) -> None:
    if not heard:  # A page that the browser does not tell, as one in the back-forward cache.
        await page.add_init_script("addEventListener('storage', (event) => event.stopImmediatePropagation(), true)")
    other = await of_two_tabs(context, page, recorder)
    before = len(recorder.batches)
    known = await page.evaluate("postback.getIdentity()")
    await other.evaluate(f"postback.consent({NONE})")
    await recorder.until(lambda: len(recorder.batches) > before)
    await page.evaluate("postback.track('lead'); postback.page()")
    assert await page.evaluate("postback.getVisitorId()") == known["visitorId"]
    if heard:
        assert await page.evaluate("postback.getIdentity()") == known
    await settle(page)
    only_the_denial(recorder, before)
    assert len(recorder.batches) == before + 1
    for tab in (page, other) if heard else (other,):
        assert await tab.evaluate(KEPT) == ["_pb_c"]
    assert await page.evaluate("Object.keys(localStorage)") == ["_pb_c"]
    assert await context.cookies() == []


async def test_ads_denied_in_one_tab_are_denied_in_all(context: BrowserContext, page: Page, recorder: Recorder) -> None:
    other = await of_two_tabs(context, page, recorder)
    assert "G1" in await page.evaluate("sessionStorage._pb_s")
    await other.evaluate(f"postback.consent({NO_ADS})")
    await page.evaluate("postback.track('lead')")
    await recorder.first("lead")
    [lead] = [batch for batch in recorder.batches if "lead" in [event["event"] for event in batch["events"]]]
    assert lead["visitor_id"] == recorder.batches[0]["visitor_id"]
    assert lead["consent"]["ad_user_data"] is False
    assert not ADS & lead["identifiers"].keys()
    await settle(page)
    kept = await page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}])")
    assert "G1" not in kept
    assert not {"_fbc", "_fbp"} & {one["name"] for one in await context.cookies()}


@pytest.mark.parametrize("choice", [ALL, NONE], ids=["all", "none"])
async def test_a_tab_that_waits_goes_by_what_is_chosen_in_another(
    context: BrowserContext, page: Page, recorder: Recorder, choice: str
) -> None:
    await landed(page, recorder, attributes=ASKING)
    other = await context.new_page()
    await other.goto(recorder.url("/"))
    mine, others = [await tab.evaluate("postback.getVisitorId()") for tab in (page, other)]
    assert mine != others
    await page.evaluate("postback.track('lead')")
    await other.evaluate(f"postback.consent({choice})")
    # Our server does not know this tab's id yet.
    await recorder.until(lambda: {batch["visitor_id"] for batch in recorder.batches} == {mine, others})
    if choice == NONE:
        await settle(page)
        only_the_denial(recorder)
        assert len(recorder.batches) == 2
        return
    await recorder.first("lead")
    assert len(recorder.named("consent")) == 1


async def test_what_a_tab_kept_while_it_was_elsewhere_is_not_gone_on_with_after_a_denial(
    page: Page, recorder: Recorder
) -> None:
    await landed(page, recorder)
    await recorder.first("page_view")
    kept = await page.evaluate("[postback.getSessionId(), sessionStorage._pb_s]")
    await page.evaluate(f"postback.consent({NONE})")
    await page.wait_for_function(f"{KEPT}.join() === '_pb_c'")
    await page.evaluate("(kept) => { sessionStorage._pb_s = kept }", kept[1])
    before = len(recorder.batches)
    await page.goto(recorder.url("/"))
    await recorder.until(lambda: len(recorder.batches) > before)
    only_the_denial(recorder, before)
    ids = await page.evaluate("postback.getIdentity()")
    assert ids == {"visitorId": recorder.batches[-1]["visitor_id"], "sessionId": recorder.batches[-1]["session_id"]}
    assert ids["sessionId"] != kept[0]
    await page.wait_for_function(f"{KEPT}.join() === '_pb_c'")
