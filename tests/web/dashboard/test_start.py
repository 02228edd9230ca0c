"""The first run, step by step; sites that say whether their tag is installed; goals with the curl that records them."""

import asyncio
import html
import re
import shlex
import subprocess
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from postback import sandbox
from postback.db import buckets, connect
from postback.queue import lists
from postback.reports.keeper import Keeper

ADMIN = "/v1/admin"


def steps(page: Any) -> str:
    """Of each step: done, now, or - for later."""
    found = [held.get("class") or "" for tag, held in page.tags if str(held.get("id", "")).startswith("step-")]
    return " ".join(one or "-" for one in found)


def commands(page: Any, label: str) -> list[str]:
    found = re.findall(r'<pre[^>]* aria-label="([^"]*)">(.*?)</pre>', page.html, re.S)
    return [html.unescape(text) for said, text in found if html.unescape(said) == label]


def polls(page: Any) -> list[str]:
    return [str(held["hx-get"]) for _, held in page.tags if "hx-get" in held]


def sh(command: str) -> str:
    done = subprocess.run(["sh", "-c", command.replace("curl ", "curl -sS ", 1)], capture_output=True, check=True)
    return done.stdout.decode()


async def shell(command: str) -> str:
    return await asyncio.to_thread(sh, command)


async def test_the_first_run_leads_to_a_delivered_event_and_says_at_each_step_how_far_it_came(
    served: Any, owner: Any
) -> None:
    running = await sandbox.start("127.0.0.1", 0)
    assert steps(await owner.get("/app")) == "now - - - - -"
    refused = await owner.submit("/app/start", "/app/start/site", name="Shop", currency="EUR", timezone="Berlin")
    assert (refused.status, [held["name"] for _, held in refused.tags if held.get("aria-invalid")]) == (
        422,
        ["timezone"],
    )
    assert next(form for form in refused.forms if "currency" in form)["name"] == "Shop"
    typed = {"name": "Shop", "currency": "EUR", "timezone": "Europe/Berlin"}
    assert (await owner.submit("/app/start", "/app/start/site", **typed)).status == 303
    assert steps(await owner.get("/app/start")) == "done now - - - -"
    made = await owner.submit("/app/start", "/app/start/key")
    assert steps(made) == "done done now - - -"
    assert polls(made) == ["/app/start?seen=none"]
    assert (await owner.get(polls(made)[0])).status == 204
    [curl] = commands(made, "A curl that sends an event")
    assert '"currency":"EUR"' in curl
    assert '"accepted"' in await shell(curl)
    seen = await owner.get("/app/start")
    assert (steps(seen), polls(seen)) == ("done done done now - -", [])
    hook = await owner.submit(
        "/app/integrations/library/webhook", url=f"{running.url}/webhook/x", secret="whsec_" + "YWFh" * 8
    )
    where = hook.location.partition("?")[0]
    assert steps(await owner.get("/app/start")) == "done done done done now -"
    assert "Delivered" in (await owner.submit(f"{where}/test", event="purchase")).text
    page = await owner.get("/app/start")
    assert steps(page) == "done done done done done now"
    assert "goes nowhere: nothing was installed when it came" in page.text
    key = re.search(r"pb_live_[\w-]{32}", curl)
    assert key is not None
    assert "skipped" in await shell(curl)
    assert (await owner.get(polls(page)[0])).status == 200
    page = await owner.get("/app/start")
    assert re.search(r"Skipped\s+to\s+Webhook:\s+order counted already", page.text)
    assert (await owner.get(polls(page)[0])).status == 204
    [again] = commands(page, "A curl that sends an event")
    assert '"queued"' in await shell(again.replace("YOUR_KEY", key[0]))
    assert re.search(r"Queued\s+to\s+Webhook", (await owner.get(polls(page)[0])).text)
    await running.stop()


