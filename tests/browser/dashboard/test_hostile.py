"""Whatever is sent to us, or answered to us, runs nothing on any page and breaks no layout."""

from typing import Any

from playwright.async_api import Browser

from tests.browser.dashboard.data import jobs
from tests.browser.dashboard.looking import ALL, Watch, look
from tests.browser.dashboard.paths import addresses
from tests.browser.dashboard.running import Hub, until
from tests.browser.recorder import Recorder
from tests.web.dashboard.test_pages import HOSTILE

LONG = "W" * 90
TURNED = "\u202eشراء\u2066 \u200b\u200d\u2060 עִבְרִית Z̸̡̛a\u0335l\u0336g\u0337o"


async def test_what_is_hostile_runs_nothing_and_breaks_no_layout(
    hub: Hub, browser: Browser, recorder: Recorder
) -> None:
    space = await hub.workspace("hostile")
    recorder.pages["/hook"] = HOSTILE
    made: dict[str, str] = {}
    for number, text in enumerate((HOSTILE, LONG, TURNED)):
        url = recorder.url("/hook", "127.0.0.1")
        await space.install("webhook", text, url=f"{url}?{number}")
        for path, body in (
            ("sites", {"name": text, "timezone": "Asia/Kathmandu", "currency": "JPY"}),
            ("goals", {"name": text, "events": [text[:90]], "site": space.site}),
            ("event-types", {"name": text[:90]}),
            ("keys", {"label": text, "scopes": ["ingest"]}),
        ):
            await space.call("POST", path, body)
        await space.call(
            "POST", "members", {"email": f"{'x' * 50}{number}@{'long-' * 10}example.com", "role": "analyst"}
        )
        await space.send([event(text), event(text) | {"event": "purchase", "event_id": f"p{text}"}])
        made[text] = text
    await until(lambda: delivered(space))
    await jobs(space)
    await space.call("POST", "privacy/erasures", {"external_id": f"nobody {HOSTILE}"})
    paths = await addresses(space, orders=list(made), visitors=list(made))
    paths += ["/app/events?name=%22%3E%3Cscript%3Ealert(1)%3C/script%3E", f"/app/events?event_id={LONG * 2}"]
    events = (await space.call("GET", "events?limit=50"))["items"]
    paths += [f"/app/events/{one['id']}" for one in events]
    context = await space.person(browser)
    page, watch = await context.new_page(), Watch(context, hub.url)
    wrong = [
        one for path in dict.fromkeys(paths) for one in await look(page, watch, path, into="hostile", views=ALL[::2])
    ]
    await context.close()
    assert not wrong, "\n".join(wrong)


def event(text: str) -> dict[str, Any]:
    return {
        "event": text[:90], "event_id": text, "order_id": text, "value": 123456789.12, "currency": "EUR",
        "url": f"https://a.b/{text}?utm_source={text}&utm_campaign={LONG}", "referrer": text, "properties": {text: text, "deep": {text: [text]}},
        "experiments": {text[:64]: text[:64]}, "visitor_id": text, "session_id": text, "user_id": text,
        "items": [{"name": text, "product_id": text}],
        "user_data": {"email": "ada@example.com", "client_user_agent": text, "client_ip_address": "198.51.100.7"},
    }  # fmt: skip


async def delivered(space: Any) -> bool:
    return len((await space.call("GET", "deliveries?limit=50&status=delivered"))["items"]) >= 6
