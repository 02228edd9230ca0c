"""The dashboard beside stored events: how long the server takes for each page, and what the first view weighs.

Pages are found as people find them, by links from the first one; of those that differ in an id alone, one; the first
one with each of its periods. It shows sums of as many events (`bench/rollups.py`), or nothing is measured. A time is
from the request to the last byte of the answer, packed as browsers have it, over a connection that is kept, one request
after the other.
"""

import re
import time
from datetime import UTC, datetime, timedelta
from html import unescape
from statistics import quantiles

import aiohttp

from bench import database, rollups
from bench.plan import Plan
from bench.process import BenchError, progress
from bench.report import Report
from bench.serve import Deployment
from postback.db.embedded import Embedded
from postback.web.dashboard.overview import PERIODS

MOST_MS, MOST_KB = 100, 150
_WORDS = {"new", "library", "webhook"}
_LINK = re.compile(rb'href="(/app[^"#]*)"')
_LOADED = re.compile(rb'(?:<link rel="(?:icon|stylesheet)" href|<script src|<img src)="(/app/static/[^"]+)"')
# Of the one that was posted, at other times.
CONVERSIONS = (
    "INSERT INTO conversion (bucket, id, workspace_id, site_id, goal_id, event_id, value, currency, occurred_at) "
    "SELECT e.bucket, e.id, c.workspace_id, c.site_id, c.goal_id, e.id, c.value, c.currency, "
    "c.occurred_at - n * interval '21 days' / {number} "
    "FROM (SELECT bucket, id, row_number() OVER () AS n FROM event WHERE event_id LIKE 'stored-%' "
    "AND right(event_id, 2) IN ('00', '20', '40', '60', '80')) e "
    "CROSS JOIN (SELECT * FROM conversion ORDER BY id DESC LIMIT 1) c ON CONFLICT DO NOTHING"
)


async def measure(report: Report, plan: Plan, server: Embedded, deployment: Deployment, port: int, number: int) -> None:
    """The deployment holds `number` events, which were copied from one that was posted."""
    await database.execute(
        server, deployment.database, CONVERSIONS.format(number=number), "ANALYZE conversion", "CHECKPOINT"
    )
    url = f"http://127.0.0.1:{port}"
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(url, cookie_jar=jar, headers={"Accept-Encoding": "gzip"}) as http:
        form = {"email": deployment.keys["owner_email"], "password": deployment.keys["owner_password"]}
        async with http.post("/app/sign-in", data=form, allow_redirects=False) as answer:
            if answer.status != 303:
                raise BenchError(f"Signing in was answered {answer.status}.")
        weight = await _weight(http)
        row = report.add("dashboard: first view, packed", "the page and all it loads", f"{weight:.0f} KB")
        row.at_most(weight, MOST_KB, "KB")
        slowest = 0.0
        # Once the pages are found: those of goals and sites are the same, whichever.
        pages = await _pages(http)
        await _with_sums(http, deployment, port, number)
        for page, path in (pages | _periods()).items():
            times = [await _took(http, path) for _ in range(plan.page_views)][1:]
            cuts = quantiles(times, n=20)
            slowest = max(slowest, cuts[18])
            report.add(f"dashboard, {number:,} stored", page, f"p50 {cuts[9]:.0f} ms, p95 {cuts[18]:.0f} ms")
        row = report.add(f"dashboard, {number:,} stored", "the slowest page", f"p95 {slowest:.0f} ms")
        row.at_most(slowest, MOST_MS, "ms")
        progress(f"dashboard with {number:,} events: the slowest page takes {slowest:.0f} ms, at p95")


async def _with_sums(http: aiohttp.ClientSession, deployment: Deployment, port: int, number: int) -> None:
    """Fill the sums. Raises BenchError where the first page shows others."""
    progress("filling the sums that reports read")
    a_day = await rollups.fill(deployment, port, number)
    last = datetime.now(UTC).date() - timedelta(days=1)
    text = await _page(http, f"/app?from={last - timedelta(days=6)}&to={last}")
    if f'<p class="value">{7 * a_day:,}</p>'.encode() not in text:
        raise BenchError(f"Overview does not show {7 * a_day:,} conversions in seven days.")


def _periods() -> dict[str, str]:
    today = datetime.now(UTC).date()
    longest = f"{today - timedelta(days=6)}T00:00:00Z"
    pages = {f"/app, {name}": f"/app?period={key}" for key, name in PERIODS.items()}
    pages["/app, two days by the hour"] = f"/app?from={today - timedelta(days=1)}"
    return pages | {"its report of a week by the hour": f"/v1/admin/reports/overview?group_by=hour&from={longest}"}


async def _weight(http: aiohttp.ClientSession) -> float:
    """KB of bodies that a browser has to fetch for the first page, nothing being cached."""
    bodies = [await _body(http, "/app")]
    for address in {found.decode() for found in _LOADED.findall(await _page(http, "/app"))}:
        bodies.append(await _body(http, address))
    return sum(bodies) / 1000


async def _body(http: aiohttp.ClientSession, path: str) -> int:
    async with http.get(path) as answer:
        await answer.read()
        return int(answer.headers["Content-Length"])


async def _page(http: aiohttp.ClientSession, path: str, missing: bytes | None = None) -> bytes:
    """`missing`: in place of one that is not there, such as the order of an event that was copied."""
    async with http.get(path) as answer:
        text = await answer.read()
        if answer.status == 404 and missing is not None:
            return missing
        if answer.status != 200:
            raise BenchError(f"{path} was answered {answer.status}.")
        return text


async def _pages(http: aiohttp.ClientSession) -> dict[str, str]:
    """An address of each page by its form, `/app/events/{id}`."""
    found: dict[str, str] = {}
    waiting = ["/app"]
    while waiting:
        path = waiting.pop(0)
        if (form := _form(path)) in found or not (text := await _page(http, path, missing=b"")):
            continue
        found[form] = path
        waiting += [unescape(link.decode()) for link in _LINK.findall(text) if b"/static/" not in link]
    return dict(sorted(found.items()))


def _form(path: str) -> str:
    parts = path.partition("?")[0].split("/")
    return "/".join(part if at < 3 or part in _WORDS or part.isalpha() else "{id}" for at, part in enumerate(parts))


async def _took(http: aiohttp.ClientSession, path: str) -> float:
    """Milliseconds."""
    begin = time.perf_counter()
    await _page(http, path)
    return (time.perf_counter() - begin) * 1000
