"""`make screenshots`: the pictures of docs/ and of README, taken of a shop that was filled as the tests fill it."""

import asyncio
import os
import sys
import tempfile
from datetime import timedelta
from pathlib import Path

import psycopg
from playwright.async_api import async_playwright

from postback.db import embedded
from tests.browser.chromium import launched
from tests.browser.dashboard.data import NOW, fill
from tests.browser.dashboard.looking import DESKTOP, PHONE, Scheme
from tests.browser.dashboard.running import Workspace, serving, until

IMAGES = Path(__file__).parents[3] / "docs" / "images"
MOST_BYTES = 200_000
EVENTS, DAYS = 30_000, 56
# Sessions that are told weeks late are not counted by themselves.
COUNT_AGAIN = (
    b"INSERT INTO dirty_hour (bucket, hour, id, due_at) "
    b"SELECT bucket, date_trunc('hour', at), gen_random_uuid(), now() FROM touch GROUP BY 1, 2"
)
# File, page, size, scheme. {event}, {destination}: ids.
PICTURES: list[tuple[str, str, dict[str, int], Scheme]] = [
    ("overview", "/app?period=28&show=revenue-EUR", DESKTOP, "light"),
    ("overview-dark", "/app?period=28&show=revenue-EUR", DESKTOP, "dark"),
    ("overview-phone", "/app?period=28&show=revenue-EUR", PHONE, "light"),
    ("live", "/app/live", DESKTOP | {"height": 640}, "dark"),
    ("event", "/app/events/{event}", DESKTOP, "light"),
    ("integration", "/app/integrations/{destination}", DESKTOP, "light"),
    ("library", "/app/integrations/library", DESKTOP, "light"),
]


async def take() -> None:
    with tempfile.TemporaryDirectory(prefix="pb-", dir="/var/tmp", ignore_cleanup_errors=True) as folder:
        os.chmod(folder, 0o711)
        async with serving(Path(folder)) as hub, async_playwright() as playwright:
            space = await hub.workspace("shop")
            await fill(space, EVENTS, hub=hub, visits=EVENTS // 7, days=DAYS, delivered=4000)
            dsn = await embedded.running(Path(folder) / "data")
            assert dsn is not None
            async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
                await connection.execute(COUNT_AGAIN)
            await until(lambda: counted(space), 1200)  # in the background, as all counting is
            ids = {
                "event": (await space.call("GET", "events?event_id=sold"))["items"][0]["id"],
                "destination": (await space.call("GET", "destinations"))["items"][0]["id"],
            }
            browser = await launched(playwright)
            context = await space.person(browser)
            page = await context.new_page()
            for name, path, size, scheme in PICTURES:
                await page.set_viewport_size(size)  # type: ignore[arg-type]
                await page.emulate_media(color_scheme=scheme)
                await page.goto(path.format(**ids))
                made = await page.screenshot(path=IMAGES / f"{name}.png", animations="disabled")
                assert len(made) < MOST_BYTES, (name, len(made))
            await browser.close()


async def counted(space: Workspace) -> bool:
    """The reports have all of it: they say the same as some seconds before."""
    since = (NOW - timedelta(days=30)).isoformat().replace("+", "%2B")
    before = await space.call("GET", f"reports/overview?from={since}")
    await asyncio.sleep(5)
    now = await space.call("GET", f"reports/overview?from={since}")
    return now["trend"] == before["trend"] and now["sessions"]["now"] > EVENTS // 7 * 0.6


if __name__ == "__main__":
    sys.exit(asyncio.run(take()))
