"""Which Chromium the tests drive: one on PATH, else what `playwright install chromium` put down."""

import shutil

from playwright.async_api import Browser, Playwright

# The same engine without a browser's windows around it, which take a third of the time; it keeps no page for going back.
SHELL = ("chromium-headless-shell",)
WHOLE = ("chromium", "chromium-browser", "google-chrome")


async def launched(playwright: Playwright, *arguments: str, whole: bool = False) -> Browser:
    """`whole`: with the windows."""
    found = next(filter(None, map(shutil.which, WHOLE if whole else SHELL + WHOLE)), None)
    return await playwright.chromium.launch(
        executable_path=found,
        channel="chromium" if whole and found is None else None,
        args=list(arguments),
        # Playwright turns it off; the tag must live with it.
        ignore_default_args=["--disable-back-forward-cache"],
    )
