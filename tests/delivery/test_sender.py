"""The sender against a network that misbehaves."""

import asyncio
import contextlib
import gzip
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from postback.connectors import Request, Response
from postback.delivery.sender import NotSent, Sender, Unanswered, Unsendable
from postback.secret import Secret

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def platform(handler: Handler) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.fixture
async def sender() -> AsyncIterator[Sender]:
    one = Sender(timeout_seconds=0.5, response_bytes_max=2048, allow_private=True)
    yield one
    await one.close()


async def test_a_request_arrives_as_it_was_made_with_secrets_put_in_where_they_belong(sender: Sender) -> None:
    seen: list[tuple[dict[str, str], dict[str, str], bytes]] = []

    async def take(request: web.Request) -> web.StreamResponse:
        seen.append((dict(request.query), {k.lower(): v for k, v in request.headers.items()}, await request.read()))
        return web.json_response({"ok": True}, headers={"X-Trace": "t1"})

    token = Secret('a/b+"c&d')
    async with platform(take) as url:
        request = Request(
            method="POST",
            url=f"{url}/in?key={token}&x=1",
            json={"key": str(token)},
            headers={"authorization": f"B {token}"},
        )
        answer = await sender.send(request, [token])
    assert isinstance(answer, Response)
    assert (answer.status, answer.body) == (200, b'{"ok": true}')
    assert answer.headers["x-trace"] == "t1"
    [(query, headers, body)] = seen
    assert query == {"key": token.reveal(), "x": "1"}
    assert headers["authorization"] == 'B a/b+"c&d'
    assert body == b'{"key":"a/b+\\"c&d"}'
    assert headers["content-type"] == "application/json"
    assert headers["user-agent"].startswith("Postback/")
    assert not headers.keys() & {"accept-encoding", "cookie"}


async def test_a_signed_body_is_sent_to_the_byte(sender: Sender) -> None:
    seen: list[bytes] = []

    async def take(request: web.Request) -> web.StreamResponse:
        seen.append(await request.read())
        return web.Response()

    token = Secret("abc")
    async with platform(take) as url:
        await sender.send(Request(method="POST", url=url, body=f"k={token}".encode()), [token])
    assert seen == [f"k={token}".encode()]


async def test_redirects_are_not_followed_and_cookies_are_not_kept(sender: Sender) -> None:
    seen: list[str] = []

    async def redirect(request: web.Request) -> web.StreamResponse:
        seen.append(request.headers.get("cookie", ""))
        return web.Response(status=302, headers={"Location": "/elsewhere", "Set-Cookie": "a=b"})

    async with platform(redirect) as url:
        for _ in range(2):
            answer = await sender.send(Request(method="POST", url=url, json={}), [])
            assert isinstance(answer, Response)
            assert answer.status == 302
    assert seen == ["", ""]


async def test_no_more_of_an_answer_is_read_than_the_cap(sender: Sender) -> None:
    sent = 0

    async def flood(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(1000):
            await response.write(b"x" * 65_536)
            sent += 65_536
        return response

    async with platform(flood) as url:
        answer = await sender.send(Request(method="POST", url=url, json={}), [])
    assert isinstance(answer, Response)
    assert answer.body == b"x" * 2048
    assert sent < 20_000_000


async def test_a_compressed_answer_is_not_unpacked(sender: Sender) -> None:
    bomb = gzip.compress(b"0" * 1_000_000)

    async def squeeze(_: web.Request) -> web.StreamResponse:
        return web.Response(body=bomb, headers={"Content-Encoding": "gzip"})

    async with platform(squeeze) as url:
        answer = await sender.send(Request(method="POST", url=url, json={}), [])
    assert isinstance(answer, Response)
    assert answer.body == bomb[:2048]


async def test_retry_after_comes_in_seconds_a_day_at_most(sender: Sender) -> None:
    given = {
        "7": (7, 7), "-5": (0, 0), "999999999": (86_400, 86_400), "soon": (None, None),
        format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True): (80, 91),
        format_datetime(datetime.now(UTC) - timedelta(seconds=90), usegmt=True): (0, 0),
        format_datetime(datetime.now(UTC) + timedelta(days=9), usegmt=True): (86_400, 86_400),
    }  # fmt: skip
    told = iter(given)

    async def later(_: web.Request) -> web.StreamResponse:
        return web.Response(status=429, headers={"Retry-After": next(told)})

    async with platform(later) as url:
        for low, high in given.values():
            answer = await sender.send(Request(method="POST", url=url, json={}), [])
            assert isinstance(answer, Response)
            seconds = answer.retry_after_seconds
            assert seconds is None if low is None else low <= (seconds or 0) <= high


