"""A choice that comes late: what waits for it is told whole, under the same ids; and a page that clears what is stored."""

import pytest
from playwright.async_api import Page

from tests.browser.consenting import ALL, ASKING, DENIED, NAMES, NONE, landed, settle
from tests.browser.recorder import Recorder

GRANTED = f"gtag('consent', 'update', {dict.fromkeys(NAMES, 'granted')})"


async def test_a_grant_after_googles_default_loses_nothing_of_the_landing(page: Page, recorder: Recorder) -> None:
    await landed(page, recorder, DENIED)
    given = await page.evaluate("postback.getIdentity()")
    await page.evaluate("postback.identify({userId: 'u-1'})")
    # The page moves on before the visitor has answered.
    await page.evaluate("history.pushState({}, '', '/lamp')")
    await settle(page)
    assert recorder.batches == []
    await page.evaluate(f"{GRANTED}; postback.track('lead')")
    await recorder.first("lead")
    assert (await recorder.first("identify"))["user_data"] == {"user_id": "u-1"}
    assert "gclid=G1" in recorder.named("page_view")[0]["url"]
    assert await page.evaluate("postback.getIdentity()") == given
    assert {batch["session_id"] for batch in recorder.batches} == {given["sessionId"]}
    assert recorder.batches[0]["identifiers"]["gclid"]["value"] == "G1"


async def test_an_update_that_names_nothing_of_ours_is_no_choice(page: Page, recorder: Recorder) -> None:
    await landed(page, recorder, DENIED)
    await page.evaluate("gtag('consent', 'update', {functionality_storage: 'granted'})")
    await settle(page)
    assert recorder.batches == []
    await page.evaluate(GRANTED)
    await recorder.first("page_view")


async def test_a_denial_is_told_though_too_much_waits(page: Page, recorder: Recorder) -> None:
    recorder.answer = lambda body: (503, {})
    await landed(page, recorder)
    await recorder.first("page_view")
    await page.evaluate("for (let n = 0; n < 510; n++) postback.track('lead')")
    recorder.answer = lambda body: (200, {})
    await page.evaluate(f"postback.consent({NONE})")
    await recorder.first("consent")


@pytest.mark.parametrize(("choice", "is_sent"), [(ALL, True), (NONE, False)])
async def test_a_page_that_clears_the_storage_keeps_its_choice(
    page: Page, recorder: Recorder, choice: str, is_sent: bool
) -> None:
    await landed(page, recorder, attributes=ASKING)
    await page.evaluate(f"postback.consent({choice})")
    await recorder.first("consent")
    await settle(page)
    await page.evaluate("localStorage.clear(); postback.track('signup')")
    await settle(page)
    if is_sent:
        await recorder.first("signup")
    assert bool(recorder.named("signup")) == is_sent


@pytest.mark.parametrize(
    "junk",
    [
        "_pb_q1 = 5",
        "_pb_q1 = '{}'",
        "_pb_q1 = '[]'",
        "_pb_queue = '[]'",
        "_pb_ids = '7'",
        "_pb_ids = '{\"utm\": 5}'",
        '_pb_ids = \'{"utm": {"value": "x"}}\'',
        "_pb_ls = JSON.stringify({at: Date.now(), told: 5})",
        "_pb_ls = true",
        "_pb_vid = 'x y'",
    ],
)
async def test_what_is_stored_under_our_names_and_is_not_ours_stops_nothing(
    page: Page, recorder: Recorder, junk: str
) -> None:
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    await page.add_init_script(f"localStorage.{junk}")
    await page.goto(recorder.url("/"))
    await page.evaluate("postback.track('lead')")
    await recorder.first("lead")
    assert errors == []
    assert all(batch["session_id"] and batch["visitor_id"] for batch in recorder.batches)


async def test_a_claim_of_a_clock_far_ahead_is_none(page: Page, recorder: Recorder) -> None:
    claimed = (
        "localStorage._pb_q1 = JSON.stringify(['v_1', {id: 's_1', told: {}}, {event: 'lead', event_id: 'e1'}, 9e15])"
    )
    await page.add_init_script(claimed)
    await page.goto(recorder.url("/"))
    assert (await recorder.first("lead"))["event_id"] == "e1"
