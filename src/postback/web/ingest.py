"""The dialects' paths: authenticate, parse, judge, commit, answer. The hot way: no framework, one pass.

`take` serves the usual request without waiting for anything but its commit; `post` serves any. A request that writes
nothing (invalid, a dry run, a question) reads the configuration's version once before it answers, so that a revoked key
learns nothing after its revocation was answered.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import NamedTuple
from urllib.parse import parse_qs, unquote

import msgspec
import structlog

from postback import keys
from postback.db import Pool, is_unavailable
from postback.delivery import preview
from postback.delivery.preview import Previewed
from postback.dialects import (
    Accepted,
    DestinationResult,
    Dialect,
    Parsed,
    Result,
    convultra,
    native,
    roasproof,
    segment,
    selektable,
    velaro,
)
from postback.errors import (
    Forbidden,
    Invalid,
    MethodNotAllowed,
    PostbackError,
    Rejected,
    TooLarge,
    TooMany,
    Unauthenticated,
    Unavailable,
)
from postback.event import standard_name
from postback.intake import limits, met
from postback.intake.directory import Directory, Snapshot
from postback.intake.judge import Judge, Pending
from postback.intake.limits import Admission
from postback.intake.writer import Writer
from postback.keys import ApiKey
from postback.pii import Vault
from postback.queue.sending import StoredEvent
from postback.quota import Limit
from postback.web import inside, status, wire
from postback.web.calls import name_caller
from postback.web.wire import Header, Limits, Receive, Scope, Send

log = structlog.get_logger()
# Status, body, headers, and whose call it was; None: that is not counted.
Answering = Callable[[int, bytes, Sequence[Header], ApiKey | None], None]
ROUTES: dict[str, Dialect] = {
    "/v1/events": native.DIALECT,
    "/v1/track": convultra.DIALECT,
    "/v1/track/batch": convultra.BATCH,
    "/api/v1/events": roasproof.DIALECT,
    "/api/webhooks/orders": selektable.DIALECT,
    "/Conversions/record": velaro.DIALECT,
    "/v1/batch": segment.BATCH,
    "/v1/page": segment.PAGE,
    "/v1/screen": segment.SCREEN,
    "/v1/identify": segment.IDENTIFY,
    "/v1/group": segment.GROUP,
    "/v1/alias": segment.ALIAS,
}
# Paths that are taken in any case of their letters, as their world's servers take them.
ANY_CASE = {path.lower(): path for path in ("/Conversions/record",)}
STATUS_PREFIX = "/v1/events/"
_encode = msgspec.json.Encoder().encode


class Judged(NamedTuple):
    """Each event as it waits for its commit, or why it is refused; and those that wait."""

    results: list[Result | Pending]
    pending: list[Pending]


class Ingest:
    """What the ingest routes of one process share."""

    def __init__(
        self,
        pool: Pool,
        directory: Directory,
        judge: Judge,
        writer: Writer,
        vault: Vault,
        environment: str,
        limits: Limits,
    ) -> None:
        self._pool = pool
        self._directory = directory
        self._judge = judge
        self._writer = writer
        self._vault = vault
        self._environment = environment
        self._limits = limits

    async def post(self, dialect: Dialect, scope: Scope, receive: Receive, send: Send) -> int:
        """Serve one request to a dialect's path; gives the status it was answered with."""
        try:
            if scope["method"] != "POST":
                raise MethodNotAllowed("POST")
            if inside.may_differ(dialect):
                dialect, scope, receive = await self._look(dialect, scope, receive)
                inside.require_key(dialect, scope)
            status, body, extra = await self._take(dialect, scope, receive)
        except PostbackError as error:
            answer = dialect.refuse(error)
            unread = receive if isinstance(error, TooLarge) else None
            await wire.answer(send, answer.status, answer.body, wire.extra_headers(error), unread=unread)
            return answer.status
        await wire.answer(send, status, body, extra)
        return status

    async def _look(self, dialect: Dialect, scope: Scope, receive: Receive) -> tuple[Dialect, Scope, Receive]:
        """The dialect that a body is of, and its request with the key in the head."""
        scope, is_basic = inside.with_bearer(scope)
        try:
            return await inside.look(dialect, scope, receive, self._limits, has_basic_auth=is_basic)
        except Rejected:
            if dialect is convultra.DIALECT:
                # The key stands outside the body: a revoked one learns nothing of it.
                headers, now = wire.read_headers(scope["headers"]), self._writer.now()
                snapshot, key = await self._authenticate(scope, headers, scope["query_string"], now, ("ingest",))
                await self._directory.confirm(snapshot, key, now)
            raise

    async def _take(self, dialect: Dialect, scope: Scope, receive: Receive) -> tuple[int, bytes, tuple[Header, ...]]:
        headers = wire.read_headers(scope["headers"])
        query = scope["query_string"]
        now = self._writer.now()
        snapshot, key = await self._authenticate(
            scope, headers, query if dialect.key_in_query else b"", now, ("ingest",)
        )
        try:
            wire.require_json(headers, dialect.content_types)
            body = await wire.read_body(receive, headers, dialect.max_bytes, self._limits)
            parsed = dialect.parse(body, headers)
            is_dry_run = dialect is native.DIALECT and b"dry_run" in query and _flag(query, "dry_run")
        except Rejected:
            await self._directory.confirm(snapshot, key, now)
            raise
        admission = _admission(key, dialect)
        if met.is_asked(parsed.events, key, snapshot):
            await met.tell(self._pool, self._vault.link_key, parsed.events, snapshot)
        results, pending = self._judged(parsed, key, snapshot, now, dialect, admission)
        if len(pending) < len(results) or is_dry_run or self._refusal(admission, now):
            # Nothing is refused, or foretold, but by the configuration in force.
            judged_under, snapshot = snapshot, await self._directory.confirm(snapshot, key, now)
            key = snapshot.keys.get(key.secret_sha256, key)
            if snapshot is not judged_under:
                admission = _admission(key, dialect)
                results, pending = self._judged(parsed, key, snapshot, now, dialect, admission)
            if pending and not is_dry_run and (refusal := self._refusal(admission, now)):
                raise refusal
        if pending and not is_dry_run:
            await self._writer.submit(pending)
        if is_dry_run:
            dry = await self._preview(pending, snapshot, now)
            results = [dry[id(r)] if isinstance(r, Pending) else r for r in results]
        return *_finish(dialect, results, parsed.single), limits.headers(admission, now)

    def take(self, dialect: Dialect, sent_headers: Sequence[Header], body: bytes, answer: Answering) -> bool:
        """Take a usual request, complete and from a known key: nothing of it is waited for but the commit, after which
        `answer` is called. False: it is not one, and nothing has happened."""
        headers = wire.read_headers(sent_headers)
        if len(body) > dialect.max_bytes or "content-encoding" in headers:
            return False
        now = self._writer.now()
        try:
            wire.require_json(headers, dialect.content_types)
            text = key_text(headers, b"")
            known = (
                None if keys.diagnose(text, self._environment) else self._directory.known(keys.fingerprint(text), now)
            )
            if known is None or "ingest" not in known[1].scopes:
                return False
            parsed = dialect.parse(body, headers)
        except Rejected:
            return False
        if met.is_asked(parsed.events, known[1], known[0]):
            return False
        admission = _admission(known[1], dialect)
        results, pending = self._judged(parsed, known[1], known[0], now, dialect, admission)
        if not pending or len(pending) < len(results) or self._refusal(admission, now):
            return False

        def done(error: Exception | None) -> None:
            try:
                if error is not None:
                    raise error
                answer(*_finish(dialect, results, parsed.single), limits.headers(admission, now), known[1])
            except PostbackError as refusal:
                refused = dialect.refuse(refusal)
                answer(refused.status, refused.body, wire.extra_headers(refusal), known[1])
            except Exception:
                answer(500, wire.failed(dialect.name), (), known[1])

        try:
            self._writer.enqueue(pending, done)
        except Unavailable as full:
            done(full)
        return True

    def now(self) -> datetime:
        return self._writer.now()

    def judged(self, parsed: Parsed, key: ApiKey, snapshot: Snapshot, dialect: Dialect) -> Judged:
        """What `/collect` has read, to be submitted."""
        return self._judged(parsed, key, snapshot, self._writer.now(), dialect, None)

    def enqueue(self, pending: Sequence[Pending], done: Callable[[Exception | None], None]) -> None:
        self._writer.enqueue(pending, done)

    async def submit(self, pending: Sequence[Pending]) -> None:
        await self._writer.submit(pending)

    def _judged(
        self,
        parsed: Parsed,
        key: ApiKey,
        snapshot: Snapshot,
        now: datetime,
        dialect: Dialect,
        admission: Admission | None,
    ) -> Judged:
        results: list[Result | Pending] = []
        pending: list[Pending] = []
        judge, names = self._judge, dialect.allowed_names
        for raw in parsed.events:
            if isinstance(raw, PostbackError):
                results.append(raw)
                continue
            try:
                event = judge(raw, key, snapshot, now, names)
                if event.caps and not event.may_be_free and (full := self._writer.exhausted.refusal(event.caps, now)):
                    raise full
                event.admission = admission
            except Rejected as refusal:
                results.append(refusal)
            else:
                pending.append(event)
                results.append(event)
        return Judged(results, pending)

    def _refusal(self, admission: Admission | None, now: datetime) -> TooMany | None:
        return self._writer.exhausted.refusal((admission.limit,), now) if admission is not None else None

    async def _authenticate(
        self, scope: Scope, headers: dict[str, str], query: bytes, now: datetime, scopes: Sequence[str]
    ) -> tuple[Snapshot, ApiKey]:
        text = key_text(headers, query)
        if problem := keys.diagnose(text, self._environment):
            raise problem
        snapshot, key = await self._directory.authenticate(keys.fingerprint(text), now)
        name_caller(scope, key)
        if not any(scope in key.scopes for scope in scopes):
            await self._directory.confirm(snapshot, key, now)
            raise Forbidden(f"This API key has the scope {', '.join(key.scopes)}; use one with {' or '.join(scopes)}.")
        return snapshot, key

    async def _preview(self, pending: Sequence[Pending], snapshot: Snapshot, now: datetime) -> dict[int, Result]:
        """What would be sent, by `id()` of each event."""
        found: dict[int, Result] = {}
        for event in pending:
            unborn = StoredEvent(bytes(16), snapshot.id_bytes, event.body, event.sealed, event.visitor_key)
            lines = [_line(line) for line in preview.show(unborn, snapshot.destinations, self._vault, now)]
            found[id(event)] = Accepted(event.event.event_id, bytes(16), False, lines, event.event.notes)
            await asyncio.sleep(0)  # others' turn: a thousand events take a while
        return found

    async def status(self, scope: Scope, send: Send) -> int:
        """`GET /v1/events/{event_id}`: what became of an event, by the sender's id or the one we answered."""
        try:
            if scope["method"] not in ("GET", "HEAD"):
                raise MethodNotAllowed("GET")
            now = self._writer.now()
            snapshot, key = await self._authenticate(
                scope, wire.read_headers(scope["headers"]), b"", now, ("ingest", "read", "admin")
            )
            snapshot = await self._directory.confirm(snapshot, key, now)
            raw_path: bytes = scope.get("raw_path") or scope["path"].encode()
            sent = unquote(raw_path.partition(b"?")[0].decode("latin-1")[len(STATUS_PREFIX) :])
            name = _first(scope["query_string"], "event")
            key = snapshot.keys.get(key.secret_sha256, key)
            try:
                async with self._pool.connection() as tx:
                    shown = await status.find(tx, snapshot, key, sent, standard_name(name) if name else None)
            except Exception as error:
                if is_unavailable(error):
                    raise Unavailable("The database is away; try again in a second.") from error
                raise
            code, body, extra = 200, _encode(shown), ()
        except PostbackError as error:
            code, body, extra = error.status, wire.plain_error(error), wire.extra_headers(error)
        await wire.answer(send, code, b"" if scope["method"] == "HEAD" else body, extra)
        return code


