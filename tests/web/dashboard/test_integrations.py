"""Integrations, by a browser without JavaScript: installed, tried, mapped, replayed, backfilled, stopped, removed."""

import html
import re
from typing import Any

import psycopg
import pytest

from postback import sandbox
from postback.connectors import catalog
from postback.web.dashboard import lines

ADMIN = "/v1/admin"


@pytest.fixture
async def stand_ins(served: Any) -> Any:
    running = await sandbox.start("127.0.0.1", 0)
    yield running.url
    await running.stop()


async def install(owner: Any, connector: str, **typed: str) -> str:
    made = await owner.submit(f"/app/integrations/library/{connector}", **typed)
    assert made.status in (200, 303), made.text[-400:]
    there = made.location or next(link for link in made.links if re.search("integrations/[0-9a-f-]{36}$", link))
    return there.partition("?")[0]


def wrong(page: Any) -> list[str]:
    return [str(held["name"]) for _, held in page.tags if held.get("aria-invalid") == "true"]


async def test_a_second_one_of_a_name_is_refused_at_the_field_and_what_was_typed_stays(owner: Any) -> None:
    await install(owner, "webhook", url="https://hooks.example.com/1", name="Orders")
    refused = await owner.submit("/app/integrations/library/webhook", url="https://hooks.example.com/2", name="orders")
    assert (refused.status, wrong(refused)) == (409, ["name"])
    form = next(form for form in refused.forms if "url" in form)
    assert form["url"] == "https://hooks.example.com/2"


async def test_a_credential_is_checked_and_a_test_event_shows_request_and_answer(owner: Any, stand_ins: str) -> None:
    meta = {"dataset_id": "1234567890", "access_token": "EAAsecret", "endpoint": f"{stand_ins}/meta"}
    where = await install(owner, "meta", **meta)
    assert "took the credential" in (await owner.submit(where, do="probe")).text
    sent = await owner.submit(f"{where}/test", event="lead")
    assert sent.status == 200
    assert "events_received" in sent.text
    assert "/1234567890/events" in sent.text
    assert "EAAsecret" not in sent.html
    async with owner.http.put(f"{stand_ins}/_sandbox/faults", json={"platform": "meta", "mode": "auth"}) as answer:
        assert answer.status == 200
    refused = await owner.submit(where, do="probe")
    assert "did not take it" in refused.text
    assert "token" in refused.text


