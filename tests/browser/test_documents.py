"""The contract documents' browser snippets, run in a page as they stand. Their folder is POSTBACK_CONTRACT_DOCUMENTS;
unset, these cases are not collected.
"""

import os
import re
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from playwright.async_api import BrowserContext, Page

from tests.browser.recorder import Recorder

FOLDER = os.environ.get("POSTBACK_CONTRACT_DOCUMENTS")


def text_of(document: str) -> str:
    return (Path(str(FOLDER)) / document).read_text()


if FOLDER:

    @pytest.mark.parametrize("number", [0, 1], ids=["checkout", "appointment"])
    async def test_selektables_form_carries_the_identity_to_the_shops_server(
        page: Page, recorder: Recorder, number: int
    ) -> None:
        snippet = re.findall(r"<form[\s\S]*?</form>\s*<script>[\s\S]*?</script>", text_of("selektable_orders.txt"))[
            number
        ]
        [action] = re.findall(r'action="([^"]+)"', snippet)
        recorder.page("/", snippet, 'data-global="Selektable"')
        recorder.page(action)
        await page.goto(recorder.url("/"))
        identity = await page.evaluate("Selektable.getIdentity()")
        assert identity["visitorId"]
        assert identity["sessionId"]
        async with page.expect_request(f"**{action}") as posted:
            await page.click("button")
        await page.wait_for_url(f"**{action}")
        sent = parse_qs((await posted.value).post_data or "")
        assert (sent["visitorId"], sent["sessionId"]) == ([identity["visitorId"]], [identity["sessionId"]])
        await page.goto(recorder.url("/"))
        assert await page.evaluate("Selektable.getIdentity()") == identity
        await page.evaluate("Selektable.open('sku-1')")
        assert (await recorder.first("open"))["product"] == "sku-1"

    async def test_convultras_session_id_stands_in_the_form(page: Page, recorder: Recorder) -> None:
        script, markup = re.findall(r"Client Side\s(//[\s\S]*?)(<input[^>]*/>)", text_of("convultra_server_api.txt"))[0]
        # JSX, as the HTML that it makes: a value in braces is what the name holds.
        made = re.sub(r"\{(\w+)\}", r'"${\1}"', markup)
        recorder.page(
            "/",
            f"<form></form><script>{script}\ndocument.forms[0].innerHTML = `{made}`</script>",
            "data-global=Convultra",
        )
        await page.goto(recorder.url("/"))
        await recorder.first("page_view")
        assert (
            await page.evaluate("new FormData(document.forms[0]).get('session_id')")
            == recorder.batches[0]["session_id"]
        )

    async def test_roasproofs_cookie_holds_the_visitor(context: BrowserContext, page: Page, recorder: Recorder) -> None:
        [name] = set(re.findall(r"value of the (\w+) cookie", text_of("roasproof_events.txt")))
        recorder.page("/", attributes=f"data-cookie={name}")
        await page.goto(recorder.url("/"))
        await recorder.first("page_view")
        async with page.expect_request("**/checkout") as request:
            await page.evaluate("void fetch('/checkout')")
        assert f"{name}={recorder.batches[0]['visitor_id']}" in (await (await request.value).all_headers())["cookie"]
