"""How ids get over: hidden fields of forms, links and forms to allowed hosts, another tab."""

from urllib.parse import parse_qs, urlsplit

from playwright.async_api import BrowserContext, Page

from tests.browser.recorder import Recorder

FORM = """<form action="/thanks"><input type=hidden name=visitorId><input type=hidden name=session_id>
<input type=hidden name=ours data-postback=session><input type=hidden name=visitor_id value=kept>
<input name=sessionId value=""><button>Send</button></form>"""


async def submitted(page: Page, action: str = "document.querySelector('button').click()") -> dict[str, str]:
    await page.evaluate(action)
    await page.wait_for_url("**/thanks?*")
    return {name: values[0] for name, values in parse_qs(urlsplit(page.url).query, keep_blank_values=True).items()}


async def test_hidden_fields_of_known_names_and_marked_ones_are_filled_and_no_others(
    page: Page, recorder: Recorder
) -> None:
    recorder.page("/", FORM)
    recorder.page("/thanks")
    await page.goto(recorder.url("/"))
    ids = await page.evaluate("postback.getIdentity()")
    visitor, session = ids["visitorId"], ids["sessionId"]
    assert await page.evaluate("[...document.querySelectorAll('input')].map((one) => one.value)") == [
        visitor, session, session, "kept", "",
    ]  # fmt: skip
    sent = await submitted(page)
    assert sent == {"visitorId": visitor, "session_id": session, "ours": session, "visitor_id": "kept", "sessionId": ""}


async def test_a_form_that_a_script_adds_and_submits_is_filled_with_the_session_of_that_moment(
    page: Page, recorder: Recorder
) -> None:
    recorder.page("/thanks")
    await page.clock.install()
    await page.goto(recorder.url("/"))
    before = await page.evaluate("postback.getIdentity()")
    await page.evaluate("(form) => document.body.insertAdjacentHTML('beforeend', form)", FORM)
    await page.clock.fast_forward("31:00")
    sent = await submitted(page, "document.querySelector('form').submit()")
    assert sent["visitorId"] == before["visitorId"]
    assert sent["session_id"] == sent["ours"] != before["sessionId"]


async def test_autofill_off_leaves_all_but_marked_fields_alone(page: Page, recorder: Recorder) -> None:
    recorder.page("/", FORM, "data-autofill=off")
    recorder.page("/thanks")
    await page.goto(recorder.url("/"))
    sent = await submitted(page)
    assert sent["visitorId"] == sent["session_id"] == ""
    assert sent["ours"].startswith("s_")


async def test_links_and_forms_to_allowed_hosts_carry_the_token_and_no_others_do(
    page: Page, recorder: Recorder
) -> None:
    there = recorder.url("/pay", "checkout.localhost")
    recorder.answer = lambda body: (
        200,
        {"link": "T0K.en", "link_expires_in": 300, "link_domains": ["checkout.localhost"]},
    )
    recorder.page(
        "/",
        f"""<a id=allowed href="{there}?a=%20b&pb_vid=old#c">x</a><a id=inside href="/two?x=1">x</a>
        <a id=other href="{recorder.url("/pay", "other.localhost")}">x</a><form action="{there}"><button>x</button></form>""",
    )
    recorder.page("/two")
    recorder.page("/pay")
    await page.goto(recorder.url("/"))
    await recorder.first("page_view")
    await page.wait_for_function("Object.keys(localStorage).every((key) => !key.startsWith('_pb_q'))")
    await page.evaluate("addEventListener('click', (event) => event.target.id && event.preventDefault())")
    hrefs: dict[str, str] = {}
    for name in ("allowed", "inside", "other"):
        await page.click(f"#{name}")
        hrefs[name] = await page.evaluate(f"document.getElementById('{name}').href")
    assert hrefs == {
        "allowed": f"{there}?a=%20b&pb_vid=T0K.en#c",
        "inside": recorder.url("/two?x=1"),
        "other": recorder.url("/pay", "other.localhost"),
    }
    # A GET form's address is all that the other side gets; there the tag takes it out again.
    async with page.expect_request(lambda request: "/pay" in request.url) as request:
        await page.click("button")
    assert (await request.value).url == f"{there}?pb_vid=T0K.en"


