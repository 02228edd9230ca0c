"""A hub that takes events, with a webhook and a goal, in a fresh database."""

from collections.abc import AsyncIterator

import pytest

from postback.db import Pool
from postback.secret import Secret
from tests.privacy.erasable import Erasable


@pytest.fixture
async def hub(pool: Pool, database: Secret) -> AsyncIterator[Erasable]:
    hub = Erasable(pool, database)
    await hub.install()
    await hub.writer.start()
    hub.destination = await hub.add_destination()
    yield hub
    await hub.writer.close()
