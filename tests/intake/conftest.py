"""A hub that takes events, in a fresh database."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from postback.db import Pool
from postback.secret import Secret

sys.path.insert(0, str(Path(__file__).parent))

from taking import Hub


@pytest.fixture
async def hub(pool: Pool, database: Secret) -> AsyncIterator[Hub]:
    hub = Hub(pool, database)
    await hub.install()
    await hub.writer.start()
    yield hub
    await hub.writer.close()
