"""Privacy: what is kept how long; a person erased, after saying what that means, or given out; receipts.

Whom it is about comes in forms alone, and stands in no address.
"""

from typing import Any
from uuid import UUID

import msgspec
from litestar import Response, get, post
from litestar.di import NamedDependency as Needs
from litestar.params import FromPath
from litestar.response import Stream

from postback.errors import Forbidden, Invalid, Rejected
from postback.web.admin import privacy
from postback.web.admin.privacy import ErasureIn, PersonIn
from postback.web.dashboard import render
from postback.web.dashboard.forms import Field
from postback.web.dashboard.view import View

KINDS = [
    ("email", "Email"),
    ("phone", "Phone"),
    ("external_id", "External id"),
    ("user_id", "User id"),
    ("visitor_id", "Visitor id"),
]
# What is kept, the setting that says how long, and how it goes.
KEPT = [
    ("Events, deliveries, conversions", "retention_days", "whole months are dropped"),
    ("Attempts: what was sent and answered", "attempt_retention_days", "whole months are dropped"),
    ("Sealed data: addresses, user agents, cities", "sealed_retention_days", "emptied daily"),
    ("Visitors, touches, links", "visitor_retention_days", "after they were last seen"),
    ("Orders, usage, the ledger", None, "numbers, statuses, amounts, counts"),
    ("Erasures, their tombstones, the audit log", None, "keyed hashes; who asked, and when"),
]
_WHO = [
    Field("kind", "By", kind="select", options=KINDS),
    Field("value", "Identifier", required=True, help="In clear, or its SHA-256; a visitor's id as it is."),
]


@get("/privacy")
async def read(view: Needs[View]) -> Response[str]:
    return await _page(view)


@post("/privacy", status_code=200)
async def act(view: Needs[View]) -> Response[Any]:
    """What the button `do` says: ask_erase (what that would remove), erase, export."""
    view.require(privacy.create_erasure)
    kind, value = view.form.get("kind", ""), view.form.get("value", "")
    try:
        if kind not in dict(KINDS):
            raise Invalid("Choose by what the person is named.", field="kind")
        who = {kind: value}
        match view.form.get("do"):
            case "erase":
                made = await view.ask(privacy.create_erasure, data=msgspec.convert(who, ErasureIn))
                return view.to(f"/app/privacy/erasures/{made.id}", "erasing")
            case "export":
                return _as_file(
                    await view.ask(privacy.create_export, data=msgspec.convert(who, PersonIn)), "export.json"
                )
            case _:
                meant = await view.ask(privacy.create_erasure, data=msgspec.convert(who | {"dry_run": True}, ErasureIn))
    except Rejected as problem:
        if isinstance(problem, Forbidden):
            raise
        problem.field = "value" if problem.field in dict(KINDS) else problem.field
        return await _page(view, problem)
    return view.page("erase.html", kind=kind, named=dict(KINDS)[kind], value=value, meant=meant)


async def _page(view: View, problem: Rejected | None = None) -> Response[str]:
    may = view.may(privacy.create_erasure)
    return view.page(
        "privacy.html",
        problem.status if problem else 200,
        may=may,
        found=await view.ask_list(privacy.list_erasures) if may else None,
        fields=_WHO,
        values=view.form,
        problem=problem,
        kinds=dict(KINDS),
        kept=[(what, getattr(view.hub.settings, name) if name else None, name, how) for what, name, how in KEPT],
    )


@get("/privacy/erasures/{erasure:uuid}")
async def read_erasure(view: Needs[View], erasure: FromPath[UUID]) -> Response[Any]:
    """The page; with `?receipt`, the receipt of what is done as a file, which `postback privacy verify` takes."""
    shown = await view.ask(privacy.read_erasure, erasure=erasure)
    if "receipt" in view.request.query_params and shown.receipt is not None:
        body = msgspec.json.encode(shown.receipt)
        return _as_file(Response(body, media_type="application/json"), f"receipt-{shown.id}.json")
    said = msgspec.json.decode(shown.receipt.text) if shown.receipt is not None else None
    return view.page("erasure.html", erasure=shown, said=said, kinds=dict(KINDS))


def _as_file(answer: Response[Any] | Stream, name: str) -> Response[Any]:
    answer.headers |= render.HEADERS | {"Content-Disposition": f'attachment; filename="{name}"'}
    return answer


HANDLERS = [read, act, read_erasure]
