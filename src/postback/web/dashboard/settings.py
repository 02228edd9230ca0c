"""The workspace and the installation: its name, how it is set and whether it is well; what was used of the plan."""

from typing import Any

from litestar import Response, get, post
from litestar.di import NamedDependency as Needs

from postback.errors import Forbidden, Rejected
from postback.web.admin import own, plans, usage
from postback.web.admin.bodies import etag
from postback.web.admin.own import OwnPatch
from postback.web.dashboard.forms import Field
from postback.web.dashboard.view import View
from postback.workspaces import workspace_out

WARN_PERCENT = 80
_NAME = [Field("name", "Workspace", required=True)]
# Which settings are shown together; those of no group under the last.
GROUPS = [
    ("Addresses", ("host", "port", "trusted_proxies", "dangerous_allow_private_destinations")),
    ("Storage", ("data_dir", "database_url", "seal_keys", "shared_buffers_mb", "database_connections_max")),
    ("Retention", ("retention_days", "attempt_retention_days", "sealed_retention_days", "visitor_retention_days")),
]


@get("/settings")
async def read(view: Needs[View]) -> Response[str]:
    return await _page(view)


@post("/settings")
async def name(view: Needs[View]) -> Response[Any]:
    """Name the workspace."""
    try:
        data = view.body(OwnPatch, _NAME)
        await view.ask(own.change, data=data, if_match=view.form.get("etag"))
    except Rejected as problem:
        if isinstance(problem, Forbidden):
            raise
        return await _page(view, problem)
    return view.to("/app/settings", "changed")


async def _page(view: View, problem: Rejected | None = None) -> Response[str]:
    try:
        installation, checks = await view.ask(own.read_settings), await view.ask(own.read_checks)
    except Forbidden:
        installation = checks = None
    shown = {one.name: one for one in installation.settings} if installation else {}
    named = {name for _, names in GROUPS for name in names}
    groups = [(title, [shown[name] for name in names]) for title, names in GROUPS if shown]
    workspace = workspace_out(view.workspace)
    return view.page(
        "settings.html",
        problem.status if problem else 200,
        may=view.may(own.change),
        installation=installation,
        groups=[*groups, ("Limits and the rest", [one for one in shown.values() if one.name not in named])],
        checks=checks,
        fields=_NAME,
        values=view.form or {"name": workspace.name},
        etag=etag(workspace),
        workspace=workspace,
        problem=problem,
    )


@get("/usage")
async def read_usage(view: Needs[View]) -> Response[str]:
    used = await view.ask_list(usage.read)
    percent = used.used * 100 // used.cap if used.cap else None
    history = await view.ask(usage.read_history)
    most = max([month.used for month in history.items] + [used.cap or 0, 1])
    return view.page("usage.html", usage=used, percent=percent, warn=WARN_PERCENT, history=history.items, most=most)


@get("/plans")
async def list_plans(view: Needs[View]) -> Response[str]:
    return view.page("plans.html", found=await view.ask_list(plans.list_all), own=view.workspace.plan_id)


HANDLERS = [read, name, read_usage, list_plans]
