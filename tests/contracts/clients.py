"""The clients of the contracts' documents: curl, node's own `fetch`, and `axios` from npm."""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg

from tests import npm
from tests.delivery.delivering import until

Client = Callable[[str, Any, Mapping[str, str]], Awaitable[tuple[int, Any]]]
HERE = Path(__file__).parent

# Every answer that a script gets is noted, whatever the script does with it.
HARNESS = """
const answers = [];
const realFetch = globalThis.fetch;
globalThis.fetch = async (...sent) => {
  const answer = await realFetch(...sent);
  answers.push([answer.status, await answer.clone().json()]);
  return answer;
};
const noted = require('axios').interceptors.response;
noted.use(
  (answer) => { answers.push([answer.status, answer.data]); return answer; },
  (error) => { if (error.response) answers.push([error.response.status, error.response.data]); throw error; },
);
(async () => {
%s
})().then(
  () => { console.log(JSON.stringify(answers)); process.exit(0); },
  (error) => { console.error(error); process.exit(1); },
);
"""


async def curl(url: str, body: Any, headers: Mapping[str, str]) -> tuple[int, Any]:
    given = [part for name, value in headers.items() for part in ("-H", f"{name}: {value}")]
    return await run_curl("-X", "POST", url, "-H", "Content-Type: application/json", *given, "-d", json.dumps(body))


async def run_curl(*arguments: str) -> tuple[int, Any]:
    process = await asyncio.create_subprocess_exec(
        "curl", "-sS", "-w", "\n%{http_code}", *arguments, stdout=asyncio.subprocess.PIPE
    )
    return read_curl((await process.communicate())[0])


def read_curl(out: bytes) -> tuple[int, Any]:
    """Status and JSON of what curl wrote with `-w '\\n%{http_code}'`."""
    body, _, status = out.decode().rpartition("\n")
    return int(status), json.loads(body)


async def fetch(url: str, body: Any, headers: Mapping[str, str]) -> tuple[int, Any]:
    sent = {"method": "POST", "headers": {"Content-Type": "application/json", **headers}, "body": json.dumps(body)}
    [answer] = await run_script(f"await fetch({json.dumps(url)}, {json.dumps(sent)});")
    return answer


async def axios(url: str, body: Any, headers: Mapping[str, str]) -> tuple[int, Any]:
    call = f"require('axios').post({json.dumps(url)}, {json.dumps(body)}, {json.dumps({'headers': dict(headers)})})"
    [answer] = await run_script(f"await {call}.catch((error) => {{ if (!error.response) throw error; }});")
    return answer


CLIENTS: list[Client] = [curl, fetch, axios]


async def run_script(script: str, **environment: str) -> list[tuple[int, Any]]:
    """Run a script of node's and give status and JSON of each answer that it got, in order."""
    await asyncio.to_thread(npm.install, HERE)
    process = await asyncio.create_subprocess_exec(
        npm.NODE, "-", cwd=HERE, env=os.environ | environment, stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate((HARNESS % script).encode())
    assert process.returncode == 0, err.decode()
    return [(status, body) for status, body in json.loads(out)]


async def newest(served: Any) -> dict[str, Any]:
    """The event that came last, as the admin API shows it."""
    _, listed = await served.call("GET", "/v1/admin/events?limit=1")
    status, event = await served.call("GET", f"/v1/admin/events/{listed['items'][0]['id']}")
    assert status == 200, event
    return event


async def logged(served: Any, event_id: str, connector: str = "") -> dict[str, Any]:
    """The delivery log of an event of the sender's: one delivery with its attempts."""
    _, listed = await served.call("GET", f"/v1/admin/events?event_id={quote(event_id, safe='')}")
    [event] = listed["items"]
    _, event = await served.call("GET", f"/v1/admin/events/{event['id']}")
    [delivery] = [one for one in event["deliveries"] if one["connector"].startswith(connector)]
    status, delivery = await served.call("GET", f"/v1/admin/deliveries/{delivery['id']}")
    assert status == 200, delivery
    return delivery


async def all_settle_as(served: Any, *statuses: str) -> None:
    """Wait until each delivery that there is stands so; in any order."""

    async def so() -> bool:
        _, listed = await served.call("GET", "/v1/admin/deliveries?limit=200")
        return sorted(one["status"] for one in listed["items"]) == sorted(statuses)

    await until(so)


async def made(served: Any, path: str, body: object) -> Any:
    """What a POST to the admin API made."""
    status, answer = await served.call("POST", f"/v1/admin/{path}", body)
    assert status == 201, answer
    return answer


async def cap(served: Any, monthly_cap: int, **more: object) -> None:
    """Give the workspace a plan."""
    plan = await made(served, "plans", {"name": f"{monthly_cap} {more}", "monthly_cap": monthly_cap} | more)
    path = f"/v1/admin/workspaces/{served.keys.workspace}"
    assert (await served.call("PATCH", path, {"plan": plan["id"]}))[0] == 200


async def sold(served: Any) -> list[tuple[Any, ...]]:
    """Goal, value and currency of every conversion, oldest first."""
    async with await psycopg.AsyncConnection.connect(served.dsn.reveal()) as conn:
        return await (await conn.execute("SELECT goal_id, value, currency FROM conversion ORDER BY id")).fetchall()
