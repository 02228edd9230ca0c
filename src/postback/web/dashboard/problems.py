"""What goes wrong on a page, as a page."""

from typing import Any
from urllib.parse import quote

from litestar import Request, Response
from litestar.exceptions import HTTPException
from litestar.response import Redirect
from litestar.types import ExceptionHandlersMap

from postback.errors import Invalid, MethodNotAllowed, NotFound, PostbackError, Rejected, Unauthenticated
from postback.web.admin import answers
from postback.web.dashboard import render
from postback.web.dashboard.view import VIEW, NoSeat, theme_of

TITLES = {
    403: "You may not do this",
    404: "Not found",
    409: "That does not fit",
    422: "That cannot be used",
    429: "A moment, please",
    503: "The database is away",
}


def _ours(request: Request[Any, Any, Any], error: PostbackError) -> Response[Any]:
    if isinstance(error, Unauthenticated):
        return _to_sign_in(request)
    return _page(request, error)


def _to_sign_in(request: Request[Any, Any, Any]) -> Response[Any]:
    path = request.scope["path"]
    if query := request.scope["query_string"]:
        path += f"?{query.decode('latin-1')}"
    back = f"?next={quote(path, safe='/')}" if request.method == "GET" and path != "/app" else ""
    where = f"/app/sign-in{back}"
    if "hx-request" in request.headers:
        return Response("", status_code=401, headers={"HX-Redirect": "/app/sign-in"} | render.HEADERS)
    return Redirect(where, status_code=303, headers=render.HEADERS)


def _page(request: Request[Any, Any, Any], error: PostbackError) -> Response[Any]:
    view = request.scope["state"].get(VIEW)
    field = error.field if isinstance(error, Rejected) else None
    title = TITLES.get(error.status, "Something went wrong" if error.status >= 500 else "That did not work")
    answer = render.respond(
        request,
        "problem.html" if view else "problem_bare.html",
        error.status,
        view=view,
        theme=theme_of(request),
        title=title,
        message=error.message,
        field=field,
        may_sign_out=isinstance(error, NoSeat),
    )
    if (wait := getattr(error, "retry_after_seconds", None)) is not None:
        answer.headers["Retry-After"] = str(wait)
    return answer


def _http(request: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
    if error.status_code == 404:
        return _page(request, NotFound("There is no such page, or nothing of that id in this workspace."))
    if error.status_code == 405:
        return _page(request, MethodNotAllowed((error.headers or {}).get("allow", "GET")))
    if error.status_code < 500:
        return _page(request, Invalid("The request cannot be understood."))
    return _bug(request, error)


def _bug(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    return _page(request, answers.failure(request, error))


HANDLERS: ExceptionHandlersMap = {PostbackError: _ours, HTTPException: _http, Exception: _bug}
