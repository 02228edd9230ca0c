"""Goals, sites and event types: each a list, a form to make one, and a page to change or remove it."""

import re
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import cache
from importlib.resources import files
from types import ModuleType
from typing import Any
from urllib.parse import urlencode
from uuid import UUID
from zoneinfo import ZoneInfo, available_timezones

import iso4217
from litestar import Response, get, post
from litestar.di import NamedDependency as Needs
from litestar.params import FromPath
from msgspec import Struct

from postback import goals as goal_rules
from postback import money
from postback.errors import NotFound, Rejected
from postback.web.admin import conversions, event_types, events, goals, reports, sites
from postback.web.admin.bodies import etag
from postback.web.dashboard import trend
from postback.web.dashboard.forms import Field
from postback.web.dashboard.view import View
from postback.workspaces import SiteIn, SitePatch
from postback.workspaces.event_types import EventTypeIn, EventTypePatch

LATELY = timedelta(days=7)
TREND_DAYS = 30
_RULES = [
    ("product", "The visitor opened a product that was bought"),
    ("session", "It came in the session of a touch"),
    ("any", "Any touch in the window"),
]


@cache
def currencies() -> list[tuple[str, str]]:
    return [(code, str(iso4217.raw_table[code]["CcyNm"])) for code in sorted(money.MINOR_UNITS)]


@cache
def zones() -> list[tuple[str, str]]:
    """Places, not the names that stand for a distance from UTC or for another zone's country."""
    is_place = re.compile("(?!Etc|US|Canada|Brazil|Chile|Mexico|SystemV)\\w+/").match
    return [(name, "") for name in ["UTC", *sorted(filter(is_place, available_timezones()))]]


@cache
def countries() -> list[tuple[str, str]]:
    lines = _kept("countries.txt").splitlines()[1:]
    return [(code, name) for code, _, name in (line.partition(" ") for line in lines)]


class Thing(Struct, frozen=True):
    """`api`: the admin API's handlers; `id_name`: what they call its id. `fields`: of its form; those of `only_new`
    only when it is made. `intro`: a sentence on what it is. `more`: what its page shows besides."""

    path: str
    noun: str
    title: str
    intro: str
    api: ModuleType
    id_name: str
    id_kind: str
    kind_in: type[Struct]
    kind_patch: type[Struct]
    fields: Callable[[View], list[Field]]
    only_new: tuple[str, ...] = ()
    more: Callable[[View, Any], Awaitable[dict[str, Any]]] | None = None


def _site_options(view: View) -> list[tuple[str, str]]:
    return [(str(site.id), site.name) for site in view.sites]


def _goal_fields(view: View) -> list[Field]:
    return [
        Field("name", "Name", required=True, help="As reports show it."),
        Field("site", "Site", kind="select", options=_site_options(view)),
        Field(
            "events", "Events", kind="list", placeholder="purchase, lead",
            help="Names of events that fulfil it, with commas between. Empty: only events that name the goal's number.",
        ),
        Field("filter", "Filter", advanced=True, help="In CEL; an event must fulfil it too, such as value >= 10.0."),
        Field("default_value", "Default value", kind="amount", help="Of a conversion that bears no amount of its own."),
        Field("currency", "Currency", options=currencies(), placeholder="EUR", help="Empty: the site's."),
        Field("window_days", "Window", kind="number", advanced=True, help="Days; empty: the site's."),
        Field("direct_rule", "Counts as direct where", kind="select", options=_RULES, advanced=True),
        Field("active", "Active", kind="switch", help="Switched off, it counts nothing more; what it counted stays."),
    ]  # fmt: skip