async def test_links_and_forms_carry_no_token_once_analytics_is_denied(page: Page, recorder: Recorder) -> None:
    there = recorder.url("/pay", "checkout.localhost")
    recorder.answer = lambda body: (
        200,
        {"link": "T0K.en", "link_expires_in": 300, "link_domains": ["checkout.localhost"]},
    )
    recorder.page("/", f"""<a id=one href="{there}?a=1#c">x</a><form action="{there}"><button>x</button></form>""")
    recorder.page("/pay")
    await page.goto(recorder.url("/"))
    await page.wait_for_function("sessionStorage._pb_s && JSON.parse(sessionStorage._pb_s).told.new === false")
    await page.evaluate("addEventListener('click', (event) => event.target.id && event.preventDefault())")
    await page.click("#one")
    assert await page.evaluate("one.href") == f"{there}?a=1&pb_vid=T0K.en#c"
    await page.evaluate("postback.consent({analytics: false})")
    # The answer brings a token still.
    await page.wait_for_function("Object.keys(localStorage).join() === '_pb_c'")
    await page.click("#one")
    assert await page.evaluate("one.href") == f"{there}?a=1#c"
    async with page.expect_request(lambda request: "/pay" in request.url) as request:
        await page.click("button")
    assert (await request.value).url == f"{there}?"


async def test_the_tag_on_the_other_side_hands_the_token_in_and_becomes_who_it_proves(
    page: Page, recorder: Recorder
) -> None:
    proved = {"visitor_id": "v_first", "session_id": "s_first"}
    recorder.answer = lambda body: (200, proved if body.get("link") == "T0K.en" else {})
    recorder.page("/pay", "<form><input type=hidden name=visitorId></form>")
    await page.goto(recorder.url("/pay?a=1&pb_vid=T0K.en&b=2", "checkout.localhost"))
    assert page.url == recorder.url("/pay?a=1&b=2", "checkout.localhost")
    await recorder.first("page_view")
    [batch] = recorder.batches
    assert batch["link"] == "T0K.en"
    assert "pb_vid" not in batch["session"]["landing"] + batch["events"][0]["url"]
    await page.wait_for_function("document.querySelector('input').value === 'v_first'")
    assert await page.evaluate("postback.getIdentity()") == {"visitorId": "v_first", "sessionId": "s_first"}
    await page.evaluate("postback.track('lead')")
    await recorder.first("lead")
    assert (recorder.batches[1]["visitor_id"], recorder.batches[1]["session_id"]) == ("v_first", "s_first")
    assert "link" not in recorder.batches[1]
    assert recorder.batches[1]["session"] == {"new": False}  # it began elsewhere


async def test_a_token_is_renewed_before_it_ends(page: Page, recorder: Recorder) -> None:
    recorder.answer = lambda body: (
        200, {"link": f"T{len(recorder.batches)}", "link_expires_in": 300, "link_domains": ["checkout.localhost"]},
    )  # fmt: skip
    await page.clock.install()
    await page.goto(recorder.url("/"))
    await recorder.first("page_view")
    await page.wait_for_function("Object.keys(localStorage).every((key) => !key.startsWith('_pb_q'))")
    await page.clock.run_for(245_000)
    await recorder.until(lambda: len(recorder.batches) == 2)
    assert recorder.batches[1]["events"] == []


async def test_a_new_tab_is_the_same_visit(context: BrowserContext, page: Page, recorder: Recorder) -> None:
    await page.goto(recorder.url("/"))
    tab = await context.new_page()
    await tab.goto(recorder.url("/"))
    assert await page.evaluate("postback.getIdentity()") == await tab.evaluate("postback.getIdentity()")
