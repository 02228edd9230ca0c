"""All that a database holds, replaced or kept."""

import pytest

from postback.db import Tx, server


async def tables(tx: Tx) -> list[str]:
    rows = await tx.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"
    )
    return [name for (name,) in await rows.fetchall()]


async def test_what_was_there_is_gone_when_the_block_has_filled_it_anew(tx: Tx) -> None:
    async with server.replacing_all(tx):
        assert await tables(tx) == []
        await tx.execute("CREATE TABLE new_one (n int)")
    assert await tables(tx) == ["new_one"]


async def test_what_was_there_comes_back_when_the_block_fails(tx: Tx) -> None:
    before = await tables(tx)

    async def fail() -> None:
        async with server.replacing_all(tx):
            await tx.execute("CREATE TABLE new_one (n int)")
            raise LookupError

    with pytest.raises(LookupError):
        await fail()
    assert await tables(tx) == before


async def test_after_a_crash_in_the_block_the_next_try_still_has_what_was_there(tx: Tx) -> None:
    before = await tables(tx)
    await tx.execute("ALTER SCHEMA public RENAME TO postback_before_restore")  # as the crash left it
    await tx.execute("CREATE SCHEMA public")
    await tx.execute("CREATE TABLE half_restored (n int)")
    with pytest.raises(LookupError, match="still no"):
        async with server.replacing_all(tx):
            raise LookupError("still no")
    assert await tables(tx) == before


async def test_the_server_says_its_version_time_and_settings(tx: Tx) -> None:
    facts = await server.read(tx)
    assert facts.version >= 160000
    assert not facts.is_read_only
    assert facts.now.tzinfo is not None
    assert await server.settings(tx, ["jit", "no_such_setting"]) == {"jit": "off"}
