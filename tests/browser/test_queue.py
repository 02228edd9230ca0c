"""Nothing is lost and nothing counts twice: offline, a closed tab, a refusing hub, several tabs, blocked storage."""

from collections import Counter
from typing import Any

from playwright.async_api import Browser, BrowserContext, Page

from tests.browser.recorder import Recorder

QUEUED = "Object.keys(localStorage).filter((key) => key.startsWith('_pb_q')).length"


async def test_what_happens_in_30_offline_seconds_is_sent_once_when_the_network_is_back(
    context: BrowserContext, page: Page, recorder: Recorder
) -> None:
    await page.clock.install()
    await page.goto(recorder.url("/"))
    await recorder.first("page_view")
    await context.set_offline(True)
    made = [await page.evaluate(f"postback.track('lead', {{n: {n}}})") for n in range(3)]
    for _ in range(3):
        await page.clock.run_for(10_000)
    assert recorder.named("lead") == []
    assert await page.evaluate(QUEUED) == 3
    await context.set_offline(False)
    await recorder.until(lambda: len(recorder.named("lead")) == 3)
    await page.wait_for_function(f"{QUEUED} === 0")
    await page.clock.run_for(600_000)
    assert [event["event_id"] for event in recorder.named("lead")] == made


async def test_what_a_tab_closed_offline_left_is_sent_by_the_next_page_as_the_visit_it_was(
    context: BrowserContext, page: Page, recorder: Recorder
) -> None:
    await page.goto(recorder.url("/"))
    await recorder.first("page_view")
    session = recorder.batches[0]["session_id"]
    await context.set_offline(True)
    made = await page.evaluate("postback.track('lead')")
    await page.close()
    await context.set_offline(False)
    later = await context.new_page()
    await later.clock.install()
    await later.goto(recorder.url("/?utm_source=other"))
    await recorder.until(lambda: len(recorder.named("page_view")) == 2)
    # The closing tab's own request may have outlived it, and being offline with it; nobody heard the answer.
    before = len(recorder.batches)
    # The closed tab's claim on it must run out first.
    await later.clock.fast_forward(16_000)

    def leads(first: int) -> list[tuple[str, str]]:
        return [
            (event["event_id"], batch["session_id"])
            for batch in recorder.batches[first:] for event in batch["events"] if event["event"] == "lead"
        ]  # fmt: skip

    await recorder.until(lambda: leads(before))
    await later.wait_for_function(f"{QUEUED} === 0")
    assert leads(before) == [(made, session)]
    assert set(leads(0)) == {(made, session)}
    assert len({batch["session_id"] for batch in recorder.batches}) == 2


async def test_what_is_tracked_as_the_tab_closes_arrives(page: Page, recorder: Recorder) -> None:
    await page.goto(recorder.url("/"))
    await recorder.first("page_view")
    await page.evaluate("addEventListener('pagehide', () => postback.track('left')); void postback.track('leaving')")
    await page.close(run_before_unload=False)
    await recorder.first("leaving")


async def test_a_refusing_hub_is_asked_again_after_longer_and_longer_under_the_same_ids(
    page: Page, recorder: Recorder
) -> None:
    statuses = iter([503, 429, 500])
    recorder.answer = lambda body: (next(statuses, 200), {})
    await page.clock.install()
    await page.goto(recorder.url("/"))
    await recorder.until(lambda: len(recorder.batches) == 1)
    waited: list[int] = []
    for count in (2, 3, 4):
        seconds = 0
        while len(recorder.batches) < count and seconds < 20:
            await page.clock.run_for(500)
            await page.evaluate("new Promise((done) => requestAnimationFrame(done))")
            seconds += 0.5
        await recorder.until(lambda count=count: len(recorder.batches) == count)
        waited.append(seconds)
    assert waited[0] <= 2.5
    assert 2 <= waited[2] <= 9
    assert [batch["_status"] for batch in recorder.batches] == [503, 429, 500, 200]
    assert len({batch["events"][0]["event_id"] for batch in recorder.batches}) == 1
    assert all(batch["session"]["new"] for batch in recorder.batches)
    assert len({batch["sent_at"] for batch in recorder.batches}) == 4
    await page.wait_for_function(f"{QUEUED} === 0")


async def test_a_batch_that_is_refused_for_good_is_not_sent_again(page: Page, recorder: Recorder) -> None:
    recorder.answer = lambda body: (403, {"error": {"code": "forbidden", "message": "no"}})
    await page.clock.install()
    await page.goto(recorder.url("/"))
    await recorder.first("page_view")
    await page.wait_for_function(f"{QUEUED} === 0")
    await page.clock.run_for(600_000)
    assert len(recorder.batches) == 1


async def test_what_is_refused_is_told_on_the_console(page: Page, recorder: Recorder) -> None:
    told: list[str] = []
    page.on("console", lambda one: told.append(one.text) if one.type == "warning" else None)
    wrong = [{"index": at, "error": {"message": f"value is wrong {at}", "field": "value"}} for at in (0, 1)]
    answers: list[tuple[int, dict[str, Any]]] = [
        (200, {"rejected": wrong}),
        (403, {"error": {"message": "no site has this key"}}),
        (503, {"error": {"message": "away"}}),
    ]
    recorder.answer = lambda body: answers.pop(0) if answers else (200, {"rejected": []})
    await page.goto(recorder.url("/"))
    for count in (2, 3):
        await page.wait_for_function(f"{QUEUED} === 0")
        await page.evaluate("postback.track('lead')")
        await recorder.until(lambda count=count: len(recorder.batches) >= count)
    await page.wait_for_function(f"{QUEUED} === 0")
    assert told == ["postback: value is wrong 0", "postback: value is wrong 1", "postback: no site has this key"]


