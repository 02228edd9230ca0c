"""How things are written: templates, times in the site's zone, money in its currency's form, and the headers of a page.

Everything is escaped; what a browser may do with a page is said by a policy without inline script or style.
"""

import gzip
import hashlib
import secrets
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined, pass_context
from litestar import Request, Response
from litestar.enums import MediaType
from markupsafe import Markup, escape

from postback import money

# As deliveries are shown: what went well first.
STATUSES = ("delivered", "queued", "retrying", "held", "skipped", "failed")
STATIC = Path(__file__).parent.parent / "static"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not `no-referrer`: browsers would then not say where a form comes from.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_encode = msgspec.json.Encoder(decimal_format="number").encode
_SIGNS = {"USD": "$", "EUR": "€", "GBP": "£", "JPY": "¥", "INR": "₹", "KRW": "₩", "ILS": "₪", "UAH": "₴", "VND": "₫"}


def respond(request: Request[Any, Any, Any], template: str, status: int = 200, **context: Any) -> Response[Any]:
    page, headers = environment().get_template(template).render(**context).encode(), HEADERS
    if "gzip" in request.headers.get("accept-encoding", ""):
        page, headers = packed(page), HEADERS | {"Content-Encoding": "gzip"}
    return Response(page, status_code=status, media_type=MediaType.HTML, headers=headers)


def packed(page: bytes) -> bytes:
    """Gzip. A name of random length in its head blurs the size, by which text that a page repeats could be guessed
    (BREACH); the token of its forms is another one each time."""
    made = gzip.compress(page, 6, mtime=0)
    name = secrets.token_hex(secrets.randbelow(51)).encode()
    return made[:3] + b"\x08" + made[4:10] + name + b"\0" + made[10:]


@cache
def environment() -> Environment:
    made = Environment(
        loader=PackageLoader("postback.web.dashboard"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Any] = {
        "time": time,
        "money": amount,
        "count": count,
        "percent": percent,
        "json": pretty,
        "words": words,
    }
    made.filters.update(filters)
    held: dict[str, Any] = {"asset": asset, "statuses": STATUSES}
    made.globals.update(held)
    return made


@cache
def asset(name: str) -> str:
    """The address of a file that this server keeps; another one when its content is another."""
    return f"/app/static/{name}?{hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]}"


@pass_context
def time(context: Any, at: datetime | None) -> Markup:
    """In the site's zone, to the second; the exact UTC on hover. An em dash for none."""
    if at is None:
        return Markup('<span class="none">—</span>')
    local, now = at.astimezone(context["view"].zone), context["view"].now.astimezone(context["view"].zone)
    form = "%H:%M:%S" if local.date() == now.date() else "%-d %b %H:%M" if local.year == now.year else "%-d %b %Y"
    exact = at.astimezone(UTC)
    return Markup('<time datetime="{}" title="{} UTC">{}</time>').format(
        exact.isoformat(), exact.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3], local.strftime(form)
    )


def amount(value: Decimal | None, currency: str | None) -> Markup:
    """€1,234.50; CHF 20.00; ¥500. An em dash for none, which is not 0."""
    if value is None:
        return Markup('<span class="none">—</span>')
    places = money.MINOR_UNITS.get(currency or "", 2)
    digits = f"{abs(value):,.{places}f}"
    sign = _SIGNS.get(currency or "", f"{currency}\N{NO-BREAK SPACE}" if currency else "")
    return escape(f"{'−' if value < 0 else ''}{sign}{digits}")


def count(number: int) -> str:
    return f"{number:,}"


def percent(share: float | None) -> str:
    """97.5 %; an em dash for none. Not 100 where something is missing."""
    if share is None:
        return "—"
    return f"{share * 100:.0f} %" if share in (0, 1) else f"{min(99.9, share * 100):.1f} %"


def pretty(value: Any) -> str:
    """JSON to read, or text as it is."""
    text = value.encode() if isinstance(value, str) else value
    if not isinstance(text, msgspec.Raw | bytes):
        text = _encode(value)
    try:
        return msgspec.json.format(bytes(text), indent=2).decode()
    except (msgspec.DecodeError, UnicodeDecodeError):
        return bytes(text).decode(errors="replace")


def words(name: str) -> str:
    """read_only: Read only."""
    return name.replace("_", " ").capitalize()