async def test_an_answer_that_does_not_come_is_unknown_not_unsent(sender: Sender) -> None:
    async def hang(_: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    async with platform(hang) as url:
        answer = await sender.send(Request(method="POST", url=url, json={}), [])
    assert answer == Unanswered("no answer within 0.5 s")


@pytest.mark.parametrize(("seconds", "kind"), [(0.35, Response), (9, Unanswered)])
async def test_each_request_of_a_kept_connection_has_its_whole_time(sender: Sender, seconds: float, kind: type) -> None:
    waits = iter([0.0, seconds])
    connections: set[object] = set()

    async def wait(request: web.Request) -> web.StreamResponse:
        connections.add(request.transport)
        await asyncio.sleep(next(waits))
        return web.Response()

    async with platform(wait) as url:
        post, loop = Request(method="POST", url=url, json={}), asyncio.get_running_loop()
        assert isinstance(await sender.send(post, []), Response)
        await asyncio.sleep(0.3)
        begin = loop.time()
        assert isinstance(await sender.send(post, []), kind)
        assert min(seconds, 0.5) - 0.05 < loop.time() - begin < 9
    assert len(connections) == 1


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (b"", Unanswered),
        (b"SSH-2.0-OpenSSH_9.9\r\n", Unanswered),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc", Unanswered),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", Unanswered),
        (b"HTTP/1.1 200 OK\r\n" + b"x: " + b"y" * 70_000 + b"\r\n\r\n", Unanswered),
        (b"HTTP/1.1 200 OK\r\n" + b"x: " + b"y" * 1_000_000, Unanswered),
        (b"HTTP/1.1 204 No Content\r\n\r\n", Response),
        (b"HTTP/1.1 200 OK\r\n\r\n{}", Response),
        (b"HTTP/1.0 200 OK\r\n\r\n", Response),
        (b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", Response),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", Response),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 3000\r\n\r\n" + b"x" * 3000, Response),
        (b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n", Unanswered),
    ],
    ids=[
        "nothing",
        "another protocol",
        "cut short",
        "bad chunks",
        "long head",
        "endless head",
        "no content",
        "no length",
        "old",
        "early hints",
        "chunks",
        "more than the cap",
        "upgrade",
    ],
)
async def test_what_is_no_whole_answer_is_unknown(sender: Sender, said: bytes, kind: type) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        answer = await sender.send(Request(method="POST", url=f"http://127.0.0.1:{port}/", json={}), [])
    assert isinstance(answer, kind), answer
    if isinstance(answer, Response) and answer.status == 200:
        assert answer.body in (b"{}", b"", b"x" * 2048)


