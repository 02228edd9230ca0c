"""The contract documents' own examples, run as they stand: only host, key and made-up ids are substituted.

curl examples go to a shell, script examples to node, in a harness that supplies the names they leave free. What runs in
a browser is not run here. Their folder is POSTBACK_CONTRACT_DOCUMENTS; unset, these cases are not collected.
"""

import re
from pathlib import Path
from typing import Any

import pytest

from postback.dialects.convultra import from_evt_id
from tests.contracts.clients import run_script
from tests.contracts.documents import FOLDER, curls, ours, run, scripts, text_of

CONVULTRA = ("https://your-endpoint.com", "YOUR_SERVER_API_KEY")
ROASPROOF = ("https://app.roasproof.com", "YOUR_API_KEY")
SELEKTABLE = ("https://app.selektable.com", "sel_your_api_key")
VELARO = ("https://api-admin-us-east.velaro.com", "vel_live_YOUR_KEY_HERE")

# What the script examples leave to their surroundings: an Express application, a shop's own functions.
SHOP = """
const handlers = {};
const app = {post: (path, handler) => { handlers[path] = handler; }};
const saveAppointment = async () => ({id: 41});
const sent = (path, body) => handlers[path]({body}, {redirect: () => {}});
const sleep = async () => {};
"""


# How many curl commands and how many posting scripts each document shows; all of them are run, here or where it says.
EXAMPLES = {
    "convultra_server_api.txt": (2, 2),
    "datafly_convert.txt": (1, 0),  # test_datafly.py
    "roasproof_events.txt": (1, 0),  # test_roasproof_destinations.py too
    "selektable_orders.txt": (0, 2),
    "velaro_conversion_goals.txt": (1, 1),
}

if FOLDER:

    def test_the_documents_show_no_example_that_is_not_run() -> None:
        shown = {
            path.name: (len(curls(path.name)), len(re.findall(r"\b(?:fetch|axios\.\w+)\(", text_of(path.name))))
            for path in Path(FOLDER).iterdir()
        }
        assert shown == EXAMPLES

    async def test_convultras_examples_get_the_documented_answers(served: Any) -> None:
        single, batch = curls("convultra_server_api.txt")
        status, answer = await run(single, served, CONVULTRA)
        assert (status, answer["success"]) == (200, True)
        assert re.fullmatch(r"evt_\d{13}_[0-9a-f]{20}", answer["event_id"])
        assert from_evt_id(answer["event_id"])
        status, answer = await run(batch, served, CONVULTRA)
        assert (status, answer["success"]) == (200, True)
        assert [result["success"] for result in answer["results"]] == [True, True]

    async def test_convultras_key_may_stand_in_the_query(served: Any) -> None:
        single, _ = curls("convultra_server_api.txt")
        command = single.replace("/v1/track", "/v1/track?api_key=YOUR_SERVER_API_KEY")
        command = re.sub(r'-H "Authorization: [^"]*" \\\n', "", command)
        status, answer = await run(command, served, CONVULTRA)
        assert (status, answer["success"]) == (200, True)

    async def test_convultras_axios_example_tracks_a_purchase(served: Any) -> None:
        [example] = scripts("convultra_server_api.txt", r"const axios = require[\s\S]*?\(order\) \{")
        order = "{id: 'W-9', total: 12.5, customer: {email: 'a@shop.example', phone: '+12025550143'}}"
        script = f"{ours(example, served, CONVULTRA)}\nawait trackPurchase({order});"
        answers = await run_script(script, CONVULTRA_SERVER_KEY=served.keys.api_key)
        assert [(status, body["success"]) for status, body in answers] == [(200, True)]

    async def test_convultras_session_example_joins_the_session(served: Any) -> None:
        [_, example] = scripts("convultra_server_api.txt", r"await axios\.post\(")
        # `{ ... }` stands for the reader's own; the request is the shop's.
        script = ours(example, served, CONVULTRA).replace("{ ... }", "{}")
        free = (
            f"const axios = require('axios').create({{headers: {{Authorization: 'Bearer {served.keys.api_key}'}}}});\n"
            "axios.interceptors.response.use((answer) => { answers.push([answer.status, answer.data]); return answer; });"
            "const req = {body: {session_id: 'sess_w9'}};\n"
        )
        [(status, answer)] = await run_script(free + script)
        assert (status, answer["success"]) == (200, True)

    async def test_convultras_retry_example_tries_again_on_429_and_5xx_alone(served: Any) -> None:
        [example] = scripts("convultra_server_api.txt", r"async function trackWithRetry\([^)]*\) \{")
        url, key = f"{served.url}/v1/track", served.keys.api_key
        free = f"""
        let failures = [429, 503];
        const track = async (event) => {{
          const status = failures.shift();
          if (status) throw {{response: {{status}}}};
          const headers = {{Authorization: 'Bearer {key}'}};
          return (await require('axios').post('{url}', event, {{headers}})).data;
        }};
        """
        script = (
            f"{SHOP}{free}{example}\n"
            "await trackWithRetry({event_type: 'lead'});\n"
            "let refused; try { await trackWithRetry({}); } catch (error) { refused = error.response.status; }\n"
            "if (refused !== 400 || failures.length) throw new Error('not as documented');"
        )
        answers = await run_script(script)
        assert [status for status, _ in answers] == [200, 400]

    async def test_roasproofs_example_gets_the_documented_answer(served: Any) -> None:
        body = {"name": "Hook", "variant": "default", "config": {"url": "http://127.0.0.1:9/x"}}
        await served.call("POST", "/v1/admin/integration-catalog/webhook/install", body)
        [example] = curls("roasproof_events.txt")
        status, answer = await run(example, served, ROASPROOF)
        assert status == 202
        assert answer["event_id"] == "purchase_10023"
        assert [d["connector"] for d in answer["destinations"]] == ["webhook"]
        assert answer["destinations"][0]["status"] in ("queued", "skipped")
        status, again = await run(example, served, ROASPROOF)
        assert (status, again["duplicate"], again["event_id"]) == (202, True, "purchase_10023")

    async def test_velaros_curl_records_and_its_fetch_after_it_is_a_repeat(served: Any, goal: int) -> None:
        [example] = curls("velaro_conversion_goals.txt")
        assert f'"goalId": {goal},' in example
        status, answer = await run(example, served, VELARO)
        assert (status, answer["success"], answer["duplicate"]) == (200, True, False)
        [script] = scripts("velaro_conversion_goals.txt", r"await fetch\(")
        [(status, again)] = await run_script(ours(script, served, VELARO))
        assert (status, again["success"], again["duplicate"]) == (200, True, True)

    @pytest.mark.parametrize(
        ("path", "body"),
        [
            (
                "/checkout/complete",
                "{order: {id: 'W-9', totalCents: 3000, currency: 'EUR',"
                " items: [{productId: 'lamp', quantity: 2, priceCents: 1500}]}}",
            ),
            ("/appointment/book", "{name: 'Ann Lee', email: 'ann@shop.example', phone: '+12025550143'}"),
        ],
    )
    async def test_selektables_webhook_examples_succeed(served: Any, path: str, body: str) -> None:
        [example] = [one for one in scripts("selektable_orders.txt", r"app\.post\(") if path in one]
        example = example.replace("store_xxx", served.keys.site_key).replace("org_xxx", served.keys.organization_id)
        visit = "{visitorId: 'v-9', sessionId: 's-9'}"
        script = f"{SHOP}{ours(example, served, SELEKTABLE)}\nawait sent('{path}', {{...{visit}, ...{body}}});"
        assert await run_script(script) == [(200, {"success": True})]
