"""What an event shows of its visitor: identifiers with their times, links, what brought the visitor, what was chosen.

Of a server's event it is what the event says, as of when it occurred; of the tag's it is also what the batch says of
the browser, made once for all its events. Times of a browser are corrected and never ahead.
"""

from datetime import datetime, timedelta
from uuid import UUID

from msgspec import Struct

from postback import pii, visitors
from postback.event import OLDEST, Event, RawBrowser, RawEvent, clock_error, corrected
from postback.pii import Protected
from postback.pii.seal import link_key
from postback.visitors import Browser, Identifier, Seen, links, referrers, touches
from postback.visitors.links import NewLink
from postback.visitors.touches import Touch
from postback.workspaces import Site

TAG = "tag"
# A session that began earlier is a clock that is wrong.
LONGEST_SESSION = timedelta(days=30)
OLDEST_MS = int(OLDEST.timestamp() * 1000)


class Whose(Struct, frozen=True):
    """`key`: the installation's, that link keys are made under."""

    key: bytes
    workspace: UUID
    workspace_bytes: bytes
    site: Site | None

    def link(self, kind: str, value: str) -> bytes:
        return link_key(self.key, self.workspace_bytes, kind, value)


def of(done: Protected, raw: RawEvent, visitor_key: bytes, whose: Whose, now: datetime) -> Seen:
    event, is_tag = done.event, raw.browser is not None
    shown = event.user | event.click_ids
    if event.experiments or event.consent is not None:
        shown |= visitors.as_identifiers(event.experiments, event.consent)
    return Seen(
        key=visitor_key,
        workspace_id=whose.workspace,
        identifiers=shown,
        at=min(event.occurred_at, now),
        id=event.visitor_id,
        sealed=None if is_tag else done.sealed,
        device=done.sealed if is_tag else None,
        links=tuple((kind, whose.link(kind, value)) for kind, value in done.links),
        origin=event.dialect,
        site_id=whose.site.id.bytes if is_tag and whose.site is not None else None,
        browser=_browser(raw.browser, visitor_key, whose, now) if raw.browser is not None else None,
        touch=_interaction(event, visitor_key, whose, now) if event.name == touches.OPEN else None,
    )


def _browser(raw: RawBrowser, visitor_key: bytes, whose: Whose, now: datetime) -> Browser:
    """Made with the first event of a batch; the same for the others."""
    if not isinstance(raw.made, Browser):
        error = clock_error(raw.sent_at, now)
        now_ms = int(now.timestamp() * 1000)

        def by_us(ms: int) -> int:
            if error is None:
                return now_ms
            return min(now_ms, max(OLDEST_MS, ms + int(error.total_seconds() * 1000)))

        raw.made = Browser(
            identifiers={
                name: Identifier(value, by_us(first), by_us(last), TAG)
                for name, (value, first, last) in raw.identifiers.items()
            },
            touch=_start(raw, visitor_key, whose, now, error),
            links=_links(raw, visitor_key, whose, now),
        )
    return raw.made


def _links(raw: RawBrowser, visitor_key: bytes, whose: Whose, now: datetime) -> tuple[NewLink, ...]:
    """To the visitor that a pb_vid proved this one to be."""
    if raw.twin is None:
        return ()
    twin, via = raw.twin
    found = links.both_ways(visitor_key, twin, via, TAG, now)
    if raw.session_id:
        found = (*found, NewLink(whose.link("session", raw.session_id), "session", (visitor_key, twin), TAG, now))
    return found


def _start(raw: RawBrowser, visitor_key: bytes, whose: Whose, now: datetime, error: timedelta | None) -> Touch | None:
    """The start of the session; None where it only goes on: after a payment page, from the site's other host, or with a
    visitor who was carried."""
    if raw.session_id is None or raw.started_at is None or raw.link is not None:
        return None
    query = referrers.query_of(raw.landing)
    utm = raw.utm | {name: query[f"utm_{name}"] for name in referrers.UTM if f"utm_{name}" in query}
    clicks = [name for name in referrers.CLICKS if name in query]
    if not utm and not clicks and _goes_on(raw, whose.site):
        return None
    at = max(now - LONGEST_SESSION, corrected(raw.started_at, error, now))
    source = referrers.source_of(utm, clicks, raw.referrer, raw.landing)
    return Touch(
        visitor_key=visitor_key,
        id=touches.id_of(at, raw.session_id),
        workspace_id=whose.workspace_bytes,
        site_id=whose.site.id.bytes if whose.site is not None else None,
        kind=touches.SESSION,
        session_id=raw.session_id,
        at=at,
        source=_safe(source.source),
        medium=_safe(source.medium),
        campaign=_safe(utm.get("campaign")),
        term=_safe(utm.get("term")),
        content=_safe(utm.get("content")),
        click_id=source.click_id,
        referrer=_page(raw.referrer),
        landing=_page(raw.landing),
        is_bot=raw.is_bot,
    )


def _goes_on(raw: RawBrowser, site: Site | None) -> bool:
    if referrers.host_of(raw.referrer) == referrers.host_of(raw.landing):
        return False
    return referrers.takes_no_credit(raw.referrer, site.own_referrers if site is not None else ())


def _interaction(event: Event, visitor_key: bytes, whose: Whose, now: datetime) -> Touch:
    at = min(event.occurred_at, now)
    said = {name: str(value) for name in ("product", "widget", "placement") if (value := event.properties.get(name))}
    return Touch(
        visitor_key=visitor_key,
        id=touches.id_of(at, event.event_id),
        workspace_id=whose.workspace_bytes,
        site_id=event.site_id.bytes if event.site_id else None,
        kind=touches.OPEN,
        session_id=event.session_id,
        at=at,
        product=_safe(said.get("product")),
        widget=_safe(said.get("widget")),
        placement=_safe(said.get("placement")),
        is_bot=event.is_bot,
    )


def _safe(text: str | None) -> str | None:
    return pii.masked(text[: touches.MAX_TEXT]) if text else None


def _page(address: str | None) -> str | None:
    """An address without its query and fragment."""
    return _safe(address.partition("?")[0].partition("#")[0]) if address else None
