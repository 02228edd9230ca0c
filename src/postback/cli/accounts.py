"""`postback accounts`: who may sign in, and a new password for who forgot theirs."""

import secrets

from msgspec import to_builtins

from postback.cli import show
from postback.cli.options import HERE, Json, Place
from postback.cli.session import session
from postback.errors import NotFound
from postback.workspaces import accounts, sessions


async def list_all(place: Place = HERE, *, as_json: Json = False) -> None:
    """Accounts, and what each is where."""
    async with session(place.settings()) as s:
        found = await accounts.list_all(s.tx)
    if as_json:
        show.as_json({"items": to_builtins(found)})
        return
    rows = [[one.email, one.workspace, one.role] for one in found]
    show.table(["email", "workspace", "role"], rows, empty="No accounts; `postback init` makes the first.")


async def reset_password(email: str, place: Place = HERE, *, as_json: Json = False) -> None:
    """Give an account a new password, print it once, and sign it out everywhere."""
    password = secrets.token_urlsafe(16)
    async with session(place.settings()) as s:
        account = await accounts.by_email(s.tx, email)
        if account is None:
            raise NotFound(f"There is no account of {email}; `postback accounts list` shows them.")
        async with s.tx.transaction():
            await accounts.set_password(s.tx, account, password, is_reset=True)
            await sessions.end_all(s.tx, account.id)
            await sessions.forgive_account(s.tx, account.email)
    if as_json:
        show.as_json({"email": account.email, "password": password})
        return
    show.say(f"The new password of {account.email}, shown this once: {password}")
    show.say("It is signed out everywhere. Change the password under Your account in the dashboard.")
