"""A hub that takes events, and a keeper that counts them here and now, in a fresh database."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from postback.db import Pool
from postback.secret import Secret

sys.path.insert(0, str(Path(__file__).parents[1] / "intake"))
sys.path.insert(0, str(Path(__file__).parents[1] / "privacy"))
sys.path.insert(0, str(Path(__file__).parent))

from counted import Counted


@pytest.fixture
async def hub(pool: Pool, database: Secret) -> AsyncIterator[Counted]:
    hub = Counted(pool, database)
    await hub.install()
    await hub.writer.start()
    yield hub
    await hub.writer.close()
