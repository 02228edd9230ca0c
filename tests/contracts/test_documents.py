"""The contract documents' own curl examples, run as they stand: only host and key are substituted.

Their folder is POSTBACK_CONTRACT_DOCUMENTS; where it is not set, these cases are not collected.
"""

import asyncio
import json
import os
import re
from pathlib import Path
from typing import Any

from postback.dialects.convultra import from_evt_id

FOLDER = os.environ.get("POSTBACK_CONTRACT_DOCUMENTS")


def curls(document: str) -> list[str]:
    return re.findall(r"curl -X POST[\s\S]*?\}'", (Path(str(FOLDER)) / document).read_text())


async def run(command: str, served: Any, host: str, key: str) -> tuple[int, Any]:
    command = command.replace(host, served.url).replace(key, served.keys.api_key)
    process = await asyncio.create_subprocess_shell(
        command.replace("curl ", "curl -sS -w '\\n%{http_code}' ", 1), stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    body, _, status = out.decode().rpartition("\n")
    return int(status), json.loads(body)


if FOLDER:

    async def test_convultras_examples_get_the_documented_answers(served: Any) -> None:
        single, batch = curls("convultra_server_api.txt")
        status, answer = await run(single, served, "https://your-endpoint.com", "YOUR_SERVER_API_KEY")
        assert (status, answer["success"]) == (200, True)
        assert re.fullmatch(r"evt_\d{13}_[0-9a-f]{20}", answer["event_id"])
        assert from_evt_id(answer["event_id"])
        status, answer = await run(batch, served, "https://your-endpoint.com", "YOUR_SERVER_API_KEY")
        assert (status, answer["success"]) == (200, True)
        assert [result["success"] for result in answer["results"]] == [True, True]

    async def test_convultras_key_may_stand_in_the_query(served: Any) -> None:
        single, _ = curls("convultra_server_api.txt")
        command = single.replace("/v1/track", "/v1/track?api_key=YOUR_SERVER_API_KEY")
        command = re.sub(r'-H "Authorization: [^"]*" \\\n', "", command)
        status, answer = await run(command, served, "https://your-endpoint.com", "YOUR_SERVER_API_KEY")
        assert (status, answer["success"]) == (200, True)

    async def test_roasproofs_example_gets_the_documented_answer(served: Any) -> None:
        body = {"name": "Hook", "variant": "default", "config": {"url": "http://127.0.0.1:9/x"}}
        await served.call("POST", "/v1/admin/integration-catalog/webhook/install", body)
        [example] = curls("roasproof_events.txt")
        status, answer = await run(example, served, "https://app.roasproof.com", "YOUR_API_KEY")
        assert status == 202
        assert answer["event_id"] == "purchase_10023"
        assert [d["connector"] for d in answer["destinations"]] == ["webhook"]
        assert answer["destinations"][0]["status"] in ("queued", "skipped")
        status, again = await run(example, served, "https://app.roasproof.com", "YOUR_API_KEY")
        assert (status, again["duplicate"], again["event_id"]) == (202, True, "purchase_10023")
