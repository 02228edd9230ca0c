"""`/collect`: the browser tag's batches. What is its own stands here: the public site key, origins, rates, who it was
that called, and the answer with ids, cookie and a fresh pb_vid. The events go the way of every other: `Ingest`.

As there, `take` serves the usual post without waiting for anything but its commit, `post` any.
"""

import math
import os
import secrets
import string
import time
from collections.abc import Sequence

import msgspec

from postback import visitors
from postback.db import Pool, is_unavailable
from postback.dialects import tag
from postback.dialects.browser import is_own_id
from postback.dialects.tag import Batch
from postback.errors import (
    Forbidden,
    Invalid,
    MethodNotAllowed,
    PostbackError,
    Rejected,
    TooLarge,
    TooMany,
    Unavailable,
)
from postback.intake.directory import Directory, Snapshot
from postback.intake.judge import Pending, check_origin
from postback.keys import ApiKey
from postback.settings import Settings
from postback.visitors import links, tokens
from postback.web import bots, wire
from postback.web.ingest import Answering, Ingest, Judged
from postback.web.paces import Paces
from postback.web.proxies import Proxies, line_of
from postback.web.wire import Header, Limits, Receive, Scope, Send
from postback.workspaces.origins import Refusals

PATH = "/collect"
COOKIE = "_pb_vid"
COOKIE_SECONDS = 400 * 86_400
_ID_CHARS = string.ascii_letters + string.digits
_encode = msgspec.json.Encoder().encode


