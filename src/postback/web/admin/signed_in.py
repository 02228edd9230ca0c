"""People who are signed in: the cookie, and the token that their changes must bear.

The cookie is HttpOnly and SameSite=Lax. Every change bears a token, in the field `csrf` of a form or the header
X-CSRF-Token: a MAC under the cookie over random text, another one on every page, so that compressing a page tells
nothing of it. A change that a browser says comes from another site is refused in any case.
"""

import hashlib
import hmac
import secrets
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from litestar.connection import ASGIConnection
from litestar.datastructures import Cookie
from msgspec import Struct

from postback.errors import Forbidden, Unauthenticated
from postback.web.admin.hub import Hub
from postback.workspaces import sessions
from postback.workspaces.sessions import Session

COOKIE = "postback_session"
HEADER = "x-csrf-token"
FIELD = "csrf"
SAFE = frozenset({"GET", "HEAD"})
_Connection = ASGIConnection[Any, Any, Any, Any]


class Person(Struct, frozen=True):
    token: str
    session: Session
    now: datetime

    def csrf(self) -> str:
        """A token for one page's changes."""
        nonce = secrets.token_hex(8)
        return f"{nonce}.{_mac(self.token, nonce)}"


def token_of(connection: _Connection) -> str | None:
    return connection.cookies.get(COOKIE)


async def require(connection: _Connection, hub: Hub) -> Person:
    """Who is signed in. Raises Unauthenticated."""
    token, now = token_of(connection), hub.writer.now()
    if token:
        async with hub.pool.connection() as tx:
            session = await sessions.read(tx, token, now)
        if session is not None:
            return Person(token, session, now)
    raise Unauthenticated("You are not signed in, or no longer.")


def require_token(person: Person, sent: str) -> None:
    """Raises Forbidden where a change does not bear the token of a page that we gave this browser."""
    nonce, _, mac = sent.partition(".")
    if not hmac.compare_digest(mac.encode(), _mac(person.token, nonce).encode()):
        raise Forbidden(f"This change does not bear its page's token ({HEADER}, or the field {FIELD}); load it again.")


def require_same_site(connection: _Connection) -> None:
    """Raises Forbidden where a browser says that another site's page sends this."""
    origin = connection.headers.get("origin")
    came_from = connection.headers.get("sec-fetch-site", "same-origin")
    foreign = origin is not None and urlsplit(origin).netloc != connection.headers.get("host")
    # Behind a proxy that rewrites Host, the browser's own word counts.
    if came_from not in ("same-origin", "none") or (foreign and "sec-fetch-site" not in connection.headers):
        raise Forbidden("This change comes from another site's page.")


def is_https(connection: _Connection) -> bool:
    """As far as we are told; decides over the cookie's Secure and over addresses that we show, nothing else."""
    return "https" in (
        connection.scope["scheme"],
        connection.headers.get("x-forwarded-proto", "").split(",")[0].strip(),
    )


def cookie(connection: _Connection, token: str | None) -> Cookie:
    """The session's cookie; None takes it away."""
    return Cookie(
        COOKIE,
        value=token or "",
        path="/",
        max_age=int(sessions.KEPT_FOR.total_seconds()) if token else 0,
        httponly=True,
        samesite="lax",
        secure=is_https(connection),
    )


def _mac(token: str, nonce: str) -> str:
    return hmac.digest(token.encode(), f"csrf {nonce}".encode(), hashlib.sha256).hex()