async def test_two_tabs_are_one_visitor_in_one_visit_and_send_each_event_once(
    context: BrowserContext, page: Page, recorder: Recorder
) -> None:
    other = await context.new_page()
    await page.goto(recorder.url("/"))
    await recorder.first("page_view")
    await other.goto(recorder.url("/"))
    await recorder.until(lambda: len(recorder.named("page_view")) == 2)
    assert await page.evaluate("postback.getIdentity()") == await other.evaluate("postback.getIdentity()")
    await context.set_offline(True)
    made: list[str] = []
    for tab in (page, other, page, other):
        made += await tab.evaluate("[1, 2, 3].map((n) => postback.track('lead', {n}))")
        await tab.evaluate("new Promise((done) => setTimeout(done, 20))")
    await context.set_offline(False)
    await recorder.until(lambda: len({event["event_id"] for event in recorder.named("lead")}) == 12)
    await page.wait_for_function(f"{QUEUED} === 0")
    assert Counter(event["event_id"] for event in recorder.named("lead")) == Counter(made)


async def test_events_of_two_names_under_one_id_at_one_moment_are_two(page: Page, recorder: Recorder) -> None:
    recorder.page("/")
    await page.goto(recorder.url("/"))
    await page.evaluate(
        "for (let n = 0; n < 10; n++) for (const name of ['purchase', 'subscribe']) postback.track(name, {event_id: 'o' + n})"
    )
    await recorder.until(lambda: len(recorder.named("subscribe")) == 10)
    assert len(recorder.named("purchase")) == 10


async def test_batches_stay_below_64_kilobytes_and_one_that_never_could_is_refused_aloud(
    page: Page, recorder: Recorder
) -> None:
    await page.goto(recorder.url("/"))
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text) if message.type == "warning" else None)
    await page.evaluate("for (let n = 0; n < 30; n++) postback.track('lead', {n, text: 'é'.repeat(3000)})")
    await page.evaluate("postback.track('huge', {text: 'x'.repeat(9000)})")
    await recorder.until(lambda: len(recorder.named("lead")) == 30)
    assert max(batch["_size"] for batch in recorder.batches) < 65_536
    assert max(len(batch["events"]) for batch in recorder.batches) <= 50
    assert sorted(event["properties"]["n"] for event in recorder.named("lead")) == list(range(30))
    assert recorder.named("huge") == []
    assert said == ["postback: too much"]


async def test_with_storage_blocked_the_page_is_one_visitor_and_nothing_breaks(page: Page, recorder: Recorder) -> None:
    # A sandboxed frame without a origin of its own: storage and cookies throw, as where a browser blocks them.
    frame = f'<iframe sandbox="allow-scripts" src="{recorder.url("/framed")}"></iframe>'
    recorder.pages["/outer"] = f"<!doctype html>{frame}"
    recorder.page("/framed", "<script>window.ids = [postback.getIdentity()]</script>")
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    await page.goto(recorder.url("/outer"))
    await recorder.first("page_view")
    inner = page.frames[1]
    assert (
        await inner.evaluate("(() => { try { return localStorage } catch (e) { return e.name } })()") == "SecurityError"
    )
    recorder.answer = lambda body: (503, {})
    await inner.evaluate("void postback.track('lead')")
    await recorder.first("lead")
    recorder.answer = lambda body: (200, {})
    await recorder.until(lambda: recorder.batches[-1]["_status"] == 200)
    assert recorder.batches[-1]["events"] == recorder.named("lead")[:1]
    visitors = {(batch["visitor_id"], batch["session_id"]) for batch in recorder.batches}
    identity = (await inner.evaluate("ids"))[0]
    assert visitors == {(identity["visitorId"], identity["sessionId"])}
    assert len({batch["identifiers"]["fbp"]["value"] for batch in recorder.batches}) == 1
    assert errors == []


async def test_a_private_window_is_somebody_else_and_leaves_nothing(
    browser: Browser, page: Page, recorder: Recorder
) -> None:
    await page.goto(recorder.url("/?gclid=G1"))
    await recorder.first("page_view")
    private = await browser.new_context()
    window = await private.new_page()
    await window.goto(recorder.url("/"))
    await recorder.until(lambda: len(recorder.batches) == 2)
    known, unknown = recorder.batches
    assert known["visitor_id"] != unknown["visitor_id"]
    assert unknown["identifiers"].keys() == {"fbp"}
    await private.close()
    await page.goto(recorder.url("/"))
    await recorder.until(lambda: len(recorder.batches) == 3)
    assert recorder.batches[2]["visitor_id"] == known["visitor_id"]


async def test_a_queue_that_holds_what_is_not_ours_goes_on(page: Page, recorder: Recorder) -> None:
    await page.add_init_script(
        "localStorage['_pb_q0broken'] = '{'; localStorage._pb_ids = '['; sessionStorage._pb_s = 'x'"
    )
    await page.goto(recorder.url("/"))
    await recorder.first("page_view")
