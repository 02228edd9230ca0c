"""The installation: its seal keys, its link key, and what the first start makes.

Seal keys come from POSTBACK_SEAL_KEYS, else from `<data-dir>/seal.key` (mode 0600, outside PostgreSQL's folder), which
is made for the embedded database. The database holds a known text sealed with them: a key that does not open it stops
the start, before anything is sealed with the wrong one.
"""

import os
import secrets
from datetime import datetime
from pathlib import Path

from msgspec import Struct

from postback import goals, keys, workspaces
from postback.db import Tx, buckets
from postback.errors import Conflict, PostbackError
from postback.goals import Goal
from postback.pii.seal import Sealer, SealError, Vault, new_key, parse_keys
from postback.settings import Settings
from postback.workspaces import Installation, Site, SiteIn, Workspace, accounts

_CHECK = b"postback"
_LINK_KEY_BYTES = 32


class NotInstalled(PostbackError):
    """The database has no installation yet."""


class WrongSetup(PostbackError):
    """The settings do not fit what the database was made with; the operator must act."""


class Made(Struct, frozen=True):
    """What `init` made. Keys and password are nowhere else."""

    workspace: str
    organization_id: str
    site: str
    site_key: str
    api_key: str
    admin_key: str
    owner_email: str
    owner_password: str


def make_sealer(settings: Settings, *, may_make: bool) -> Sealer:
    """`may_make`: a key for the embedded database where there is none; for one that holds nothing yet.

    Raises WrongSetup, SealError.
    """
    if settings.seal_keys is not None:
        return Sealer(parse_keys(settings.seal_keys.reveal()), os.urandom)
    file = Path(settings.data_dir) / "seal.key"
    if not file.exists():
        if settings.database_url is None and not may_make:
            raise WrongSetup(
                f"The seal key {file} is missing: put back the one this database was made with, or set "
                "POSTBACK_SEAL_KEYS."
            )
        if settings.database_url is not None:
            raise WrongSetup(
                "With a database of your own, set POSTBACK_SEAL_KEYS: readable personal data is encrypted with it. "
                f"Here is a new one; keep it safe: {new_key(os.urandom(32))}"
            )
        _write_key(file)
    return Sealer(parse_keys(file.read_text()), os.urandom)


def _write_key(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:  # another process was first
        return
    with os.fdopen(descriptor, "w") as out:
        out.write(new_key(os.urandom(32)) + "\n")
        out.flush()
        os.fsync(out.fileno())


async def open_vault(tx: Tx, settings: Settings) -> Vault:
    """Raises NotInstalled, WrongSetup."""
    row = await workspaces.installation(tx)
    if row is None:
        raise NotInstalled("This database has no installation yet; run `postback init`.")
    if row.environment != settings.environment:
        raise WrongSetup(
            f"This database is a {row.environment} deployment; start it with --environment {row.environment}."
        )
    sealer = make_sealer(settings, may_make=False)
    try:
        sealer.unseal(row.seal_check)
        return Vault(sealer, sealer.unseal(row.link_key))
    except SealError:
        raise WrongSetup(
            "The seal key does not open this database: give the one it was made with, in POSTBACK_SEAL_KEYS or as "
            "seal.key in the data folder."
        ) from None


async def init(tx: Tx, settings: Settings, now: datetime) -> Made | None:
    """Make the installation, workspace, site, owner and keys; None where they are there. `tx` in a transaction."""
    if await workspaces.installation(tx) is not None:
        return None
    sealer = make_sealer(settings, may_make=True)
    installation = Installation(settings.environment, sealer.seal(_CHECK), sealer.seal(os.urandom(_LINK_KEY_BYTES)))
    if not await workspaces.install(tx, installation, now):
        return None
    workspace, site, texts = await add_workspace(
        tx, "default", settings.environment, now, admin_scopes=sorted(keys.SCOPES)
    )
    password = secrets.token_urlsafe(16)
    owner = buckets.new_id(now)
    email = "owner@postback.local"
    await accounts.create(tx, owner, email, password, now)
    await accounts.add_member(tx, buckets.new_id(now), owner, workspace.id, "owner", now)
    return Made(
        str(workspace.id), workspace.organization_id, str(site.id), site.site_key, *texts, email, password
    )  # fmt: skip


async def add_workspace(
    tx: Tx, name: str, environment: str, now: datetime, *, admin_scopes: list[str]
) -> tuple[Workspace, Site, tuple[str, str]]:
    """A workspace with its first site, an ingest key and an admin key, in this order."""
    workspace = Workspace(buckets.new_id(now), name, f"org_{secrets.token_hex(8)}")
    await workspaces.add(tx, workspace, now)
    site, _ = await add_site(tx, workspaces.new_site(buckets.new_id(now), workspace.id, SiteIn(name="default")), now)
    texts: list[str] = []
    for label, scopes in (("ingest", ["ingest"]), ("admin", admin_scopes)):
        _, text = await keys.create(
            tx,
            key_id=buckets.new_id(now),
            workspace_id=workspace.id,
            label=label,
            scopes=scopes,
            environment=environment,
            now=now,
        )
        texts.append(text)
    return workspace, site, (texts[0], texts[1])


async def add_site(tx: Tx, site: Site, now: datetime) -> tuple[Site, list[Goal]]:
    """A new site, and the goals that each begins with. Raises Conflict, Invalid."""
    await workspaces.add_site(tx, site, now)
    return site, await goals.create_usual(tx, site, now)


async def remove_site(tx: Tx, site: Site, now: datetime) -> list[Goal]:
    """Remove a site and its goals, which it gives. Raises Conflict for an only site, or one that a key is bound to."""
    if len(await workspaces.sites(tx, [site.workspace_id])) == 1:
        raise Conflict("This is the workspace's only site; make another one first.")
    for key in await keys.usable(tx, [site.workspace_id]):
        if key.site_id == site.id and not key.refuse(now):
            raise Conflict(f"The key {key.label} (...{key.last_four}) is bound to this site; revoke it first.")
    removed = [goal for goal in await goals.read_all(tx, [site.workspace_id]) if goal.site_id == site.id]
    for goal in removed:
        await goals.remove(tx, goal, now)
    await workspaces.remove_site(tx, site, now)
    return removed