class Collect:
    """What the tag's path of one process needs."""

    def __init__(
        self,
        ingest: Ingest,
        directory: Directory,
        pool: Pool,
        link_key: bytes,
        settings: Settings,
        limits: Limits,
        refusals: Refusals,
    ) -> None:
        self._ingest = ingest
        self._directory = directory
        self._pool = pool
        self._link_key = link_key
        self._limits = limits
        self._refusals = refusals
        self._addresses = Paces(settings.collect_address_per_minute)
        self._sites = Paces(settings.collect_site_per_minute)
        self._proxies = Proxies(settings.trusted_proxies)

    def take(
        self, sent_headers: Sequence[Header], body: bytes, peer: str | None, is_https: bool, answer: Answering
    ) -> bool:
        """Take a usual batch, complete and of a known site; `answer` is called once it is committed. False: it is not
        one, and nothing has happened."""
        headers = wire.read_headers(sent_headers)
        if len(body) > tag.MAX_BYTES or "content-encoding" in headers:
            return False
        headers[":address"] = self._address(headers, peer)
        try:
            _refuse_forms(headers)
            wire.require_json(headers, tag.DIALECT.content_types)
            batch = _read(body, headers, sent_headers)
            known = self._directory.known_site(batch.browser.site_key)
            if known is None or batch.browser.link is not None or not batch.events:
                return False
            snapshot, caller = known
            self._prepare(batch, headers)
            judged = self._ingest.judged(batch, caller, snapshot, tag.DIALECT)
            if len(judged.pending) < len(judged.results):
                return False
            self._count(caller, headers)
        except (Rejected, TooMany):
            return False
        cors = _cors(headers)

        def done(error: Exception | None) -> None:
            try:
                if error is not None:
                    raise error
                status, said, extra = self._answered(batch, judged, snapshot, caller, is_https, headers)
                answer(status, said, extra, None)
            except PostbackError as refusal:
                refused = tag.refuse(refusal)
                answer(refused.status, refused.body, (*wire.extra_headers(refusal), *cors), None)
            except Exception:
                answer(500, wire.failed(PATH), cors, None)

        try:
            self._ingest.enqueue(judged.pending, done)
        except Unavailable as full:
            done(full)
        return True

    async def post(self, scope: Scope, receive: Receive, send: Send) -> int:
        """Serve one request; gives the status it was answered with."""
        headers = wire.read_headers(scope["headers"])
        cors = _cors(headers)
        try:
            if scope["method"] == "OPTIONS":
                await wire.answer(send, 204, b"", (*cors, *_PREFLIGHT))
                return 204
            if scope["method"] != "POST":
                raise MethodNotAllowed("OPTIONS, POST")
            peer = scope["client"][0] if scope.get("client") else None
            headers[":address"] = self._address(headers, peer)
            status, body, extra = await self._take(headers, scope["headers"], receive, scope.get("scheme") == "https")
        except PostbackError as error:
            answer = tag.refuse(error)
            unread = receive if isinstance(error, TooLarge) else None
            # A refusal too, which the tag must read to give up; it tells a foreign page nothing.
            await wire.answer(send, answer.status, answer.body, (*wire.extra_headers(error), *cors), unread=unread)
            return answer.status
        await wire.answer(send, status, body, extra)
        return status

    async def _take(
        self, headers: dict[str, str], sent_headers: Sequence[Header], receive: Receive, is_https: bool
    ) -> tuple[int, bytes, tuple[Header, ...]]:
        _refuse_forms(headers)
        wire.require_json(headers, tag.DIALECT.content_types)
        _refuse(self._addresses.wait(line_of(headers[":address"]), time.monotonic()), "This address")
        body = await wire.read_body(receive, headers, tag.MAX_BYTES, self._limits)
        batch = _read(body, headers, sent_headers)
        snapshot, caller = await self._directory.of_site(batch.browser.site_key)
        now = self._ingest.now()
        snapshot = await self._confirm(snapshot, caller)
        try:
            check_origin(snapshot.sites[caller.id], batch.browser.origin)
        except Forbidden:
            self._refusals.note(caller.id, batch.browser.origin, now)
            raise
        _refuse(self._sites.wait(caller.id, time.monotonic()), "This site")
        self._prepare(batch, headers)
        carried = await self._carried(batch, snapshot, now.timestamp()) if batch.events else None
        judged = self._ingest.judged(batch, caller, snapshot, tag.DIALECT)
        if judged.pending:
            await self._ingest.submit(judged.pending)
        return self._answered(batch, judged, snapshot, caller, is_https, headers, carried)

    async def _confirm(self, snapshot: Snapshot, caller: ApiKey) -> Snapshot:
        """The snapshot in force, since what writes nothing is not held to it otherwise. Raises Forbidden."""
        try:
            return await self._directory.confirm(snapshot, caller, self._ingest.now())
        except Rejected:
            raise Forbidden("There is no site of this site_key.", field="site_key") from None

    def _count(self, caller: ApiKey, headers: dict[str, str]) -> None:
        """Count a post that is taken. One that is refused here comes again by `post`, which counts it."""
        now = time.monotonic()
        _refuse(self._sites.ahead(caller.id, now), "This site")
        _refuse(self._addresses.wait(line_of(headers[":address"]), now), "This address")
        self._sites.wait(caller.id, now)

    def _prepare(self, batch: Batch, headers: dict[str, str]) -> None:
        """Give a browser without ids its own, and say of each event whose it is."""
        browser = batch.browser
        browser.visitor_id = browser.visitor_id or _new_id("v_")
        browser.session_id = browser.session_id or _new_id("s_")
        browser.is_bot = browser.is_bot or bots.is_bot(headers.get("user-agent"))
        for event in batch.events:
            if not isinstance(event, Invalid):
                event.visitor_id, event.session_id = browser.visitor_id, browser.session_id
                event.is_bot = browser.is_bot

    async def _carried(self, batch: Batch, snapshot: Snapshot, now: float) -> tokens.Token | None:
        """The visitor that the batch's pb_vid carried here: of those who bring one, the first. Raises Unavailable."""
        browser = batch.browser
        workspace = snapshot.id_bytes
        token = tokens.read(self._link_key, workspace, browser.link or "", now)
        if token is None or browser.visitor_id is None or not browser.may_measure:
            browser.link = None
            return None
        own = visitors.key_of(snapshot.workspace.id, browser.visitor_id)
        old = visitors.key_of(snapshot.workspace.id, token.visitor_id)
        if own == old:
            return token
        via = links.token_key(self._link_key, workspace, token.nonce)
        try:
            async with self._pool.connection() as tx:
                first = await links.claim(tx, via, own, self._ingest.now())
        except Exception as error:
            if is_unavailable(error):
                raise Unavailable("The database is away; nothing was written. Try again in a second.") from error
            raise
        if first != own:
            browser.link = None
            return None
        browser.twin = (old, via)
        return token

    def _answered(
        self,
        batch: Batch,
        judged: Judged,
        snapshot: Snapshot,
        caller: ApiKey,
        is_https: bool,
        headers: dict[str, str],
        carried: tokens.Token | None = None,
    ) -> tuple[int, bytes, tuple[Header, ...]]:
        """Raises what stands for the batch as a whole."""
        results = [r.result if isinstance(r, Pending) else r for r in judged.results]
        if any(isinstance(result, Rejected) and result.status == 401 for result in results):
            # The site's key was changed while they waited.
            raise Forbidden("There is no site of this site_key.", field="site_key")
        taken, browser = tag.taken([r for r in results if r is not None]), batch.browser
        visitor_id = carried.visitor_id if carried else browser.visitor_id or ""
        session_id = carried.session_id if carried else browser.session_id or ""
        taken.visitor_id, taken.session_id = visitor_id, session_id
        if browser.may_measure:
            nonce = os.urandom(tokens.NONCE_BYTES)
            now = self._ingest.now().timestamp()
            taken.link = tokens.make(self._link_key, snapshot.id_bytes, visitor_id, session_id, now, nonce)
            taken.link_expires_in = tokens.LIFE_SECONDS
        # Where the site was changed lately, the flush told the events so.
        newest = judged.pending[-1].snapshot if judged.pending else snapshot
        taken.link_domains = newest.sites.get(caller.id, snapshot.sites[caller.id]).link_domains
        extra = _cors(headers)
        name = browser.cookie or COOKIE
        if not browser.may_measure:
            if _is_script(headers) and _brings(headers, name):
                extra = (*extra, (b"set-cookie", self._cookie(f"{name}=; Max-Age=0", is_https, headers)))
        elif is_own_id(visitor_id) and _is_script(headers):
            kept = f"{name}={visitor_id}; Max-Age={COOKIE_SECONDS}"
            extra = (*extra, (b"set-cookie", self._cookie(kept, is_https, headers)))
        return 200, _encode(taken), extra

    def _cookie(self, kept: str, is_https: bool, headers: dict[str, str]) -> bytes:
        if self._proxies.hold(headers[":peer"]) and (scheme := headers.get("x-forwarded-proto")):
            is_https = scheme.strip().lower() == "https"
        cookie = f"{kept}; Path=/; SameSite=Lax"
        return (cookie + "; Secure" if is_https else cookie).encode()

    def _address(self, headers: dict[str, str], peer: str | None) -> str:
        """Whose request this is."""
        headers[":peer"] = peer or ""
        return self._proxies.client(headers.get("x-forwarded-for", ""), peer)


