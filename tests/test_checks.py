"""What is found wrong with an installation, and what is said to do."""

from datetime import timedelta
from pathlib import Path

import pytest

from postback import checks
from postback.db import Tx
from postback.secret import Secret
from postback.settings import Settings
from tests.conftest import SEAL_KEY


async def found(tx: Tx, keys: Secret = SEAL_KEY) -> dict[str, checks.Finding]:
    settings = Settings(seal_keys=keys)
    return {one.about: one async for one in checks.of_database(tx, settings, is_thorough=False)}


async def test_an_old_server_and_a_clock_that_differs_are_wrong(
    tx: Tx, installed: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert {(await found(tx))[about].verdict for about in ("database", "clocks", "seal key")} == {"ok"}
    monkeypatch.setattr(checks, "OLDEST_VERSION", 99)
    monkeypatch.setattr(checks, "CLOCK_TOLERANCE", timedelta(seconds=-1))
    wrong = await found(tx)
    assert (wrong["database"].verdict, wrong["database"].fix) == ("wrong", "Use PostgreSQL 99 or later.")
    assert (wrong["clocks"].verdict, "time service" in wrong["clocks"].fix) == ("wrong", True)


@pytest.mark.parametrize(
    ("name", "wanted", "verdict"),
    [("max_wal_size", "1536MB", "ok"), ("max_wal_size", "4096MB", "ok"), ("max_wal_size", "4097MB", "advice"),
     ("max_wal_size", "1TB", "advice"), ("min_wal_size", "512MB", "ok"), ("min_wal_size", "2GB", "advice")],
)  # fmt: skip
async def test_more_room_for_the_log_than_is_recommended_is_well(
    tx: Tx, installed: object, monkeypatch: pytest.MonkeyPatch, name: str, wanted: str, verdict: str
) -> None:
    monkeypatch.setattr(checks, "RECOMMENDED", {name: wanted})
    assert (await found(tx))["settings"].verdict == verdict


async def test_a_key_that_does_not_open_is_wrong_and_an_older_one_is_told(tx: Tx, installed: object) -> None:
    other = "A" * 43
    assert (await found(tx, Secret(other)))["seal key"].verdict == "wrong"
    both = await found(tx, Secret(f"{other},{SEAL_KEY.reveal()}"))
    assert both["seal key"].verdict == "ok"
    [older] = [one for about, one in both.items() if about.startswith("seal key ")]
    assert older.verdict == "advice"


def test_little_room_is_wrong_and_the_folder_may_not_exist_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = Settings(data_dir=str(tmp_path / "not" / "made"))
    monkeypatch.setattr(checks, "LEAST_FREE_BYTES", 0)
    assert checks.disk(here).verdict == "ok"
    assert str(tmp_path) in checks.disk(here).said
    monkeypatch.setattr(checks, "LEAST_FREE_BYTES", 1 << 62)
    assert checks.disk(here).verdict == "wrong"
    elsewhere = Settings(data_dir=str(tmp_path / "none"), database_url=Secret("postgresql://db.example/x"))
    assert "not seen from here" in checks.disk(elsewhere).said