async def test_connections_are_used_again_and_not_once_they_are_stale(sender: Sender) -> None:
    ports: list[int] = []

    async def take(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        ports.append(request.transport.get_extra_info("peername")[1])
        return web.Response(headers={"connection": "close"} if len(ports) == 3 else None)

    async with platform(take) as url:
        for _ in range(5):
            answer = await sender.send(Request(method="POST", url=url, json={}), [])
            assert isinstance(answer, Response)
    assert len(set(ports[:3])) == 1
    assert len(set(ports[3:])) == 1
    assert ports[2] != ports[3]
    async with platform(take) as other:
        answer = await sender.send(Request(method="POST", url=other, json={}), [])
        assert isinstance(answer, Response)


@pytest.mark.parametrize("more", [b"HTTP/1.1 500 No\r\nx-more: 1\r\ncontent-length: 0\r\n\r\n", b"garbage\r\n"])
async def test_what_follows_an_answer_is_not_taken_for_the_next(sender: Sender, more: bytes) -> None:
    connections = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok" + more)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    for _ in range(3):
        said = await sender.send(Request(method="GET", url=f"http://127.0.0.1:{port}/"), [])
        assert isinstance(said, Response)
        assert (said.status, said.body) == (200, b"ok")
        assert "x-more" not in said.headers
    assert connections == 3
    server.close()


async def test_many_requests_at_once_keep_their_own_answers(sender: Sender) -> None:
    async def echo(request: web.Request) -> web.StreamResponse:
        body = await request.read()
        await asyncio.sleep(len(body) % 7 / 100)
        return web.Response(body=body)

    async with platform(echo) as url:
        requests = [Request(method="POST", url=url, json={"n": n, "pad": "x" * n}) for n in range(60)]
        answers = await asyncio.gather(*(sender.send(request, []) for request in requests))
    assert [answer.json["n"] for answer in answers if isinstance(answer, Response)] == list(range(60))


async def test_what_never_left_may_be_sent_again(sender: Sender) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    answer = await sender.send(Request(method="POST", url=f"http://127.0.0.1:{port}/", json={}), [])
    assert answer == NotSent("the connection was refused")
    answer = await sender.send(Request(method="POST", url="http://no-such-host.invalid/", json={}), [])
    assert answer == NotSent("the host's name was not found")

    async def take(_: web.Request) -> web.StreamResponse:
        return web.Response()

    async with platform(take) as url:
        answer = await sender.send(Request(method="POST", url=url.replace("http:", "https:"), json={}), [])
    assert answer == NotSent("no TLS connection came about")


async def test_a_private_address_is_refused_before_anything_is_sent_whatever_way_it_is_written() -> None:
    async def never(_: web.Request) -> web.StreamResponse:
        raise AssertionError("it arrived")

    guarded = Sender(timeout_seconds=1, response_bytes_max=100, allow_private=False)
    async with platform(never) as url:
        port = url.rsplit(":", 1)[1]
        for address in (
            url, f"https://127.0.0.1:{port}/", "https://localhost.localdomain:22/", "https://2130706433/",
            "https://localhost/", "https://[::ffff:127.0.0.1]/", "https:///nothing"
        ):  # fmt: skip
            answer = await guarded.send(Request(method="POST", url=address, json={}), [])
            assert isinstance(answer, Unsendable), (address, answer)
            assert answer.fix
    await guarded.close()


async def test_the_real_resolver_refuses_names_of_this_machine() -> None:
    guarded = Sender(timeout_seconds=1, response_bytes_max=100, allow_private=False)
    answer = await guarded.send(Request(method="POST", url="https://localhost/", json={}), [])
    assert isinstance(answer, Unsendable)
    assert "resolves to" in answer.reason
    await guarded.close()


@pytest.mark.parametrize("header", ["a\r\nb: c", "a\nb"])
async def test_a_header_that_would_break_the_request_is_not_sent(sender: Sender, header: str) -> None:
    answer = await sender.send(Request(method="POST", url="http://127.0.0.1:9/", json={}, headers={"x": header}), [])
    assert isinstance(answer, Unsendable)


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate for `localhost` that nobody has heard of, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = tmp_path / "cert.pem", tmp_path / "key.pem"
    cert_file.write_bytes(made.public_bytes(Encoding.PEM))
    key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return cert_file, key_file


async def test_certificates_and_names_are_checked(
    certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            while await reader.readuntil(b"\r\n\r\n{}"):
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
        writer.close()

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    unknown = NotSent("the host's certificate is not valid")
    async with server:
        answers: list[object] = []
        for trusts in (False, True):
            if trusts:
                monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
            sender = Sender(timeout_seconds=2, response_bytes_max=100, allow_private=True)
            for host in ("localhost", "127.0.0.1"):
                request = Request(method="POST", url=f"https://{host}:{port}/", json={})
                answers += [await sender.send(request, []) for _ in range(2)]
            await sender.close()
    assert answers[:4] == [unknown] * 4
    assert [isinstance(answer, Response) for answer in answers[4:6]] == [True, True]
    assert answers[6:] == [unknown] * 2  # trusted, but not this name's
