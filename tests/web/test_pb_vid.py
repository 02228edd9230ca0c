"""A pb_vid at `/collect`: it carries its visitor once, for five minutes, within its workspace, and no other text does."""

import time
from typing import Any
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from postback.db import open_pool
from postback.installation import open_vault
from postback.visitors import tokens
from postback.visitors.tokens import Token
from tests.web.collecting import event, post, rows, taken

KEY, WORKSPACE, NOW = b"k" * 32, b"w" * 16, 1_795_000_000
NONCE = b"n" * tokens.NONCE_BYTES
GOOD = tokens.make(KEY, WORKSPACE, "v_old", "s_old", NOW, NONCE)


async def made(served: Any, *, age: float = 0, workspace: UUID | None = None, nonce: bytes = NONCE) -> str:
    """As this installation makes it, `age` seconds ago."""
    pool = await open_pool(served.dsn)
    try:
        async with pool.connection() as tx:
            vault = await open_vault(tx, served.settings)
    finally:
        await pool.close()
    own = UUID(served.keys.workspace) if workspace is None else workspace
    return tokens.make(vault.link_key, own.bytes, "v_old", "s_old", time.time() - age, nonce)


async def carried(served: Any, link: str, **about: Any) -> bool:
    """Whether the batch was answered as the token's visitor, and what is proved by that was written down."""
    body = await taken(served, event(), link=link, visitor_id="v_new", session_id="s_new", **about)
    is_carried = body["visitor_id"] == "v_old"
    assert is_carried == (body["session_id"] == "s_old")
    assert is_carried == bool(rows(served, "SELECT 1 FROM link WHERE kind = 'alias'"))
    return is_carried


async def test_it_carries_the_first_who_brings_it_and_again_only_him(served: Any) -> None:
    link = await made(served, age=tokens.LIFE_SECONDS - 30)
    assert await carried(served, link)
    assert await carried(served, link)
    _, body, _ = await post(
        served, {"site_key": served.keys.site_key, "visitor_id": "v_thief", "link": link, "events": [event()]}
    )
    assert body["visitor_id"] == "v_thief"


async def test_who_brings_their_own_is_answered_by_it_and_nothing_is_proved(served: Any) -> None:
    body = await taken(served, event(), link=await made(served), visitor_id="v_old", session_id="s_new")
    assert (body["visitor_id"], body["session_id"]) == ("v_old", "s_old")
    assert rows(served, "SELECT kind FROM link") == [("session",)]


async def test_one_that_has_expired_carries_nobody(served: Any) -> None:
    assert not await carried(served, await made(served, age=tokens.LIFE_SECONDS + 2))


async def test_one_of_another_workspace_of_the_same_installation_carries_nobody(served: Any) -> None:
    status, other = await served.call("POST", "/v1/admin/workspaces", {"name": "other"})
    assert status == 201
    assert not await carried(served, await made(served, workspace=UUID(other["id"])))


async def test_one_that_was_edited_carries_nobody(served: Any) -> None:
    link = await made(served)
    assert not await carried(served, link[:-4] + ("AAAA" if link[-4:] != "AAAA" else "BBBB"))


async def test_who_may_not_be_measured_is_carried_by_none(served: Any) -> None:
    assert not await carried(served, await made(served), consent={"analytics": False})


def test_a_token_is_read_until_it_expires_by_its_own_workspace_and_key_alone() -> None:
    assert tokens.read(KEY, WORKSPACE, GOOD, NOW + tokens.LIFE_SECONDS) == Token("v_old", "s_old", NONCE)
    assert tokens.read(KEY, WORKSPACE, GOOD, NOW + tokens.LIFE_SECONDS + 1) is None
    assert tokens.read(KEY, b"x" * 16, GOOD, NOW) is None
    assert tokens.read(b"x" * 32, WORKSPACE, GOOD, NOW) is None


@given(place=st.integers(0, len(GOOD) - 2), char=st.sampled_from("Az09-_!"))
def test_no_character_of_a_token_but_the_last_which_bears_spare_bits_can_be_another(place: int, char: str) -> None:
    edited = GOOD[:place] + char + GOOD[place + 1 :]
    if edited != GOOD:
        assert tokens.read(KEY, WORKSPACE, edited, NOW) is None


@given(text=st.text(max_size=700))
def test_no_text_that_we_did_not_make_is_a_token(text: str) -> None:
    assert tokens.read(KEY, WORKSPACE, text, NOW) is None