def _line(line: Previewed) -> DestinationResult:
    destination = line.destination
    return DestinationResult(
        str(destination.id), destination.connector.name, destination.name, line.status, line.reason, line.request
    )


def _finish(dialect: Dialect, results: Sequence[Result | Pending], single: bool) -> tuple[int, bytes]:
    """The answer, once every event has its result. Raises what stands for the request as a whole."""
    settled = [final for r in results if (final := r.result if isinstance(r, Pending) else r) is not None]
    if settled and isinstance(first := settled[0], PostbackError):
        # The key was revoked, or its minute used up, while the events waited.
        if any(all(isinstance(r, whole) for r in settled) for whole in (Unauthenticated, TooMany)):
            raise first
        if single and isinstance(first, Forbidden | Unavailable):
            raise first
    answer = dialect.answer(settled, single)
    return answer.status, answer.body


def _admission(key: ApiKey, dialect: Dialect) -> Admission | None:
    """A request's place in its key's minute; None where there is no limit."""
    limit = key.rate_limit_per_minute
    cap = limit if limit is not None else dialect.rate_per_minute
    return Admission(Limit(key.id.bytes, cap, False)) if cap else None


def key_text(headers: dict[str, str], query: bytes) -> str:
    """The key of a request. Raises Unauthenticated where there is none."""
    kind, _, text = headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer" and text:
        return text
    if text := _first(query, "api_key"):
        return text
    raise Unauthenticated("Missing API key: send Authorization: Bearer YOUR_KEY.")


def _first(query: bytes, name: str) -> str | None:
    if name.encode() not in query:
        return None
    return next(iter(parse_qs(query.decode("latin-1"), keep_blank_values=True).get(name, ())), None)


def _flag(query: bytes, name: str) -> bool:
    """Raises Invalid for what may mean either: a dry run that is taken for none is sent to everybody."""
    match (_first(query, name) or "").lower():
        case "1" | "true" | "yes":
            return True
        case "0" | "false" | "no":
            return False
        case _:
            raise Invalid(f"{name} is 1, true or yes, or 0, false or no.", field=name)
