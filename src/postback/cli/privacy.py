"""`postback privacy`: erase a person, give out what is stored of one, verify a receipt. What the admin API's
`privacy/erasures` and `privacy/exports` do.

An erasure is a row in the database: to leave, or to be killed, stops nothing, and the next worker goes on. Where none
runs, the command does the work itself.
"""

import asyncio
import math
import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated
from uuid import UUID

import msgspec
from cyclopts import Parameter

from postback import installation, workspaces
from postback.cli import show
from postback.cli.failures import FAILED, WrongUsage
from postback.cli.keys import InWorkspace
from postback.cli.options import HERE, Json, Place
from postback.cli.session import Session, session, workspace
from postback.db import buckets, server
from postback.pii.person import Maker
from postback.privacy import counting, erasing, erasures, exporting, people, receipt
from postback.privacy.erasures import Erasure
from postback.privacy.people import KINDS, Kind
from postback.privacy.receipt import Receipt
from postback.queue import leases
from postback.web.admin.privacy import erasure_out
from postback.workspaces import audit

POLL_SECONDS = 0.3


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Who:
    """By exactly one."""

    email: Annotated[str | None, Parameter(help="In clear, or its SHA-256.")] = None
    phone: Annotated[str | None, Parameter(help="In clear, or its SHA-256.")] = None
    external_id: Annotated[str | None, Parameter(help="In clear, or its SHA-256.")] = None
    user_id: Annotated[str | None, Parameter(help="In clear, or its SHA-256.")] = None
    visitor_id: Annotated[str | None, Parameter(name="--visitor", help="A visitor's id.")] = None

    def named(self) -> tuple[Kind, str]:
        found: list[tuple[Kind, str]] = [(kind, value) for kind in KINDS if (value := getattr(self, kind)) is not None]
        if len(found) != 1:
            raise WrongUsage("Name the person by exactly one of --email, --phone, --external-id, --user-id, --visitor.")
        return found[0]


NOBODY = Who()


async def erase(
    place: Place = HERE,
    who: Who = NOBODY,
    *,
    yes: Annotated[bool, Parameter(name=["--yes", "-y"], help="Do not ask.")] = False,
    dry_run: Annotated[bool, Parameter(help="Count what would go, and do nothing.")] = False,
    in_workspace: InWorkspace = None,
    as_json: Json = False,
) -> int:
    """Erase a person: what is stored, what waits to be sent, and what arrives late of before; prints the receipt."""
    kind, value = who.named()
    if not dry_run and not yes and not _agrees():
        show.say("Nothing was done.")
        return FAILED
    async with session(place.settings()) as s:
        owner = await workspace(s.tx, in_workspace)
        vault = await installation.open_vault(s.tx, s.settings)
        tools = erasing.Tools(vault.sealer, vault.link_key, timedelta(0))
        if dry_run:
            reader = tools.reader(owner.id)
            person = await people.meant(s.tx, owner.id, kind, value, await _country(s, owner.id), reader.maker)
            counted = await counting.count(s.tx, reader, person, s.now, math.inf)
            visitors, events = counted.visitors, len(counted.events)
            if as_json:
                show.as_json({"visitors": visitors, "events": events})
            else:
                show.say(f"Would go: visitors {visitors}, events {events}. Nothing was done.")
            return 0
        async with audit.changing(s.tx, owner.id, audit.COMMAND_LINE, s.now) as change:
            asked, is_new = await erasing.begin(
                s.tx,
                tools,
                owner.id,
                kind,
                value,
                country=await _country(s, owner.id),
                created_by=audit.COMMAND_LINE,
                id=buckets.new_id(s.now),
            )
            named = {"asked_by": kind, "subject": asked.subject.hex()}
            await change.record("created", "erasure", asked.id, before=None if is_new else named, after=named)
        done = await _watch(s, asked, tools, as_json)
    shown = erasure_out(done, vault.link_key)
    if as_json:
        show.as_json(shown)
    else:
        show.say(
            f"erasure {done.id} {done.status}: {', '.join(f'{n} {what}' for what, n in done.removed.items() if n)}"
        )
        if shown.receipt is not None:
            show.say(msgspec.json.encode(shown.receipt).decode())
    return 0


