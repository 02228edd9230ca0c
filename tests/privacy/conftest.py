"""A hub that takes events, with a webhook and a goal, in a fresh database."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from postback.db import Pool
from postback.secret import Secret

sys.path.insert(0, str(Path(__file__).parents[1] / "intake"))
sys.path.insert(0, str(Path(__file__).parent))

from erasable import Erasable


@pytest.fixture
async def hub(pool: Pool, database: Secret) -> AsyncIterator[Erasable]:
    hub = Erasable(pool, database)
    await hub.install()
    await hub.writer.start()
    hub.destination = await hub.add_destination()
    yield hub
    await hub.writer.close()
