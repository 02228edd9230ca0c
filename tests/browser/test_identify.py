"""Emails and phones leave the browser as the hashes that our server would make of them, and nothing else of a person does."""

import json
from hashlib import sha256
from pathlib import Path

from playwright.async_api import Page

from tests.browser.recorder import Recorder

VECTORS = json.loads((Path(__file__).parents[1] / "pii/vectors.json").read_text())


async def test_every_vector_gives_the_same_hashes_as_on_the_server(page: Page, recorder: Recorder) -> None:
    await page.goto(recorder.url("/"))
    await page.evaluate(
        "async (all) => { for (const [n, one] of all.entries()) await postback.identify({...one, userId: n}) }", VECTORS
    )
    await recorder.until(lambda: len(recorder.named("identify")) == len(VECTORS))
    sent = {event["user_data"].pop("user_id", "0"): event["user_data"] for event in recorder.named("identify")}
    for number, vector in enumerate(VECTORS):
        expected = {name: sha256(text.encode()).hexdigest() for name, text in vector["hashed"].items()}
        assert sent[str(number)] == expected, vector


async def test_a_hash_is_not_hashed_again_and_no_other_field_leaves(page: Page, recorder: Recorder) -> None:
    await page.goto(recorder.url("/"))
    known = "AB" * 32
    await page.evaluate(
        f"postback.identify({{email: '{known}', phone: null, userId: ' u-1', firstName: 'Jane', street: 'x'}})"
    )
    event = await recorder.first("identify")
    names = ("email_sha256", "email_google_sha256", "email_nodots_sha256")
    assert event["user_data"] == dict.fromkeys(names, known.lower()) | {"user_id": " u-1"}
    assert "Jane" not in json.dumps(recorder.batches)


async def test_without_tls_there_is_nothing_to_hash_with_and_nothing_leaves(page: Page, recorder: Recorder) -> None:
    await page.add_init_script("Object.defineProperty(crypto, 'subtle', {value: undefined})")
    await page.goto(recorder.url("/"))
    await page.evaluate("postback.identify({email: 'jane@example.com', userId: 'u-1'})")
    assert (await recorder.first("identify"))["user_data"] == {"user_id": "u-1"}