async def test_a_blueprint_is_previewed_on_real_events_saved_compared_and_rolled_back(served: Any, owner: Any) -> None:
    where = f"{await install(owner, 'webhook', url='https://hooks.example.com/')}/blueprint"
    for name in ("purchase", "lead"):
        await served.call(
            "POST", "/v1/events", {"event": name, "value": 20, "currency": "EUR", "event_id": f"my-{name}"}
        )
    page = await owner.get(where)
    form = next(form for form in page.forms if "blueprint" in form)
    assert '"event": "*"' in form["blueprint"]
    draft = '{"rules": [{"event": "purchase", "value": {"kind": "times", "factor": 0.5}}]}'
    shown = await owner.submit(where, do="preview", blueprint=draft)
    assert "2 of the newest 2 events would be treated in another way" in shown.text
    assert '"value": "20.00"' in shown.text
    assert '"value": "10.00"' in shown.text
    assert "no rule for lead" in shown.text
    assert next(form for form in shown.forms if "blueprint" in form)["blueprint"] == draft
    one = await owner.submit(where, do="preview", blueprint=draft, event="lead")
    assert "1 of the newest 1 event would" in one.text
    saved = {"csrf": page.csrf, "do": "save", "blueprint": draft, "etag": form["etag"]}
    assert (await owner.post(where, saved)).status == 303
    assert (await owner.post(where, saved)).status == 412
    page = await owner.get(where)
    assert "Version 1" in page.text
    assert "account owner@postback.local" in page.text
    compared = await owner.get(f"{where}?before=0&after=1")
    gone, new = ("".join(re.findall(f"<{tag}>(.*?)</{tag}>", compared.html)) for tag in ("del", "ins"))
    assert "&#34;*&#34;" in gone
    assert "0.5" in new
    assert (await owner.submit(where, do="rollback", version="0")).status == 303
    page = await owner.get(where)
    assert "Version 2" in page.text
    assert '"event": "*"' in next(form for form in page.forms if "blueprint" in form)["blueprint"]


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ('{"rules": [\n  {"event": "lead"},\n  {"event" "purchase"}\n]}', 3, "no JSON"),
        ('{"rules": [\n  {"event": "lead"},\n  {"event": "purchase", "filter": "valu > 1.0"}\n]}', 3, "did you mean value"),
        ('{"rules": [\n  {"event": "lead"},\n  {\n   "evnt": "purchase"}\n]}', 4, "evnt"),
        ('{"rules": [\n  {"event": "lead",\n   "value": {"kind": "times",\n    "factor": 5000}}\n]}', 4, "at most 1000"),
        ('{\n  "rule": []}', 2, "rule"),
        ("", 1, "no JSON"),
    ],
)  # fmt: skip
async def test_a_mistake_in_a_blueprint_is_said_with_its_line(owner: Any, text: str, line: int, said: str) -> None:
    where = f"{await install(owner, 'webhook', url='https://hooks.example.com/')}/blueprint"
    for do in ("preview", "save"):
        page = await owner.submit(where, do=do, blueprint=text)
        assert (page.status, wrong(page)) in ((422, ["blueprint"]), (400, ["blueprint"]))
        assert f"Line {line}: " in page.text
        assert said in page.text


def test_a_path_that_leads_nowhere_is_at_what_is_around_it() -> None:
    text = '{"a": [\n1,\n{"b": {\n"c": 2}}]}'
    for path, line in (("a[1].b.c", 4), ("a[1].b.x", 3), ("a[7]", 1), ("x", 1), ("a[1].b[2]", 3), ("a.b", 1)):
        assert lines.of_path(text, path) == line, path
    assert lines.of_path("[1", "[3]") == 1


async def test_what_failed_is_counted_replayed_watched_and_stopped(served: Any, owner: Any) -> None:
    where = await install(owner, "webhook", url="http://127.0.0.1:9/x")
    for number in range(3):
        await served.call("POST", "/v1/events", {"event": "lead", "event_id": f"e{number}"})
    with psycopg.connect(served.dsn.reveal()) as connection:
        connection.execute(
            "UPDATE delivery SET status = 'failed', settled_at = now(),"
            " reason = 'answered 400: ' || CASE WHEN event_id = (SELECT min(event_id::text)::uuid FROM delivery)"
            " THEN 'no email' ELSE 'no phone' END"
        )
    log = await owner.get(f"{where}?status=failed&reason=answered+400:+no+e")
    assert len([link for link in log.links if link.startswith("/app/deliveries/")]) == 1
    counted = await owner.submit(f"{where}/replay", do="count", status="failed", reason="answered 400: no p")
    assert "2 deliveries would be sent again" in counted.text
    form = next(form for form in counted.forms if "reason" in form)
    assert (form["status"], form["reason"]) == ("failed", "answered 400: no p")
    assert '"reason":"answered 400: no p"' in html.unescape(counted.html)
    assert (await served.call("GET", f"{ADMIN}/replays"))[1]["items"] == []
    begun = await owner.submit(f"{where}/replay", do="begin", status="failed", reason="answered 400: no p")
    assert begun.status == 303
    job = await owner.get(begun.location)
    assert "0 of 2 queued" in re.sub(r"\s+", " ", job.text)
    assert [held for _, held in job.tags if held.get("hx-trigger") == "every 2s"]
    assert (await owner.submit(begun.location, do="stop")).status == 303
    stopped = await owner.get(begun.location)
    assert "Stopped" in stopped.text
    assert not [held for _, held in stopped.tags if "hx-trigger" in held]
    assert (await owner.submit(begun.location, do="go")).status == 303
    assert "Under way" in (await owner.get(begun.location)).text
    refused = await owner.submit(f"{where}/replay", do="count", status="failed", **{"from": "yesterday"})
    assert (refused.status, wrong(refused)) == (422, ["from"])


