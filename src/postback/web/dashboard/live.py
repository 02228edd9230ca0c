"""Live: events as they arrive. The page is the plain list; its script asks for the stream, which tells rows as they
come, and outcomes as they change, as parts of the page."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency as Needs
from litestar.response import Stream

from postback.db import Tx
from postback.dialects import moment
from postback.errors import Invalid, Unavailable
from postback.web.admin import events
from postback.web.dashboard import render
from postback.web.dashboard.view import View
from postback.web.live import LOOK_BACK, Batch, Wanted
from postback.workspaces import sessions

LISTED = 40
_HEADERS = render.HEADERS | {"X-Accel-Buffering": "no"}
_RETRY = timedelta(seconds=2)


@get("/live")
async def live(view: Needs[View]) -> Response[str]:
    found = await view.ask_list(events.list_all, limit=LISTED)
    return view.page("live.html", found=found, is_paused="paused" in view.request.query_params)


@get("/live/stream")
async def stream(view: Needs[View]) -> Stream:
    """Server-sent events: `{"rows", "more", "changed"}`, and `end` where it makes no sense to ask again. The id of each
    is a time to go on from."""
    view.require(events.list_all)
    asked = view.narrowed(events.list_all)
    fields = ("site", "key", "name", "status")
    wanted = Wanted(workspace_id=view.workspace.id, **{name: asked[name] for name in fields if name in asked})
    return Stream(_told(view, wanted, _since(view)), media_type="text/event-stream", headers=_HEADERS)


async def _told(view: View, wanted: Wanted, since: datetime) -> AsyncIterator[str]:
    yield f"retry: {_RETRY // timedelta(milliseconds=1)}\n\n"

    async def may_look(tx: Tx) -> bool:
        held = await sessions.read(tx, view.person.token, view.hub.writer.now())
        return held is not None and held.role is not None and held.workspace_id == wanted.workspace_id

    try:
        with view.hub.live.looking(wanted, may_look, since - LOOK_BACK) as looker:
            async for batch in looker.batches():
                view.now = view.hub.writer.now()
                yield ":\n\n" if batch is None else f"id: {view.now.isoformat()}\ndata: {_shown(view, batch)}\n\n"
            said = looker.ended
    except Unavailable as full:
        said = full.message
    if said:
        yield f"event: end\ndata: {said}\n\n"


def _since(view: View) -> datetime:
    """When the page, or what came before a break, was told. Raises Invalid."""
    text = view.request.headers.get("last-event-id") or view.request.query_params.get("since")
    try:
        return moment(text, "since") if text else view.now
    except Invalid:
        return view.now


def _shown(view: View, batch: Batch) -> str:
    rows = [events.event_out(row, outcomes) for row, outcomes in batch.rows]
    return msgspec.json.encode(
        {
            "rows": _part("event_rows", view, rows),
            "more": batch.more,
            "changed": {f"o-{id_}": _part("outcomes", view, found) for id_, found in batch.changed.items()},
        }
    ).decode()


def _part(name: str, view: View, shown: Any) -> str:
    """What a macro of `parts.html` makes, as it stands in a page."""
    return render.environment().get_template("part.html").render(view=view, name=name, shown=shown)


HANDLERS = [live, stream]
