"""What the contracts are spoken with: real curl, node's `fetch` and `axios`; a goal to record; and where it all goes:
a worker, and the platforms' stand-ins."""

from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest

from tests.contracts.clients import CLIENTS, Client
from tests.delivery.delivering import working_beside
from tests.delivery.stand_ins import StandIns, standing_in


@pytest.fixture(params=CLIENTS, ids=lambda client: client.__name__)
def client(request: pytest.FixtureRequest) -> Client:
    return request.param


@pytest.fixture
def goal(served: Any) -> int:
    """The number of a goal of the workspace's only site, made before anything was asked."""
    with psycopg.connect(served.dsn.reveal()) as conn:
        conn.execute(
            "INSERT INTO goal (id, workspace_id, site_id, name, events, default_value, created_at)"
            " VALUES (123, %s, %s, 'Demo requests', '{lead}', 40, now())",
            (served.keys.workspace, served.keys.site),
        )
    return 123


@pytest.fixture
async def stand_ins() -> AsyncIterator[StandIns]:
    async with standing_in() as running:
        yield running


@pytest.fixture
def worker(served: Any) -> Any:
    return working_beside(served)
