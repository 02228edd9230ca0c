"""One `postback serve` for all these tests, which therefore run in one process, one after the other."""

import os
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.browser.dashboard.running import Hub, serving

HERE = Path(__file__).parent
SECONDS = 100  # all together


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("dashboard"))
            item.add_marker(pytest.mark.long(SECONDS))


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def hub() -> AsyncIterator[Hub]:
    with tempfile.TemporaryDirectory(prefix="pb-", dir="/var/tmp", ignore_cleanup_errors=True) as folder:
        os.chmod(folder, 0o711)
        async with serving(Path(folder)) as running:
            yield running