async def test_a_try_counts_once_it_was_taken_by_what_is_installed_still(served: Any, owner: Any) -> None:
    running = await sandbox.start("127.0.0.1", 0)
    await served.call("POST", "/v1/events", {"event": "lead"})
    assert "Your first event is here" in (await owner.get("/app/start")).text
    await served.call("POST", "/v1/events", {"event": "lead", "event_id": "2"})
    assert "Your first event is here" not in (await owner.get("/app/start")).text
    where: dict[str, str] = {}
    for name, url, step in (("a", "http://127.0.0.1:9/", "now -"), ("b", f"{running.url}/webhook/x", "done now")):
        typed = {"url": url, "secret": "whsec_" + "YWFh" * 8, "name": name}
        where[name] = (await owner.submit("/app/integrations/library/webhook", **typed)).location.partition("?")[0]
        await owner.submit(f"{where[name]}/test", event="purchase")
        page = await owner.get("/app/start")
        assert steps(page) == f"done done done done {step}"
        assert ("was not taken" in page.text) == (name == "a")
    await owner.submit(f"{where['b']}", do="remove")
    assert steps(await owner.get("/app/start")) == "done done done done now -"
    await running.stop()


async def test_a_site_says_when_its_tag_was_last_seen_and_where(served: Any, owner: Any) -> None:
    where = f"/app/sites/{served.keys.site}"
    waiting = await owner.get(where)
    assert "Not seen" in waiting.text
    [poll] = polls(waiting)
    await served.call("POST", "/v1/events", {"event": "page_view", "url": "https://backend.example/"})
    assert "Not seen" in (await owner.get(poll)).text
    event = {"event": "page_view", "event_id": "t", "url": "https://shop.example/lamp"}
    body = {"site_key": served.keys.site_key, "events": [event]}
    headers = {"Origin": "https://shop.example", "User-Agent": "Mozilla/5.0 Chrome/130.0 Safari/537.36"}
    status, said = await served.call("POST", "/collect", body, headers=headers)
    assert status == 200, said
    seen = await owner.get(poll)
    assert "https://shop.example/lamp" in seen.text
    assert "Installed" in seen.text
    assert polls(seen) == []
    for form in ("The tag's snippet", "The tag without its stub", "The tag, loaded before what follows"):
        [text] = commands(seen, form)
        assert served.keys.site_key in text


async def test_a_goals_curls_record_it_as_they_stand_and_its_conversions_show(served: Any, owner: Any) -> None:
    _, goal = await served.call("POST", f"{ADMIN}/goals", {"name": "Calls", "default_value": 5, "currency": "EUR"})
    where = f"/app/goals/{goal['id']}"
    page = await owner.get(where)
    assert "None. The command above makes one" in page.text
    [native], [velaro] = commands(page, "curl that records it"), commands(page, "Velaro's curl")
    assert shlex.split(velaro)[3] == f"{served.url}/Conversions/record"
    assert '"accepted"' in await shell(native.replace("YOUR_KEY", served.keys.api_key))
    assert '"success":true' in await shell(velaro.replace("YOUR_KEY", served.keys.api_key).replace("-123", "-124"))
    shown = await owner.get(where)
    assert "€99.00" in shown.text
    assert ("ORDER-123" in shown.text, "ORDER-124" in shown.text) == (True, True)


async def test_a_quiet_workspace_beside_a_busy_one_sees_its_own_newest_events_or_the_way_to_the_first(
    served: Any, owner: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, other = await served.call("POST", f"{ADMIN}/workspaces", {"name": "busy"})
    for name, value in (("EXAMINED", 1), ("EXAMINED_MAX", 1), ("LOOKING_SECONDS", 0)):
        monkeypatch.setattr(lists, name, value)

    async def send(number: int, key: str | None = None) -> None:
        assert (await served.call("POST", "/v1/events", {"event": "lead", "event_id": f"e{number}"}, key=key))[0] == 202

    for number in range(2 * len(buckets.BUCKETS)):
        await send(number, other["api_key"])
    assert steps(await owner.get("/app")).split()[2] == "now"
    await send(0)
    tx = await connect(served.dsn)
    await Keeper().round(tx, buckets.BUCKETS, datetime.now(UTC))
    # Three hours ago, before all that the other one sent.
    [[id_]] = await (await tx.execute("SELECT id FROM event ORDER BY id DESC LIMIT 1")).fetchall()
    earlier = UUID(int=id_.int - ((3 * 3_600_000) << 80))
    await tx.execute("UPDATE event SET id = %s WHERE id = %s", [earlier, id_])
    await tx.execute("UPDATE hourly SET hour = hour - interval '3 hours'")
    await tx.close()
    assert f"/app/events/{earlier}" in (await owner.get("/app")).html
    assert steps(await owner.get("/app/start")).split()[2] == "done"
