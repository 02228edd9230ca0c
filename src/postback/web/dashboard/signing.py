"""Signing in and out, joining by an invitation's link, one's own account, and what is looked at.

A wrong email and a wrong password are answered alike, as slowly, and ever more slowly.
"""

import re
from typing import Any
from uuid import UUID

from litestar import Request, Response, get, post
from litestar.di import NamedDependency as Needs
from litestar.params import FromPath
from litestar.response import Redirect

from postback.db import buckets
from postback.errors import Forbidden, Invalid, NotFound, Rejected, Unauthenticated
from postback.web import wire
from postback.web.admin import signed_in
from postback.web.admin.hub import Hub
from postback.web.dashboard import forms, render
from postback.web.dashboard.view import View, require_person, theme_of
from postback.web.proxies import Proxies, line_of
from postback.workspaces import accounts, audit, sessions
from postback.workspaces.accounts import Account

HOME = "/app"
_OURS = re.compile(r"/app(?:/[A-Za-z0-9_.~%-]+)*(?:\?[A-Za-z0-9_.~%=&+:-]*)?")
_Web = Request[Any, Any, Any]


def client_of(request: _Web, hub: Hub) -> str:
    """The address, or line, that attempts are counted by."""
    peer = request.client.host if request.client else None
    forwarded_for = wire.read_headers(request.scope["headers"]).get("x-forwarded-for", "")
    return line_of(Proxies(hub.settings.trusted_proxies).client(forwarded_for, peer))


def ours(path: str | None) -> str:
    """A page of ours to go to; home for any other address."""
    return path if path and _OURS.fullmatch(path) else HOME


@get("/sign-in")
async def sign_in_form(request: _Web, hub: Needs[Hub]) -> Response[Any]:
    there = ours(request.query_params.get("next"))
    try:
        await signed_in.require(request, hub)
    except Unauthenticated:
        return _bare(request, "sign_in.html", next=there, email="", problem=None)
    return Redirect(there, status_code=303)


@post("/sign-in")
async def sign_in(request: _Web, hub: Needs[Hub]) -> Response[Any]:
    """Every session begins with a new token; the one that the browser had ends."""
    signed_in.require_same_site(request)
    form = await forms.read(request, hub)
    email, there, now = form.get("email", "")[:300], ours(form.get("next")), hub.writer.now()
    address = client_of(request, hub)
    try:
        async with hub.pool.connection() as tx:
            await sessions.attempt(tx, email, address, now)
            account = await accounts.by_email(tx, email)
        if not await accounts.has_password(account, form.get("password", "")[:1000]) or account is None:
            raise Unauthenticated("This email and password do not belong together.")
        async with hub.pool.connection() as tx:
            await sessions.forgive(tx, email, address, now)
            seats = await accounts.seats(tx, account.id)
            if not seats:
                raise Forbidden("You are a member of no workspace any more; ask an owner for an invitation.")
            return await _enter(request, tx, account, seats[0].workspace_id, there, now)
    except Rejected as problem:
        answer = _bare(request, "sign_in.html", problem.status, next=there, email=email, problem=problem)
        if (wait := getattr(problem, "retry_after_seconds", None)) is not None:
            answer.headers["Retry-After"] = str(wait)
        return answer


@get("/join/{token:str}")
async def join_form(request: _Web, hub: Needs[Hub], token: FromPath[str]) -> Response[Any]:
    async with hub.pool.connection() as tx:
        found = await accounts.invitation(tx, token, hub.writer.now())
        is_known = await accounts.by_email(tx, found.email) is not None
    return _bare(request, "join.html", invitation=found, is_known=is_known, problem=None)


@post("/join/{token:str}")
async def join(request: _Web, hub: Needs[Hub], token: FromPath[str]) -> Response[Any]:
    """Whoever has an account proves it by its password; whoever has none chooses one."""
    signed_in.require_same_site(request)
    form = await forms.read(request, hub)
    password, now = form.get("password", "")[:1000], hub.writer.now()
    address = client_of(request, hub)
    async with hub.pool.connection() as tx:
        found = await accounts.invitation(tx, token, now)
        known = await accounts.by_email(tx, found.email)
        try:
            if known is not None:
                await sessions.attempt(tx, found.email, address, now)
                if not await accounts.has_password(known, password):
                    raise Invalid("This is not the password of your account.", field="password")
                await sessions.forgive(tx, found.email, address, now)
            async with audit.changing(tx, found.workspace_id, f"account {found.email}", now) as change:
                person = known or await accounts.create(tx, buckets.new_id(now), found.email, password, now)
                await accounts.accept(tx, token, person.id, now)
                joined = {"id": str(found.id), "email": found.email, "role": found.role, "status": "member"}
                await change.record("changed", "member", found.id, before=joined | {"status": "invited"}, after=joined)
            return await _enter(request, tx, person, found.workspace_id, HOME, now)
        except Rejected as problem:
            if isinstance(problem, NotFound):
                raise
            context = {"invitation": found, "is_known": known is not None, "problem": problem}
            return _bare(request, "join.html", problem.status, **context)