async def test_past_events_are_counted_and_given_by_a_backfill(served: Any, owner: Any) -> None:
    for name in ("lead", "purchase", "purchase"):
        await served.call("POST", "/v1/events", {"event": name, "value": 5, "currency": "EUR"})
    where = await install(owner, "webhook", url="http://127.0.0.1:9/x")
    assert "2 deliveries would be made" in (await owner.submit(f"{where}/backfill", do="count", name="purchase")).text
    begun = await owner.submit(f"{where}/backfill", do="begin", name="purchase")
    assert "Backfill of Webhook" in (await owner.get(begun.location)).text


async def test_before_it_is_removed_what_would_be_lost_is_said(served: Any, owner: Any) -> None:
    where = await install(owner, "webhook", url="http://127.0.0.1:9/x")
    await served.call("POST", "/v1/events", {"event": "lead"})
    assert "1 delivery waits for it" in (await owner.get(f"{where}/settings")).text


async def test_the_library_says_what_each_is_and_what_it_takes_by_our_names(owner: Any) -> None:
    cards = await owner.get("/app/integrations/library")
    for connector in catalog().values():
        assert connector.about in cards.text
        page = await owner.get(f"/app/integrations/library/{connector.name}")
        chips = [text.partition(" ")[0] for text in re.findall(r'<li class="tag">(.*?)</li>', page.html)]
        assert {"purchase", "lead"} <= set(chips), connector.name
        assert "*" not in chips
        assert ("any other event" in page.text) == any(rule.event == "*" for rule in connector.default_blueprint.rules)


async def test_a_check_says_why_its_refusal_is_well_and_what_to_do_where_nothing_answers(
    owner: Any, stand_ins: str
) -> None:
    meta = {"dataset_id": "1234567890", "access_token": "EAAsecret", "endpoint": f"{stand_ins}/meta"}
    checked = await owner.submit(await install(owner, "meta", **meta), do="probe")
    assert "HTTP 400 is as it should be" in checked.text
    away = await install(owner, "webhook", url="http://127.0.0.1:9/x")
    assert "Check the address" in (await owner.submit(f"{away}/test", event="purchase")).text


async def test_from_failed_deliveries_it_is_one_step_to_their_replay_and_from_a_held_one_to_its_credential(
    served: Any, owner: Any
) -> None:
    where = await install(owner, "webhook", url="http://127.0.0.1:9/x")
    await served.call("POST", "/v1/events", {"event": "lead"})
    with psycopg.connect(served.dsn.reveal()) as connection:
        connection.execute("UPDATE delivery SET status = 'failed', settled_at = now(), reason = 'answered 400'")
        connection.execute("UPDATE lane SET state = 'held', reason = 'token expired'")
    page = await owner.get("/app/deliveries?status=failed&reason=answered")
    [link] = [link for link in page.links if "/replay" in link]
    assert link == f"{where}/replay?status=failed&reason=answered"
    form = next(form for form in (await owner.get(link)).forms if "reason" in form)
    assert (form["status"], form["reason"]) == ("failed", "answered")
    assert f"{where}/settings" in (await owner.get("/app")).links
    assert not [link for link in (await owner.get("/app/deliveries")).links if "/replay" in link]
    removal = next(link for link in (await owner.get(where)).links if link.endswith("#remove"))
    opened = [held for _, held in (await owner.get(removal)).tags if held.get("id") == "remove"]
    assert "open" in opened[0]
