"""A hub that takes events, and a keeper that counts them here and now, in a fresh database."""

from collections.abc import AsyncIterator

import pytest

from postback.db import Pool
from postback.secret import Secret
from tests.reports.counted import Counted


@pytest.fixture
async def hub(pool: Pool, database: Secret) -> AsyncIterator[Counted]:
    hub = Counted(pool, database)
    await hub.install()
    await hub.writer.start()
    yield hub
    await hub.writer.close()
