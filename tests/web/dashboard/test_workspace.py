"""Pages of the workspace: privacy, settings, usage, plans."""

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from postback.db import Tx
from postback.installation import open_vault
from postback.privacy import erasing

ADMIN = "/v1/admin"
JANE = {"kind": "email", "value": "jane@secret.example"}


async def test_a_person_is_erased_after_saying_what_that_means_and_there_is_a_receipt(
    served: Any, owner: Any, tx: Tx
) -> None:
    event = {"event": "purchase", "visitor_id": "v1", "user_data": {"email": JANE["value"]}}
    assert (await served.call("POST", "/v1/events", event))[0] == 202
    asked = await owner.submit("/app/privacy", **JANE, do="ask_erase")
    assert (asked.status, re.search(r"Visitors\s*1\s*Events\s*1\b", asked.text) is not None) == (200, True)
    assert (await served.call("GET", f"{ADMIN}/privacy/erasures"))[1]["items"] == []
    typed = next(form for form in asked.forms if form.get("value"))
    done = await owner.post("/app/privacy", {"csrf": typed["csrf"], **JANE, "do": "erase"})
    assert (done.status, "jane" in done.location) == (303, False)
    where = done.location.partition("?")[0]
    assert "Round 1" in (await owner.get(where)).text
    vault = await open_vault(tx, served.settings)
    tools = erasing.Tools(vault.sealer, vault.link_key, timedelta(0))
    while await erasing.step(tx, UUID(where.rpartition("/")[2]), tools, datetime.now(UTC)):
        pass
    assert "jane" not in (await owner.get(where)).text
    receipt = await owner.get(f"{where}?receipt=1")
    assert receipt.headers["Content-Disposition"].startswith("attachment; ")
    assert set(json.loads(receipt.html)) == {"text", "signature", "public_key"}
    assert "Done" in (await owner.get("/app/privacy")).text


async def test_a_person_is_given_out_as_a_file(served: Any, owner: Any) -> None:
    event = {"event": "lead", "event_id": "e1", "user_data": {"email": JANE["value"]}}
    assert (await served.call("POST", "/v1/events", event))[0] == 202
    file = await owner.submit("/app/privacy", **JANE, do="export")
    assert file.headers["Content-Disposition"] == 'attachment; filename="export.json"'
    assert [one["event"]["event_id"] for one in json.loads(file.html)["events"]] == ["e1"]


async def test_whom_no_event_could_name_is_said_beside_what_was_typed(owner: Any) -> None:
    for kind, value in (("email", "no address"), ("email", ""), ("name", "Jane")):
        page = await owner.submit("/app/privacy", kind=kind, value=value, do="ask_erase")
        assert page.status == 422
        assert [form["value"] for form in page.forms if "value" in form] == [value]
        wrong = [held["name"] for _, held in page.tags if held.get("aria-invalid") == "true"]
        assert wrong == ["kind" if kind == "name" else "value"]


async def test_an_admin_sees_how_long_things_are_kept_and_erases_nobody(invited: Any) -> None:
    admin = await invited("admin")
    page = await admin.get("/app/privacy")
    assert ("400 days" in page.text, "an owner's" in page.text) == (True, True)
    for do in ("ask_erase", "erase", "export"):
        assert (await admin.submit("/app/account", "/app/privacy", **JANE, do=do)).status == 403


async def test_the_workspace_is_named_and_what_the_environment_sets_is_shown_with_its_variable(
    served: Any, owner: Any, invited: Any
) -> None:
    page = await owner.get("/app/settings")
    for shown in ("POSTBACK_RETENTION_DAYS", "POSTBACK_TRUSTED_PROXIES", "fsync is off", "it opens this database"):
        assert shown in page.text
    assert served.settings.seal_keys.reveal() not in page.html
    form = next(form for form in page.forms if "etag" in form)
    sent = {name: form[name] for name in ("csrf", "etag")} | {"name": "Acme"}
    assert (await owner.post("/app/settings", sent)).status == 303
    assert (await owner.post("/app/settings", sent)).status == 412
    assert (await owner.submit("/app/settings", name="")).status == 422
    assert "Acme" in (await owner.get("/app")).text
    reader = await invited("read_only")
    page = await reader.get("/app/settings")
    assert ("Acme" in page.text, "POSTBACK_" in page.text) == (True, False)
    assert (await reader.submit("/app/account", "/app/settings", name="x")).status == 403


