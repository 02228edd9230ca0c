"""A destination's blueprint: written as JSON, shown on real events before it is live, with its versions."""

import difflib
from typing import Any
from uuid import UUID

import msgspec
from litestar import Response, get, post
from litestar.di import NamedDependency as Needs
from litestar.params import FromPath
from msgspec import Struct

from postback import dialects
from postback.blueprint import Blueprint
from postback.errors import Invalid, NotFound, Rejected
from postback.web.admin import blueprints, destinations
from postback.web.admin.blueprints import BlueprintOut, RollbackIn, TestIn
from postback.web.admin.destinations import DestinationPatch
from postback.web.admin.shapes import DestinationOut
from postback.web.dashboard import lines
from postback.web.dashboard.forms import Field
from postback.web.dashboard.integrations import frame
from postback.web.dashboard.view import View

_test_in = msgspec.json.Decoder(TestIn)
_patch = msgspec.json.Decoder(DestinationPatch)
LAST = 10


class Mistake(Rejected):
    """One in the text; its message begins with the line."""

    def __init__(self, problem: Rejected, line: int | None) -> None:
        super().__init__(f"Line {line}: {problem.message}" if line else problem.message, field=problem.field)
        self.status = problem.status


class Shift(Struct, frozen=True):
    """A line of the difference between two versions; `kind`: same, gone or new."""

    kind: str
    text: str


@get("/integrations/{id_:uuid}/blueprint")
async def read(view: Needs[View], id_: FromPath[UUID]) -> Response[str]:
    return await _page(view, await view.ask(destinations.read, destination_id=id_))


@post("/integrations/{id_:uuid}/blueprint", status_code=200)
async def act(view: Needs[View], id_: FromPath[UUID]) -> Response[Any]:
    """What the button `do` says: preview, save, rollback (to `version`)."""
    view.require(destinations.change)
    shown = await view.ask(destinations.read, destination_id=id_)
    form, given = view.form, {"destination_id": id_}
    text = form.get("blueprint", "").replace("\r\n", "\n")
    try:
        match form.get("do"):
            case "rollback":
                data = view.body(RollbackIn, [Field("version", "Version", kind="number")])
                await view.ask(blueprints.rollback, data=data, **given)
            case "save":
                body = _body(_patch, text)
                await _placed(text, view.ask(destinations.change, data=body, if_match=form.get("etag"), **given))
            case _:
                name = form.get("event", "").strip() or None
                body = msgspec.structs.replace(_body(_test_in, text), last=LAST, event=name)
                tested = await _placed(text, view.ask(blueprints.test, data=body, **given))
                return await _page(view, shown, text=text, tested=tested)
    except NotFound:
        raise
    except Rejected as problem:
        return await _page(view, shown, text=text or None, problem=problem)
    return view.to(f"/app/integrations/{id_}/blueprint", "changed")


def _body(decoder: msgspec.json.Decoder[Any], text: str) -> Any:
    """What was typed, as the body of a call. Numbers stay as they are written. Raises Mistake."""
    try:
        msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        said = str(error).partition(" (byte")[0].removeprefix("JSON is malformed: ")
        problem = Invalid(f"this is no JSON: {said}.", field="blueprint")
        raise Mistake(problem, lines.of_error(text, error)) from None
    try:
        return dialects.decode(decoder, b'{"blueprint":%s}' % text.encode())
    except Rejected as problem:
        raise _mistake(text, problem) from None


async def _placed(text: str, asked: Any) -> Any:
    """What was asked, where a refusal says its line."""
    try:
        return await asked
    except Invalid as problem:
        raise _mistake(text, problem) from None


def _mistake(text: str, problem: Rejected) -> Mistake:
    path = (problem.field or "").removeprefix("blueprint").removeprefix(".")
    return Mistake(problem, lines.of_path(text, path) if path else None)


async def _page(view: View, shown: DestinationOut, text: str | None = None, **more: Any) -> Response[str]:
    found = await view.ask_list(blueprints.list_all, destination_id=shown.id, limit=20)
    live = await view.ask(blueprints.read, destination_id=shown.id)
    default = BlueprintOut(0, destinations.find(view.caller, shown.id).connector.default_blueprint, None, None)
    known = {one.version: one for one in [*found.items, default, live]}
    before, after = _versions(view, live.version)
    compared = _difference(known[before], known[after]) if before in known and after in known else None
    return await frame(
        view, shown, "integration_blueprint.html", found=found, live=live, compared=compared, before=before,
        after=after, text=_text(live.blueprint) if text is None else text, event=view.form.get("event", ""),
        **{"tested": None} | more,
    )  # fmt: skip


def _text(blueprint: Blueprint) -> str:
    """A rule a line."""
    rules = [msgspec.json.format(msgspec.json.encode(rule), indent=0).decode() for rule in blueprint.rules]
    return '{"rules": [\n  ' + ",\n  ".join(rules) + "\n]}"


def _versions(view: View, live: int) -> tuple[int, int]:
    """Which two versions the query compares; -1: none."""
    asked = [view.request.query_params.get(name, "") for name in ("before", "after")]
    before, after = (int(text) if text.isdecimal() and len(text) < 10 else -1 for text in asked)
    return before, live if after == -1 else after


def _difference(before: BlueprintOut, after: BlueprintOut) -> list[Shift]:
    old, new = (_text(one.blueprint).splitlines() for one in (before, after))
    changes = list(difflib.unified_diff(old, new, n=len(old), lineterm=""))[3:] or [f" {text}" for text in old]
    kinds = {"-": "gone", "+": "new", " ": "same"}
    return [Shift(kinds[one[0]], one[1:]) for one in changes]


HANDLERS = [read, act]
