"""`make screenshots`: the pictures of docs/ and of README, taken of a shop that was filled as the tests fill it."""

import asyncio
import os
import sys
import tempfile
from pathlib import Path

from playwright.async_api import async_playwright

from tests.browser.chromium import launched
from tests.browser.dashboard.data import fill
from tests.browser.dashboard.looking import DESKTOP, PHONE, Scheme
from tests.browser.dashboard.paths import ids_of
from tests.browser.dashboard.running import serving

IMAGES = Path(__file__).parents[3] / "docs" / "images"
MOST_BYTES = 200_000
# File, page, size, scheme. {name}: the first id that a list gives.
PICTURES: list[tuple[str, str, dict[str, int], Scheme]] = [
    ("overview", "/app", DESKTOP, "light"),
    ("overview-dark", "/app", DESKTOP, "dark"),
    ("overview-phone", "/app", PHONE, "light"),
    ("live", "/app/live", DESKTOP, "dark"),
    ("event", "/app/events/{event}", DESKTOP, "light"),
    ("integration", "/app/integrations/{destination}", DESKTOP, "light"),
    ("library", "/app/integrations/library", DESKTOP, "light"),
]


async def take() -> None:
    with tempfile.TemporaryDirectory(prefix="pb-", dir="/var/tmp", ignore_cleanup_errors=True) as folder:
        os.chmod(folder, 0o711)
        async with serving(Path(folder)) as hub, async_playwright() as playwright:
            space = await hub.workspace("shop")
            await fill(space, 20_000, hub=hub)
            ids = await ids_of(space)
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


if __name__ == "__main__":
    sys.exit(asyncio.run(take()))