def _read(body: bytes, headers: dict[str, str], sent_headers: Sequence[Header]) -> Batch:
    batch = tag.parse(body, headers)
    if not batch.browser.may_measure:
        headers["cookie"] = wire.cookies(sent_headers)
    return batch


def _new_id(prefix: str) -> str:
    return prefix + "".join(secrets.choice(_ID_CHARS) for _ in range(22))


def _refuse_forms(headers: dict[str, str]) -> None:
    """A form needs no preflight, and the cookie of its answer would be kept whatever page it stands on."""
    if headers.get("sec-fetch-mode") == "navigate":
        raise Forbidden("A form may not post here; the tag does.")


def _is_script(headers: dict[str, str]) -> bool:
    return headers.get("origin", "null") != "null" or "sec-fetch-mode" in headers


def _brings(headers: dict[str, str], name: str) -> bool:
    """Whether the request came with a cookie of this name that is ours."""
    cookies = (one.strip().partition("=") for one in headers["cookie"].split(";"))
    return any(its == name and is_own_id(value) for its, _, value in cookies)


def _refuse(wait: float, who: str) -> None:
    if wait > 0:
        seconds = math.ceil(wait)
        raise TooMany(f"{who} sends too often; try again in {seconds} s.", retry_after_seconds=seconds)


_PREFLIGHT: tuple[Header, ...] = (
    (b"access-control-allow-methods", b"POST"),
    (b"access-control-allow-headers", b"content-type"),
    (b"access-control-max-age", b"86400"),
)


def _cors(headers: dict[str, str]) -> tuple[Header, ...]:
    """What lets the page read the answer: a preflight does not say which site it is for, so that the post decides."""
    if (origin := headers.get("origin")) is None or not origin.isprintable():
        return ()
    return (
        (b"access-control-allow-origin", origin.encode("latin-1")),
        (b"access-control-allow-credentials", b"true"),
        (b"access-control-expose-headers", b"retry-after"),
        (b"vary", b"origin"),
    )