def site_fields(view: View) -> list[Field]:
    counts = [("completed", "Completed"), ("processing", "Processing")]
    return [
        Field("name", "Name", required=True),
        Field("site_key", "Site key", help="Public. Give the one that a shop's code has already; empty: one is made."),
        Field("currency", "Currency", required=True, options=currencies(), placeholder="EUR",
              help="Of amounts that name none."),
        Field("timezone", "Time zone", required=True, options=zones(), placeholder="Europe/Berlin",
              help="Its times are shown in it."),
        Field("country", "Country", options=countries(), placeholder="DE", help="Of phone numbers that name none."),
        Field("window_days", "Attribution window", kind="number", required=True, help="Days that touches count back."),
        Field("order_counts_from", "An order counts from", kind="select", options=counts),
        Field(
            "allowed_origins", "Allowed origins", kind="lines", placeholder="https://shop.example",
            help="Pages that may send browser events, one a line. Empty: any.",
        ),
        Field("link_domains", "Linked domains", kind="lines", advanced=True, placeholder="checkout.example",
              help="Other domains of the shop, to which the visitor is carried over. One a line."),
        Field("payment_referrers", "Payment pages", kind="lines", advanced=True, placeholder="pay.example",
              help="Coming back from these begins no new visit, beside the usual providers. One a line."),
    ]  # fmt: skip


def _event_type_fields(view: View) -> list[Field]:
    return [
        Field("name", "Name", required=True, placeholder="quiz_completed", help="As it is sent; it stays so."),
        Field("required", "Required fields", kind="list", placeholder="user_data.email, properties.score",
              help="An event of this type that lacks one is refused."),
        Field("billable", "Billable", kind="switch", help="Counts against the plan."),
    ]  # fmt: skip


async def _conversions_of(view: View, goal: Any) -> dict[str, Any]:
    newest = await view.ask(conversions.list_all, goal=goal.id, since=(view.now - LATELY).isoformat(), limit=10)
    site = view.caller.snapshot.sites[goal.site]
    zone = ZoneInfo(site.timezone)
    since = trend.instant(view.now.astimezone(zone).date() - timedelta(days=TREND_DAYS - 1), zone)
    report = await view.ask(reports.overview, since=since, site=site.id, goal=goal.id)
    measures = trend.measures(report.revenue)
    measure = trend.chosen(view.request.query_params, measures)
    return {
        "conversions": newest,
        "report": report,
        "call": "reports/overview?" + urlencode({"from": since, "site": site.id, "goal": goal.id}, safe=":"),
        "measures": measures,
        "measure": measure,
        "chart": trend.chart(report, measure, measures[measure]),
        "span": trend.span(report.period),
    }


async def _tag_of(view: View, site: Any) -> dict[str, Any]:
    """The newest event of the site's tag; since the page was opened, where it waits for one."""
    since = view.request.query_params.get("since") or (view.now - LATELY).isoformat()
    found = await view.ask(events.list_all, site=site.id, dialect="tag", since=since, limit=1, looking=0)
    seen = await view.ask(events.read, event=found.items[0].id) if found.items else None
    refused = await view.ask(sites.read_refused, site_id=site.id)
    return {"seen": seen, "since": since, "is_all": found.next_cursor is None, "refused": refused.items}


THINGS = [
    Thing(
        "goals", "goal", "Goals", "What counts as a conversion.", goals, "goal_id", "int",
        goal_rules.GoalIn, goal_rules.GoalPatch, _goal_fields, ("site",), _conversions_of,
    ),
    Thing(
        "sites", "site", "Sites", "Where events come from: a shop, an app, a landing page.", sites, "site_id", "uuid",
        SiteIn, SitePatch, site_fields, ("site_key",), _tag_of,
    ),
    Thing(
        "event-types", "event type", "Event types", "Your own events, beside the standard ones.", event_types,
        "event_type_id", "uuid", EventTypeIn, EventTypePatch, _event_type_fields, ("name",),
    ),
]  # fmt: skip
# What a form begins with.
_FRESH = {"active": "on", "currency": "", "timezone": "", "window_days": "", "direct_rule": "product"}
_FRESH_SITE = _FRESH | {"currency": "USD", "window_days": "7", "order_counts_from": "completed"}


def typed(shown: object, fields: list[Field]) -> dict[str, str]:
    """What a form shows of a thing."""
    held = {field.name: getattr(shown, field.name, None) for field in fields}
    return {
        name: ("on" if value else "") if isinstance(value, bool)
        else (", " if field.kind == "list" else "\n").join(value) if isinstance(value, list)
        else "" if value is None else str(value)
        for field in fields for name, value in [(field.name, held[field.name])]
    }  # fmt: skip