async def _watch(s: Session, erasure: Erasure, tools: erasing.Tools, as_json: bool) -> Erasure:
    """Show how far it comes, until it ends."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn()
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=as_json or not console.is_terminal) as progress:
        task = progress.add_task("events", total=100)
        stage = ""
        while erasure.status == "running":
            if await leases.workers(s.tx, s.settings.lease_seconds):
                await asyncio.sleep(POLL_SECONDS)
            else:
                await erasing.run(s.tx, [erasure.id], tools, await server.clock(s.tx))
            now = await erasures.read(s.tx, erasure.workspace_id, erasure.id)
            assert now is not None, "erasures are never removed"
            erasure = now
            if erasure.state is not None:
                said = f"round {erasure.state.round}" if erasure.state.stage == "events" else erasure.state.stage
                progress.update(task, description=said, completed=erasure.state.percent)
                if stage != erasure.state.stage == "wait" and not as_json:
                    console.print("Waiting up to a minute for deliveries that may be on their way ...")
                stage = erasure.state.stage
    return erasure


async def export(
    file: Annotated[Path, Parameter(help="Where to write it, readable by you alone; it is replaced when complete.")],
    place: Place = HERE,
    who: Who = NOBODY,
    *,
    in_workspace: InWorkspace = None,
    as_json: Json = False,
) -> None:
    """Write what is stored of a person to a file, as JSON, with what is sealed opened."""
    kind, value = who.named()
    async with session(place.settings()) as s:
        owner = await workspace(s.tx, in_workspace)
        vault = await installation.open_vault(s.tx, s.settings)
        maker = Maker(vault.link_key, owner.id.bytes)
        async with audit.changing(s.tx, owner.id, audit.COMMAND_LINE, s.now) as change:
            person = await people.meant(s.tx, owner.id, kind, value, await _country(s, owner.id), maker)
            named = {"asked_by": kind, "subject": person.seeds[0].hex()}
            await change.record("created", "export", buckets.new_id(s.now), after=named)
        reader = people.Reader(owner.id, vault.sealer, maker)
        part = file.with_name(f"{file.name}.part")
        part.unlink(missing_ok=True)
        try:
            with os.fdopen(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as out:
                async for piece in exporting.export(s.tx, reader, person, s.now):
                    out.write(piece)
            part.replace(file)
        finally:
            part.unlink(missing_ok=True)
    size = file.stat().st_size
    if as_json:
        show.as_json({"file": str(file), "bytes": size})
    else:
        show.say(f"Wrote {file} ({size} bytes).")


async def verify(
    file: Annotated[Path, Parameter(help="A receipt, or what `erase` or the API answered, saved as it is.")],
    place: Place = HERE,
    who: Who = NOBODY,
    *,
    in_workspace: InWorkspace = None,
    as_json: Json = False,
) -> int:
    """Whether this installation signed a receipt and, where a person is named, whether it is theirs; exit 1 if not."""
    given = _receipt_in(file)
    async with session(place.settings()) as s:
        vault = await installation.open_vault(s.tx, s.settings)
        is_genuine = receipt.is_genuine(vault.link_key, given)
        is_theirs: bool | None = None
        if is_genuine and who != NOBODY:
            said = msgspec.json.decode(given.text)
            kind, value = who.named()
            if kind != said["asked_by"]:
                asked_by = "visitor" if said["asked_by"] == "visitor_id" else said["asked_by"].replace("_", "-")
                raise WrongUsage(f"It was asked for by --{asked_by}: name the person by that, which is what it proves.")
            owner = await workspace(s.tx, in_workspace)
            maker = Maker(vault.link_key, owner.id.bytes)
            person = await people.meant(s.tx, owner.id, kind, value, await _country(s, owner.id), maker)
            is_theirs = said["subject"] == person.seeds[0].hex()
    if as_json:
        show.as_json({"genuine": is_genuine, "of_this_person": is_theirs})
    elif not is_genuine:
        show.say("Not genuine: this installation did not sign it, or it was changed.")
    else:
        whose = {None: "", True: " It is this person's.", False: " It is another person's."}[is_theirs]
        show.say(f"Genuine: this installation signed the receipt's text, and nothing else in the file.{whose}")
    return 0 if is_genuine and is_theirs is not False else FAILED


class _Erasure(msgspec.Struct, frozen=True):
    """What is read of an erasure as `erase --json` and the API give it."""

    receipt: Receipt | None


def _receipt_in(file: Path) -> Receipt:
    """The receipt in a file that holds it, its whole erasure, or what `erase` printed: a line for people before it."""
    content = file.read_bytes()
    for text in (content, content.partition(b"\n")[2]):
        with suppress(msgspec.DecodeError):
            return msgspec.json.decode(text, type=Receipt)
        with suppress(msgspec.DecodeError):
            found = msgspec.json.decode(text, type=_Erasure).receipt
            if found is None:
                raise WrongUsage(f"{file} holds no receipt: the erasure was not done yet; ask for it again.")
            return found
    raise WrongUsage(f"{file} holds no receipt: give what `postback privacy erase` printed, or its `receipt` as JSON.")


async def _country(s: Session, workspace_id: UUID) -> str | None:
    """Of phone numbers without a plus: the first site's."""
    sites = await workspaces.sites(s.tx, [workspace_id])
    return sites[0].country if sites else None


def _agrees() -> bool:
    if not sys.stdin.isatty():
        raise WrongUsage("Nobody is there to be asked: --yes does it, --dry-run only counts.")
    show.say("What is erased does not come back; what is counted stays.")
    return input("Go on? [y/N] ").strip().lower() in ("y", "yes")
