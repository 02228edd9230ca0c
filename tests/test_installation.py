"""The installation: made once, and opened by its own seal key alone."""

import asyncio
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from postback import installation, workspaces
from postback.db import Tx, connect
from postback.installation import Made, NotInstalled, WrongSetup
from postback.pii import new_key
from postback.secret import Secret
from postback.settings import Settings

NOW = datetime.now(UTC)


async def init(tx: Tx, settings: Settings) -> Made | None:
    async with tx.transaction():
        return await installation.init(tx, settings, NOW)


async def test_of_two_first_starts_at_once_one_makes_the_installation(tx: Tx, database: Secret, tmp_path: Path) -> None:
    other = await connect(database)
    made = await asyncio.gather(*(init(one, Settings(data_dir=str(tmp_path))) for one in (tx, other)))
    await other.close()
    assert sorted(one is None for one in made) == [False, True]
    assert len(await workspaces.all_(tx)) == 1


async def test_opening_never_makes_a_seal_key(tx: Tx, tmp_path: Path) -> None:
    settings = Settings(data_dir=str(tmp_path))
    with pytest.raises(NotInstalled):
        await installation.open_vault(tx, settings)
    assert not list(tmp_path.iterdir())
    await init(tx, settings)
    await installation.open_vault(tx, settings)
    (tmp_path / "seal.key").rename(tmp_path / "elsewhere")
    with pytest.raises(WrongSetup, match=r"seal\.key is missing"):
        await installation.open_vault(tx, settings)
    assert [file.name for file in tmp_path.iterdir()] == ["elsewhere"]


async def test_a_key_in_front_of_the_first_opens_the_same_vault_and_another_alone_does_not(tx: Tx) -> None:
    old, new = (new_key(os.urandom(32)) for _ in range(2))
    await init(tx, Settings(seal_keys=Secret(old)))
    before = await installation.open_vault(tx, Settings(seal_keys=Secret(old)))
    rotated = await installation.open_vault(tx, Settings(seal_keys=Secret(f"{new},{old}")))
    assert rotated.link_key == before.link_key
    with pytest.raises(WrongSetup, match="does not open"):
        await installation.open_vault(tx, Settings(seal_keys=Secret(new)))


async def test_another_environment_than_the_first_is_refused(tx: Tx, tmp_path: Path) -> None:
    await init(tx, Settings(data_dir=str(tmp_path)))
    with pytest.raises(WrongSetup, match="--environment live"):
        await installation.open_vault(tx, Settings(data_dir=str(tmp_path), environment="test"))