@cache
def snippet() -> str:
    """The tag's stub, as docs/tag.md has it."""
    return _kept("stub.txt")


def _kept(name: str) -> str:
    return files("postback.web.dashboard").joinpath("templates", name).read_text(encoding="utf-8")


def _handlers(thing: Thing) -> list[Any]:
    context: dict[str, Any] = {"thing": thing, "snippet": snippet()}
    one = f"/{thing.path}/{{id_:{thing.id_kind}}}"
    template = thing.noun.replace(" ", "_")

    @get(f"/{thing.path}", name=f"{thing.path}-list")
    async def list_all(view: Needs[View]) -> Response[str]:
        given = {"site": view.site.id} if view.site and thing.path == "goals" else {}
        return view.page(f"{template}s.html", found=await view.ask(thing.api.list_all, limit=500, **given), **context)

    @get(f"/{thing.path}/new", name=f"{thing.path}-new")
    async def new(view: Needs[View]) -> Response[str]:
        view.require(thing.api.create)
        return _form(view, _FRESH_SITE if thing.path == "sites" else _FRESH, None)

    @post(f"/{thing.path}/new", name=f"{thing.path}-create")
    async def create(view: Needs[View]) -> Response[Any]:
        try:
            data = view.body(thing.kind_in, thing.fields(view))
            made = await view.ask(thing.api.create, data=data)
        except Rejected as problem:
            return _form(view, view.form, problem)
        return view.to(f"/app/{thing.path}/{made.id}", "created")

    def _form(view: View, values: dict[str, str], problem: Rejected | None) -> Response[str]:
        status = problem.status if problem else 200
        return view.page("thing_new.html", status, fields=thing.fields(view), values=values, problem=problem, **context)

    async def _page(
        view: View, shown: Any, values: dict[str, str] | None = None, problem: Rejected | None = None
    ) -> Response[str]:
        fields = [field for field in thing.fields(view) if field.name not in thing.only_new]
        return view.page(
            f"{template}.html", problem.status if problem else 200, shown=shown, etag=etag(shown), fields=fields,
            values=values or typed(shown, fields), problem=problem, **context,
            **(await thing.more(view, shown) if thing.more else {}),
        )  # fmt: skip

    async def _change(view: View, id_: Any) -> Response[Any]:
        shown = await view.ask(thing.api.read, **{thing.id_name: id_})
        form = view.form
        try:
            if form.get("do") == "remove":
                await view.ask(thing.api.remove, if_match=form.get("etag"), **{thing.id_name: id_})
                return view.to(f"/app/{thing.path}", "removed")
            fields = [field for field in thing.fields(view) if field.name not in thing.only_new]
            data = view.body(thing.kind_patch, fields, patch=True)
            await view.ask(thing.api.change, data=data, if_match=form.get("etag"), **{thing.id_name: id_})
        except NotFound:
            raise
        except Rejected as problem:
            return await _page(view, shown, form if form.get("do") != "remove" else None, problem)
        return view.to(f"/app/{thing.path}/{id_}", "changed")

    if thing.id_kind == "int":

        @get(one, name=f"{thing.path}-read")
        async def read_number(view: Needs[View], id_: FromPath[int]) -> Response[str]:
            return await _page(view, await view.ask(thing.api.read, **{thing.id_name: id_}))

        @post(one, name=f"{thing.path}-change")
        async def change_number(view: Needs[View], id_: FromPath[int]) -> Response[Any]:
            return await _change(view, id_)

        return [list_all, new, create, read_number, change_number]

    @get(one, name=f"{thing.path}-read")
    async def read(view: Needs[View], id_: FromPath[UUID]) -> Response[str]:
        return await _page(view, await view.ask(thing.api.read, **{thing.id_name: id_}))

    @post(one, name=f"{thing.path}-change")
    async def change(view: Needs[View], id_: FromPath[UUID]) -> Response[Any]:
        return await _change(view, id_)

    return [list_all, new, create, read, change]


HANDLERS = [handler for thing in THINGS for handler in _handlers(thing)]