@post("/sign-out", guards=[require_person])
async def sign_out(view: Needs[View]) -> Redirect:
    async with view.hub.pool.connection() as tx:
        await sessions.end(tx, view.person.token)
    return _left(view)


@post("/sign-out-everywhere", guards=[require_person])
async def sign_out_everywhere(view: Needs[View]) -> Redirect:
    async with view.hub.pool.connection() as tx:
        await sessions.end_all(tx, view.person.session.account_id)
    return _left(view)


@get("/account", guards=[require_person])
async def account(view: Needs[View]) -> Response[str]:
    return view.page("account.html", problem=None)


@post("/account/password", guards=[require_person])
async def change_password(view: Needs[View]) -> Response[Any]:
    """All sessions end but this one, which goes on under a new token."""
    form, session, now = view.form, view.person.session, view.now
    address = client_of(view.request, view.hub)
    async with view.hub.pool.connection() as tx:
        try:
            await sessions.attempt(tx, session.email, address, now)
            known = await accounts.by_id(tx, session.account_id)
            if not await accounts.has_password(known, form.get("old", "")[:1000]) or known is None:
                raise Invalid("This is not your password.", field="old")
            await sessions.forgive(tx, session.email, address, now)
            async with tx.transaction():
                known = await accounts.set_password(tx, known, form.get("password", ""))
                await sessions.end_all(tx, session.account_id)
        except Rejected as problem:
            return view.page("account.html", problem.status, problem=problem)
        return await _enter(view.request, tx, known, session.workspace_id, "/app/account?done=password", now)


@post("/look-at", guards=[require_person])
async def look_at(view: Needs[View]) -> Redirect:
    """Another workspace of the account's, or a site of this one."""
    form = view.form
    try:
        workspace_id = UUID(form.get("workspace") or str(view.workspace.id))
        site_id = UUID(form["site"]) if form.get("site") else None
    except ValueError:
        raise NotFound("There is no such workspace or site.") from None
    if workspace_id not in [seat.workspace_id for seat in view.seats]:
        raise NotFound("There is no such workspace.")
    if workspace_id != view.workspace.id:
        site_id = None
    elif site_id is not None and site_id not in view.caller.snapshot.sites:
        raise NotFound("There is no such site.")
    async with view.hub.pool.connection() as tx:
        await sessions.look_at(tx, view.person.token, workspace_id, site_id)
    return Redirect(HOME if workspace_id != view.workspace.id else ours(form.get("next")), status_code=303)


@post("/theme", guards=[require_person])
async def theme(view: Needs[View]) -> Redirect:
    wanted = view.form.get("theme", "")
    answer = Redirect(ours(view.form.get("next")), status_code=303)
    answer.set_cookie(
        "postback_theme", wanted if wanted in ("light", "dark") else "", path="/app", max_age=31_536_000,
        samesite="lax", httponly=True,
    )  # fmt: skip
    return answer


async def _enter(request: _Web, tx: Any, account: Account, workspace_id: UUID, there: str, now: Any) -> Redirect:
    if (old := signed_in.token_of(request)) is not None:
        await sessions.end(tx, old)
    token = await sessions.begin(tx, account, workspace_id, now)
    return Redirect(
        there, status_code=303, cookies=[signed_in.cookie(request, token)], headers={"Cache-Control": "no-store"}
    )


def _left(view: View) -> Redirect:
    return Redirect(
        "/app/sign-in",
        status_code=303,
        cookies=[signed_in.cookie(view.request, None)],
        headers={"Clear-Site-Data": '"cache"'},
    )


def _bare(request: _Web, template: str, status: int = 200, **context: Any) -> Response[str]:
    return render.respond(request, template, status, theme=theme_of(request), **context)


HANDLERS = [
    sign_in_form, sign_in, join_form, join, sign_out, sign_out_everywhere, account, change_password, look_at, theme,
]  # fmt: skip
