"""Pages that a visitor lands on by an ad, and what may be chosen there."""

from playwright.async_api import Page

from tests.browser.recorder import Recorder

ALL = "{analytics: true, ad_user_data: true, ad_personalization: true}"
NO_ADS = "{analytics: true, ad_user_data: false, ad_personalization: false}"
NONE = "{analytics: false, ad_user_data: false, ad_personalization: false}"
ADS = {"gclid", "fbclid", "fbc", "fbp"}
KEPT = "[...Object.keys(localStorage), ...Object.keys(sessionStorage)]"
ASKING = "data-consent=required"
NAMES = ("analytics_storage", "ad_storage", "ad_user_data", "ad_personalization")
GTAG = "dataLayer = []; function gtag() { dataLayer.push(arguments) }"
DENIED = f"{GTAG}; gtag('consent', 'default', {dict.fromkeys(NAMES, 'denied')})"


async def landed(page: Page, recorder: Recorder, before: str = "", attributes: str = "") -> None:
    head = recorder.script(attributes)
    recorder.pages["/"] = (
        f"<!doctype html><script>{before}</script>{head}<form><input type=hidden name=visitorId></form>"
    )
    await page.goto(recorder.url("/?gclid=G1&fbclid=F1&utm_source=a"))


async def settle(page: Page) -> None:
    """Time enough for what should not be sent to be sent."""
    await page.evaluate("new Promise((done) => setTimeout(done, 150))")


def only_the_denial(recorder: Recorder, since: int = 0) -> None:
    """All batches from `since` on say that, and nothing else."""
    for batch in recorder.batches[since:]:
        assert [event["event"] for event in batch["events"]] == ["consent"]
        assert not {"session", "identifiers", "utm", "link"} & batch.keys()
        assert not {"url", "referrer", "title"} & batch["events"][0].keys()
        assert batch["consent"]["analytics"] is False
