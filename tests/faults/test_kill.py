"""kill -9 under load."""

import pytest

from tests.faults import kill
from tests.faults.hub import installation


@pytest.mark.long(130)
async def test_kills_under_load_lose_nothing_and_count_nothing_twice() -> None:
    async with installation(api_processes=2) as hub:
        for connector in ("meta", "ga4", "webhook"):
            await hub.install(connector)
        figures, acknowledged = await kill.run(
            hub, rounds=12, pause_seconds=8, seed=20261121, least_seconds=120, between_seconds=0.1
        )
        assert sum(figures.kills.values()) >= 10
        assert len(figures.kills) == 3
        ended = await kill.check(hub, acknowledged)
        assert ended["delivered"] > figures.acknowledged
