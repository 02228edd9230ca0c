"""What the contracts are spoken with: real curl, node's `fetch` and `axios`, and a goal to record."""

import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from clients import CLIENTS, Client


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
