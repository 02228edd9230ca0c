"""`postback destinations`: connectors installed with a config, by their records in the database; what the admin API's
`integration-catalog` and `destinations` do.
"""

import sys
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from cyclopts import Parameter

from postback import destinations, installation
from postback.cli import show
from postback.cli.failures import FAILED, WrongUsage
from postback.cli.keys import InWorkspace
from postback.cli.options import HERE, Json, Place
from postback.cli.session import Session, session, workspace
from postback.db import buckets
from postback.destinations import Destination
from postback.destinations.forms import made_secrets
from postback.errors import Conflict
from postback.pii.seal import Sealer
from postback.web.admin.addresses import refuse_private
from postback.web.admin.shapes import destination_out
from postback.workspaces import audit

Id = Annotated[UUID, Parameter(help="Its id, as `destinations list` shows it.")]


async def install(
    connector: Annotated[str, Parameter(help="meta, ga4, webhook ...")],
    place: Place = HERE,
    *,
    values: Annotated[
        Path | None,
        Parameter(name="--values", allow_leading_hyphen=True, help="File with its config as JSON; - reads stdin."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        Parameter(
            name="--set",
            help="field=value; may be repeated. Other users of the machine can see it: --values is for secrets.",
        ),
    ] = None,
    name: Annotated[str | None, Parameter(help="[the connector's own]")] = None,
    variant: Annotated[str, Parameter(help="[default]")] = "default",
    in_workspace: InWorkspace = None,
    as_json: Json = False,
) -> None:
    """Install a connector: every event from now on is delivered there too."""
    kind = destinations.connector_named(connector, variant)
    sent = _read_values(values) | _read_pairs(settings or [])
    made = made_secrets(kind, sent)
    config = destinations.read_config(kind, {**sent, **made})
    async with session(place.settings()) as s:
        refuse_private(config, s.settings)
        owner = await workspace(s.tx, in_workspace)
        sealer = await _sealer(s)
        async with audit.changing(s.tx, owner.id, audit.COMMAND_LINE, s.now) as change:
            installed = await destinations.install(
                s.tx,
                sealer,
                id=buckets.new_id(s.now),
                workspace_id=owner.id,
                connector=kind,
                variant=variant,
                name=name,
                config=config,
                now=s.now,
            )
            await change.record("created", "destination", installed.id, after=_out(installed, None))
    if as_json:
        shown = _out(installed, None)
        show.as_json({**shown, "config": shown["config"] | made})
        return
    show.say(f"Installed {installed.name}, id {installed.id}.")
    for field, secret in made.items():
        show.say(f"Its {field}, which was made and is shown this once: {secret}")


async def list_all(place: Place = HERE, *, in_workspace: InWorkspace = None, as_json: Json = False) -> None:
    """Destinations, oldest first, and whether they send."""
    async with session(place.settings()) as s:
        owner = await workspace(s.tx, in_workspace)
        found = await destinations.of_workspaces(s.tx, await _sealer(s), [owner.id])
        lanes = await destinations.lanes(s.tx, sorted({d.bucket for d in found}))
    items = [_out(d, lanes.get(d.id)) for d in found]
    if as_json:
        show.as_json({"items": items})
        return
    columns = ["id", "connector", "name", "status", "reason", "fix"]
    rows = [[item[column] for column in columns] for item in items]
    show.table(columns, rows, empty="No destinations; `postback destinations install` adds one.")


async def pause(
    destination: Id, place: Place = HERE, *, in_workspace: InWorkspace = None, as_json: Json = False
) -> None:
    """Stop sending; what comes in waits. Repeating is harmless."""
    await _move(place, destination, "paused", in_workspace, as_json)


async def resume(
    destination: Id, place: Place = HERE, *, in_workspace: InWorkspace = None, as_json: Json = False
) -> None:
    """Send what waited, whether it was paused or held. Repeating is harmless."""
    await _move(place, destination, "active", in_workspace, as_json)


async def probe(
    destination: Id, place: Place = HERE, *, in_workspace: InWorkspace = None, as_json: Json = False
) -> int:
    """Try a destination's credential by a request that harms nothing; exit 1 where the platform refuses it."""
    from postback.web.admin.probe import prove

    async with session(place.settings()) as s:
        installed = await _read(s, destination, in_workspace)
    proof = await prove(installed, s.settings, s.now)
    if as_json:
        show.as_json(proof)
    else:
        verdict = "was not asked" if proof.outcome == "not_sent" else "does not take the credential"
        told = "takes the credential" if proof.ok else f"{verdict}: {_sentence(proof.reason)} {proof.fix or ''}"
        show.say(f"{installed.name} {told.rstrip()}")
    return 0 if proof.ok else FAILED


async def _move(
    place: Place, id_: UUID, state: Literal["active", "paused"], in_workspace: str | None, as_json: bool
) -> None:
    async with session(place.settings()) as s:
        destination = await _read(s, id_, in_workspace)
        async with audit.changing(s.tx, destination.workspace_id, audit.COMMAND_LINE, s.now) as change:
            from_states = {"active"} if state == "paused" else {"paused", "held"}
            before = (await destinations.lanes(s.tx, [destination.bucket])).get(id_)
            moved = await destinations.set_state(s.tx, id_, state, from_states, s.now)
            lane = (await destinations.lanes(s.tx, [destination.bucket])).get(id_)
            action = "paused" if state == "paused" else "resumed"
            shown = {"before": _out(destination, before), "after": _out(destination, lane)}
            await change.record(action, "destination", id_, **shown)
    if not moved and lane is not None and lane.state == "held":
        raise Conflict(
            f"{destination.name} is held and sends nothing: {_sentence(lane.reason)} {lane.fix or 'Resume it.'}"
        )
    if as_json:
        show.as_json(_out(destination, lane))
    else:
        show.say(f"{destination.name} is {state}.")


async def _read(s: Session, id_: UUID, in_workspace: str | None) -> Destination:
    owner = await workspace(s.tx, in_workspace)
    return await destinations.read(s.tx, await _sealer(s), owner.id, id_)


async def _sealer(s: Session) -> Sealer:
    return (await installation.open_vault(s.tx, s.settings)).sealer


def _read_values(file: Path | None) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        text = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise WrongUsage(f"{file} is not a JSON object ({error}).") from None


def _read_pairs(pairs: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for pair in pairs:
        field, equals, value = pair.partition("=")
        if not equals:
            raise WrongUsage(f"--set takes field=value, not {field}.")
        found[field] = value
    return found


def _out(destination: Destination, lane: destinations.Lane | None) -> dict[str, Any]:
    return msgspec.structs.asdict(destination_out(destination, lane))


def _sentence(reason: str | None) -> str:
    return f"{(reason or 'no reason was given').rstrip('.')}."
