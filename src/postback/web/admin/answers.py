"""What goes wrong, as `{"error": {"code", "message", "field"?}}`."""

import psycopg
import structlog
from litestar import Request
from litestar.exceptions import HTTPException, MethodNotAllowedException, NotFoundException, ValidationException
from litestar.types import ExceptionHandlersMap

from postback.db import is_unavailable
from postback.errors import Invalid, MethodNotAllowed, NotFound, PostbackError, Rejected, Unauthenticated, Unavailable
from postback.web import wire
from postback.web.admin.bodies import JsonResponse

log = structlog.get_logger()


def _answer(error: PostbackError) -> JsonResponse:
    headers = {name.decode(): value.decode() for name, value in wire.extra_headers(error)}
    if isinstance(error, Unauthenticated):
        headers["www-authenticate"] = "Bearer"
    return JsonResponse(
        wire.plain_error(error), status_code=error.status, headers=headers, media_type="application/json"
    )


def _ours(request: Request, error: PostbackError) -> JsonResponse:
    return _answer(error)


def _not_found(request: Request, error: NotFoundException) -> JsonResponse:
    return _answer(NotFound("There is nothing at this path; /openapi.json lists what there is."))


def _not_allowed(request: Request, error: MethodNotAllowedException) -> JsonResponse:
    allow = (error.headers or {}).get("allow", "")
    return _answer(MethodNotAllowed(", ".join(sorted(m for m in allow.split(", ") if m and m != "OPTIONS"))))


def _unfit(request: Request, error: ValidationException) -> JsonResponse:
    """A query parameter or a part of the path that is not of its type."""
    for problem in error.extra or ():
        if isinstance(problem, dict) and "key" in problem:
            name = problem["key"]
            return _answer(Invalid(f"{name}: {_plain(str(problem.get('message', '')))}.", field=name))
    return _answer(Invalid("The request cannot be understood."))


def _plain(message: str) -> str:
    return message.partition(" - at `")[0].replace("`", "")


def _http(request: Request, error: HTTPException) -> JsonResponse:
    refusal = Rejected("The request cannot be understood.")
    if 400 <= error.status_code < 500:
        refusal.status = error.status_code
        return _answer(refusal)
    return _bug(request, error)


def _bug(request: Request, error: Exception) -> JsonResponse:
    return _answer(failure(request, error))


def failure(request: Request, error: Exception) -> PostbackError:
    """What to say of an error that nobody expected, which is logged: the database is away, or it is our bug."""
    if is_unavailable(error):
        return Unavailable("The database is away; nothing was changed. Try again in a second.")
    error_id = wire.new_request_id()
    state = error.sqlstate if isinstance(error, psycopg.Error) else None
    log.error(
        "request failed", error_id=error_id, path=request.scope.get("path_template"), sqlstate=state, exc_info=error
    )
    return PostbackError(f"Something went wrong here. Error {error_id}.")


HANDLERS: ExceptionHandlersMap = {
    PostbackError: _ours,
    NotFoundException: _not_found,
    MethodNotAllowedException: _not_allowed,
    ValidationException: _unfit,
    HTTPException: _http,
    Exception: _bug,
}
