"""A hub that takes events, in a fresh database."""

from collections.abc import AsyncIterator

import pytest

from postback.db import Pool
from postback.secret import Secret
from tests.intake.taking import Hub


@pytest.fixture
async def hub(pool: Pool, database: Secret) -> AsyncIterator[Hub]:
    hub = Hub(pool, database)
    await hub.install()
    await hub.writer.start()
    yield hub
    await hub.writer.close()