async def test_how_the_installation_is_set_is_for_who_runs_it_and_not_for_another_workspaces_owner(
    served: Any, owner: Any, invited: Any
) -> None:
    _, other = await served.call("POST", f"{ADMIN}/workspaces", {"name": "Tenant"})
    admin, theirs = await invited("admin"), await invited("owner", key=other["admin_key"])
    for browser, is_shown in ((owner, True), (admin, False), (theirs, False)):
        page = await browser.get("/app/settings")
        assert ("POSTBACK_RETENTION" in page.text, "it opens this database" in page.text) == (is_shown, is_shown)
        assert any("etag" in form for form in page.forms)
    _, reader = await served.call("POST", f"{ADMIN}/keys", {"label": "a", "scopes": ["admin"]})
    for key, status in ((served.keys.admin_key, 200), (reader["key"], 403), (other["admin_key"], 403)):
        for path in ("settings", "checks"):
            assert (await served.call("GET", f"{ADMIN}/{path}", key=key))[0] == status, path


async def test_usage_warns_at_80_percent_and_says_when_the_plan_is_used_up(served: Any, owner: Any) -> None:
    _, plan = await served.call("POST", f"{ADMIN}/plans", {"name": "Small", "monthly_cap": 5, "overage": False})
    assert "no plan caps" in (await owner.get("/app/usage")).text
    await served.call("PATCH", f"{ADMIN}/workspaces/{served.keys.workspace}", {"plan": plan["id"]})
    for count, said in ((3, None), (1, "80 % of the plan is used"), (1, "The plan is used up")):
        events = [{"event": "purchase", "value": 1, "currency": "EUR"}] * count
        assert (await served.call("POST", "/v1/events", {"events": events}))[0] == 202
        page = await owner.get("/app/usage")
        warnings = [one for one in ("80 % of the plan is used", "The plan is used up") if one in page.text]
        assert warnings == ([said] if said else [])
    plans = await owner.get("/app/plans")
    assert re.search(r"Small\s*5\s*refused with 429\s*This workspace", plans.text)


async def test_the_audit_log_says_of_what_each_change_was(served: Any, owner: Any) -> None:
    assert "Nothing was changed yet" in (await owner.get("/app/audit")).text
    where = (await owner.submit("/app/integrations/library/webhook", url="https://a.example/", name="Hook")).links
    hook = next(link for link in where if re.search("integrations/[0-9a-f-]{36}$", link))
    paused = await owner.get((await owner.submit(hook, do="pause")).location)
    assert ("Paused. What comes in waits" in paused.text, "Paused: nothing waits yet" in paused.text) == (True, True)
    await served.call("POST", "/v1/events", {"event": "lead"})
    assert "Paused: 1 waits" in (await owner.get(hook)).text
    assert "Resumed. What waited" in (await owner.get((await owner.submit(hook, do="resume")).location)).text
    await owner.submit(f"{hook}/test", event="purchase")
    await owner.submit("/app/keys/new", label="Checkout", scopes="ingest")
    await owner.submit("/app/members", email="ada@example.com", role="analyst")
    await owner.submit("/app/privacy", kind="visitor_id", value="v1", do="export")
    await owner.submit("/app/privacy", kind="visitor_id", value="v1", do="erase")
    said = re.sub(r"\s+", " ", (await owner.get("/app/audit")).text)
    for one in (
        "Created integration Hook", "Paused integration Hook", "Tested integration Hook", "Created API key Checkout",
        "Created member ada@example.com", "Exported a person's data by visitor id", "Asked to erase a person by visitor id",
    ):  # fmt: skip
        assert one in said
    assert "Nothing of this kind was changed yet" in (await owner.get("/app/audit?noun=plan")).text


async def test_whom_one_invites_may_least_unless_more_is_chosen_and_gets_no_email(owner: Any) -> None:
    page = await owner.get("/app/members")
    assert next(form for form in page.forms if "role" in form)["role"] == "read_only"
    assert "no email is sent" in page.text


async def test_a_settings_unit_is_of_its_number(owner: Any) -> None:
    page = await owner.get("/app/settings")
    assert re.search(r"POSTBACK_API_PROCESSES.*?\b1 process(?!es)", re.sub(r"\s+", " ", page.text))
