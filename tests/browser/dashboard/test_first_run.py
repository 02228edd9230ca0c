"""From `postback serve` on an empty folder to the first delivered event, as somebody does it who has a browser and a
terminal.
"""

import asyncio

from playwright.async_api import Browser, expect

from tests.browser.dashboard.looking import Watch
from tests.browser.dashboard.running import Hub


async def test_first_run_from_signing_in_to_the_first_delivered_event(hub: Hub, browser: Browser) -> None:
    context = await browser.new_context(base_url=hub.url)
    context.set_default_timeout(15_000)
    page, watch = await context.new_page(), Watch(context, hub.url)

    await page.goto("/app")
    await page.get_by_label("Email").fill(hub.owner_email)
    await page.get_by_label("Password").fill(hub.owner_password)
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("heading", name="Waiting for your first event")).to_be_visible()

    zone = await page.evaluate("Intl.DateTimeFormat().resolvedOptions().timeZone")
    await expect(page.get_by_label("Time zone")).to_have_value(zone)
    await page.get_by_role("button", name="Make a key and fill it in").click()
    curl = await page.get_by_label("A curl that sends an event").inner_text()
    assert '"status":"accepted"' in await run(curl)
    await expect(page.get_by_role("heading", name="Your first event is here")).to_be_visible()  # by itself
    ticks = page.locator(".steps .mark.done")
    await expect(ticks).to_have_text(["✓Done:"] * 3)
    assert len({await one.evaluate("one => getComputedStyle(one).color") for one in await ticks.all()}) == 1
    await expect(page.locator("#step-3").get_by_role("heading", name="From a terminal")).to_be_visible()

    await page.get_by_role("link", name="Choose where it goes").click()
    await page.get_by_role("link", name="Webhook").click()
    await page.get_by_label("URL").fill(f"{hub.stand_ins}/webhook/first")
    await page.get_by_role("button", name="Install integration").click()
    await expect(page.get_by_text("Shown once")).to_be_visible()
    await page.get_by_role("link", name="Go on").click()
    await page.get_by_role("link", name="Send test event").click()
    await page.get_by_role("button", name="Send test event").click()
    await expect(page.get_by_role("status").get_by_text("Delivered", exact=True)).to_be_visible()
    await expect(page.get_by_label("Request", exact=True)).to_contain_text("webhook-signature")

    await page.goto("/app/start")
    await run(curl)
    last = page.locator("#step-6")
    await expect(last).to_contain_text("order counted already")
    again = await last.get_by_label("A curl that sends an event").inner_text()
    await run(again.replace("YOUR_KEY", curl.partition("Bearer ")[2].partition('"')[0]))
    await expect(last).to_contain_text("You are done")
    await page.get_by_role("link", name="to Webhook").click()
    await expect(page.get_by_text("Delivered").first).to_be_visible()
    assert watch.read() == []
    await context.close()


async def run(curl: str) -> str:
    """What a shell makes of it."""
    process = await asyncio.create_subprocess_exec("sh", "-c", f"{curl} -sS", stdout=asyncio.subprocess.PIPE)
    return (await process.communicate())[0].decode()
