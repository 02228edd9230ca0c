"""Which Chromium the tests drive: one on PATH, else what `playwright install chromium` put down."""

import shutil

from playwright.async_api import Browser, Playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")


async def launched(playwright: Playwright, *arguments: str) -> Browser:
    found = next(filter(None, map(shutil.which, NAMES)), None)
    return await playwright.chromium.launch(
        executable_path=found,
        args=list(arguments),
        # Playwright turns it off; the tag must live with it.
        ignore_default_args=["--disable-back-forward-cache"],
    )
