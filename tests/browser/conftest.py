"""A real Chromium, headless: one a worker, a context a test; pages and batches go over real sockets. `make browser` sees
to one. Tests with the hub have a browser of their own, for the hub runs in the test's loop.
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, async_playwright

from tests.browser.chromium import launched
from tests.browser.recorder import Recorder
from tests.delivery.delivering import working_beside
from tests.delivery.stand_ins import StandIns, standing_in

HERE = Path(__file__).parent
PATIENCE_MS = 8_000


ONE_LOOP = pytest.mark.asyncio(loop_scope="session")


@pytest.hookimpl(tryfirst=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One loop for all who share the browser; said here too, or what they share would be made anew for each."""
    if "served" not in metafunc.fixturenames:
        metafunc.definition.add_marker(ONE_LOOP, append=False)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents and isinstance(item, pytest.Function) and "served" not in item.fixturenames:
            item.add_marker(ONE_LOOP, append=False)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await launched(playwright)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="session")
async def context(browser: Browser) -> AsyncIterator[BrowserContext]:
    """A browser of its own: nothing stored."""
    context = await browser.new_context()
    context.set_default_timeout(PATIENCE_MS)
    yield context
    await context.close()


@pytest_asyncio.fixture(loop_scope="session")
async def page(context: BrowserContext, recorder: Recorder) -> Page:
    return await context.new_page()


@pytest_asyncio.fixture(loop_scope="session")
async def recorder() -> AsyncIterator[Recorder]:
    recorder = Recorder()
    await recorder.start()
    recorder.page("/")
    yield recorder
    await recorder.stop()


@pytest.fixture
async def stand_ins() -> AsyncIterator[StandIns]:
    async with standing_in() as running:
        yield running


@pytest.fixture
def worker(served: Any) -> Any:
    return working_beside(served)
