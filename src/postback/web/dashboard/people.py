"""Who was seen, and finding things: visitors, and whatever an id, an email or a phone names."""

import re
from datetime import timedelta
from typing import Any
from urllib.parse import quote

from litestar import Response, get, post
from litestar.di import NamedDependency as Needs
from litestar.params import FromPath

from postback.errors import Rejected
from postback.web.admin import events, find, privacy, visitors
from postback.web.admin.events import EventOut
from postback.web.admin.find import FindIn, FoundOut
from postback.web.admin.visitors import VisitorOut
from postback.web.dashboard.forms import Field
from postback.web.dashboard.view import View

SEEN_MAX = 200
DAY = timedelta(days=1)
_VARIANT = re.compile("(_google|_nodots|_digits|_nospace|_full|_lower)?_sha256$")
_WHAT = [Field("q", "What", required=True)]


@get("/find")
async def ask(view: Needs[View]) -> Response[str]:
    return _page(view, "", None)


@post("/find", status_code=200)
async def answer(view: Needs[View]) -> Response[Any]:
    """What was typed stays out of every address; one thing that is found is shown at once."""
    typed = view.form.get("q", "")
    try:
        found = await view.ask(find.find, data=view.body(FindIn, _WHAT))
    except Rejected as problem:
        return _page(view, typed, None, problem)
    if len(found.items) == 1:
        return view.to(where(found.items[0]))
    return _page(view, typed, found)


def _page(view: View, asked: str, found: Any, problem: Rejected | None = None) -> Response[str]:
    status = problem.status if problem else 200
    return view.page("find.html", status, asked=asked, found=found, problem=problem, where=where)


def where(found: FoundOut) -> str:
    """The page of what was found."""
    of_site = f"?site={found.site}" if found.kind == "order" else ""
    return f"/app/{found.kind}s/{quote(found.id, safe='')}{of_site}"


@get("/visitors")
async def list_visitors(view: Needs[View]) -> Response[str]:
    return view.page("visitors.html", found=await view.ask_list(visitors.list_all, looking=0), kinds=kinds)


def kinds(names: list[str]) -> list[str]:
    """Identifiers in a word each: the hashes of one thing, as different platforms want it, are one."""
    return list(dict.fromkeys(_VARIANT.sub("", name).replace("_", " ") for name in names))


@get("/visitors/{visitor:path}")
async def read_visitor(view: Needs[View], visitor: FromPath[str]) -> Response[str]:
    """The API's handler reads the id as it was sent."""
    shown = await view.ask(visitors.read, visitor=visitor)
    until = (shown.last_seen_at + DAY).isoformat()
    sent = await view.ask(events.list_all, visitor=shown.id, until=until, limit=SEEN_MAX, looking=0)
    return view.page(
        "visitor.html",
        visitor=shown,
        seen=_seen(shown, sent.items)[:SEEN_MAX],
        goals=view.caller.snapshot.goals,
        may_erase=view.may(privacy.create_erasure),
    )


def _seen(shown: VisitorOut, sent: list[EventOut]) -> list[tuple[Any, str, Any]]:
    """Sessions, what was opened, events and conversions as one: when, what, and it; newest first."""
    made = {one.event for one in shown.conversions}
    seen: list[tuple[Any, str, Any]] = [(one.started_at, "session", one) for one in shown.sessions]
    seen += [(one.at, "open", one) for one in shown.touches if one.kind == "open"]
    seen += [(one.occurred_at, "event", one) for one in sent if one.id not in made and one.name != "open"]
    seen += [(one.occurred_at, "conversion", one) for one in shown.conversions]
    return sorted(seen, key=lambda one: one[0], reverse=True)


HANDLERS = [ask, answer, list_visitors, read_visitor]
