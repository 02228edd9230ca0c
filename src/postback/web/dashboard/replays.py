"""Replays and backfills of an integration: chosen, counted, begun; and how far each came."""

from typing import Any
from uuid import UUID

from litestar import Response, get, post
from litestar.di import NamedDependency as Needs
from litestar.params import FromPath
from msgspec import Struct, structs

from postback.errors import NotFound, Rejected
from postback.web.admin import destinations, replays
from postback.web.admin.replays import BackfillIn, JobPatch, ReplayIn
from postback.web.admin.shapes import DestinationOut, JobOut
from postback.web.dashboard.forms import Field, Form
from postback.web.dashboard.integrations import frame
from postback.web.dashboard.view import View

_STATUSES = [("failed", "Failed"), ("skipped", "Skipped"), ("", "Failed and skipped"), ("delivered", "Delivered")]
_WHEN = "2026-11-01"


class Kind(Struct, frozen=True):
    """`noun` is the path of its page; `jobs` that of its jobs, here and in the API."""

    noun: str
    jobs: str
    kind_in: type[Any]
    create: Any
    list_all: Any
    read: Any
    change: Any
    fields: list[Field]


_SPAN = [
    Field("from", "Arrived from", placeholder=_WHEN, help="A day or a time of events' arrival; empty: the first."),
    Field("to", "Arrived before", placeholder="2026-12-01", help="Empty: until now."),
    Field("name", "Event", placeholder="purchase", help="Its standard name; empty: any."),
]
KINDS = [
    Kind(
        "replay", "replays", ReplayIn, replays.create_replay, replays.list_replays, replays.read_replay,
        replays.change_replay,
        [
            Field("status", "Which", kind="select", options=_STATUSES),
            Field("reason", "Reason begins", placeholder="answered 400", help="As the log has it; empty: any."),
            *_SPAN,
        ],
    ),
    Kind(
        "backfill", "backfills", BackfillIn, replays.create_backfill, replays.list_backfills, replays.read_backfill,
        replays.change_backfill, _SPAN,
    ),
]  # fmt: skip


def _handlers(kind: Kind) -> list[Any]:
    @get(f"/integrations/{{id_:uuid}}/{kind.noun}", name=f"{kind.noun}-form")
    async def form(view: Needs[View], id_: FromPath[UUID]) -> Response[str]:
        given = {"status": "failed"} | dict(view.request.query_params.items())
        return await _page(view, kind, await view.ask(destinations.read, destination_id=id_), given)

    @post(f"/integrations/{{id_:uuid}}/{kind.noun}", status_code=200, name=f"{kind.noun}-make")
    async def make(view: Needs[View], id_: FromPath[UUID]) -> Response[Any]:
        """What the button `do` says: count, or begin."""
        shown = await view.ask(destinations.read, destination_id=id_)
        try:
            data = _asked(view, kind, id_)
            if view.form.get("do") == "begin":
                made: JobOut = await view.ask(kind.create, data=data)
                return view.to(f"/app/{kind.jobs}/{made.id}")
            counted = await view.ask(kind.create, data=structs.replace(data, dry_run=True))
        except NotFound:
            raise
        except Rejected as problem:
            return await _page(view, kind, shown, view.form, problem=problem)
        return await _page(view, kind, shown, view.form, counted=counted)

    @get(f"/{kind.jobs}/{{id_:uuid}}", name=f"{kind.jobs}-read")
    async def read(view: Needs[View], id_: FromPath[UUID]) -> Response[str]:
        return await _job(view, kind, id_)

    @post(f"/{kind.jobs}/{{id_:uuid}}", status_code=200, name=f"{kind.jobs}-change")
    async def change(view: Needs[View], id_: FromPath[UUID]) -> Response[Any]:
        """What the button `do` says: stop, or go on."""
        wanted = "stopped" if view.form.get("do") == "stop" else "running"
        try:
            await view.ask(kind.change, data=JobPatch(wanted), **{f"{kind.noun}_id": id_})
        except NotFound:
            raise
        except Rejected as problem:
            return await _job(view, kind, id_, problem)
        return view.to(f"/app/{kind.jobs}/{id_}")

    return [form, make, read, change]


def _asked(view: View, kind: Kind, id_: UUID) -> Any:
    fields = [*kind.fields, Field("destination", "Integration")]
    view.form["destination"] = str(id_)
    data = view.body(kind.kind_in, fields)
    if isinstance(data, ReplayIn):
        return structs.replace(data, include_delivered=data.status == "delivered")
    return data


async def _page(view: View, kind: Kind, shown: DestinationOut, values: dict[str, str], **more: Any) -> Response[str]:
    jobs = await view.ask(kind.list_all, limit=100)
    typed = {field.name: values[field.name] for field in kind.fields if values.get(field.name)}
    body: dict[str, Any] = {"destination": str(shown.id)} | typed
    if typed.get("status") == "delivered":
        body["include_delivered"] = True
    return await frame(
        view, shown, f"integration_{kind.noun}.html", kind=kind, fields=kind.fields, values=Form(values), body=body,
        jobs=[job for job in jobs.items if shown.id in job.destinations][:5], **{"counted": None} | more,
    )  # fmt: skip


async def _job(view: View, kind: Kind, id_: UUID, problem: Rejected | None = None) -> Response[str]:
    job = await view.ask(kind.read, **{f"{kind.noun}_id": id_})
    installed = (await view.ask(destinations.list_all, limit=500)).items
    return view.page(
        "job.html", problem.status if problem else 200, job=job, kind=kind, problem=problem,
        may=view.may(kind.change), of=[one for one in installed if one.id in job.destinations],
    )  # fmt: skip


HANDLERS = [handler for kind in KINDS for handler in _handlers(kind)]
