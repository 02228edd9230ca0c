"""What can go wrong, by who must act.

    Rejected            the caller's mistake: 4xx, in the dialect's own shape
      Invalid           422 or 400 by dialect: the body or one field of it
      Unauthenticated   401: no key, a wrong one, a revoked one
      Forbidden         403: a key that may not do this here
      NotFound          404
      MethodNotAllowed  405, with the methods that the path takes
      TimedOut          408: the body did not come in time
      Conflict          409
      Stale             412: changed since the caller read it
      TooLarge          413
      Unsupported       415: not JSON
      TooMany           429, with `retry_after_seconds`
    Unavailable         503, the operator: the database is away, the disk is full, the queue of writes is full

A platform's refusal is not an exception: see `connectors` (`Retry`, `Failed`, `Refused`, `Skipped`).
Everything else is a bug of ours and rises.
"""


class PostbackError(Exception):
    """`message` is a sentence for people: what was wrong and what to do; it never holds a secret or personal data."""

    status = 500
    code = "internal_error"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Rejected(PostbackError):
    status = 400
    code = "bad_request"

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class Invalid(Rejected):
    """The body, or its `field` (dotted path), is unusable. `malformed`: it could not be read at all."""

    status = 422
    code = "validation_failed"

    def __init__(self, message: str, *, field: str | None = None, malformed: bool = False) -> None:
        super().__init__(message, field=field)
        self.malformed = malformed
        if malformed:
            self.status, self.code = 400, "bad_request"


class Unauthenticated(Rejected):
    status = 401
    code = "unauthenticated"


class Forbidden(Rejected):
    status = 403
    code = "forbidden"


class NotFound(Rejected):
    status = 404
    code = "not_found"


class MethodNotAllowed(Rejected):
    status = 405
    code = "method_not_allowed"

    def __init__(self, allow: str) -> None:
        super().__init__(f"This path takes {allow}.")
        self.allow = allow


class TimedOut(Rejected):
    status = 408
    code = "request_timeout"


class Conflict(Rejected):
    status = 409
    code = "conflict"


class Stale(Rejected):
    status = 412
    code = "precondition_failed"


class TooLarge(Rejected):
    status = 413
    code = "too_large"


class Unsupported(Rejected):
    status = 415
    code = "unsupported_media_type"


class TooMany(Rejected):
    status = 429
    code = "too_many_requests"

    def __init__(self, message: str, *, retry_after_seconds: int, rate: int | None = None) -> None:
        """`rate`: the requests a minute that were used up; None where it was something else."""
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds
        self.rate = rate


class Unavailable(PostbackError):
    """Nothing was written. The caller may try again after `retry_after_seconds`."""

    status = 503
    code = "unavailable"

    def __init__(self, message: str, *, retry_after_seconds: int = 1) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds
