"""`accounts`: a new password for who forgot theirs, shown once."""

import asyncio
from collections.abc import Callable
from typing import Any

from postback import installation
from postback.db import Tx
from tests.intake.taking import scalar
from tests.web.dashboard.conftest import Browser

Run = Callable[..., Any]


def test_accounts_are_listed_with_what_they_are_where(on_database: Run, installed: installation.Made) -> None:
    listed = on_database("accounts", "list", "--json").json["items"]
    assert listed == [{"email": installed.owner_email, "workspace": "default", "role": "owner"}]
    assert installed.owner_email in on_database("accounts", "list").out


async def test_a_new_password_opens_the_old_one_does_not_and_all_sessions_end(
    served: Any, on_database: Run, tx: Tx
) -> None:
    browser, email = Browser(served.url), served.keys.owner_email
    assert "accounts reset-password" in (await browser.get("/app/sign-in")).text
    for _ in range(7):
        await browser.sign_in(email, "wrong")
    assert (await browser.sign_in(email, served.keys.owner_password)).status == 429
    made = (await asyncio.to_thread(on_database, "accounts", "reset-password", email.upper(), "--json")).json
    assert made["email"] == email
    assert (await browser.sign_in(email, served.keys.owner_password)).status == 401
    assert (await browser.sign_in(email, made["password"])).status == 303
    told = (await asyncio.to_thread(on_database, "accounts", "reset-password", email)).out
    assert (await browser.get("/app/account")).status == 303
    assert (await browser.sign_in(email, told.split("once: ")[1].split()[0])).status == 303
    assert str(await scalar(tx, "SELECT password_hash FROM account")).startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    await browser.http.close()


def test_an_unknown_account_is_told(on_database: Run) -> None:
    ran = on_database("accounts", "reset-password", "nobody@example.com")
    assert (ran.code, ran.out) == (1, "")
    assert "nobody@example.com" in ran.err
