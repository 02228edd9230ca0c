"""A hub in a fresh database, a platform that answers as told, and the tests' own connectors in the catalog."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from postback.connectors import catalog
from postback.db import Pool
from postback.installation import Made
from postback.secret import Secret
from tests.delivery.delivering import FOR_TESTS, Hub, Receiver, open_hub
from tests.delivery.stand_ins import StandIn, StandIns, standing_in

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Most of their time these wait: beside the long ones, which do not, and not all of them together."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.long(1))


@pytest.fixture(autouse=True)
def for_tests() -> Iterator[None]:
    """The catalog is made once; what is put into it here is taken out again."""
    catalog().update(FOR_TESTS)
    yield
    for name in FOR_TESTS:
        del catalog()[name]


@pytest.fixture
async def hub(database: Secret, installed: Made, pool: Pool) -> AsyncIterator[Hub]:
    opened = await open_hub(database, pool)
    yield opened
    await opened.tx.close()


@pytest.fixture
async def platform() -> AsyncIterator[Receiver]:
    async with Receiver().serve() as receiver:
        yield receiver


@pytest.fixture
async def stand_ins() -> AsyncIterator[StandIns]:
    async with standing_in() as running:
        yield running


@pytest.fixture
def google(stand_ins: StandIns) -> StandIn:
    return stand_ins["google_ads"]
