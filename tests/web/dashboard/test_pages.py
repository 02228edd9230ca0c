"""Pages by HTTP, without JavaScript: what they show, that all of it leads somewhere, and that nothing in it runs."""

import html
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from postback import secret
from postback.web.dashboard.things import THINGS

HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>{{7*7}}</textarea></title>"
ADMIN = "/v1/admin"
DOCS = Path(__file__).parents[3] / "docs"


@pytest.fixture
async def filled(served: Any) -> Any:
    """One of everything, each text of it hostile."""
    x = HOSTILE
    event = {
        "event": x[:90], "event_id": x, "order_id": f"{x}/1", "value": 12.5, "currency": "EUR", "url": f"https://a.b/{x}",
        "referrer": x, "properties": {x: x}, "experiments": {x[:64]: x[:64]}, "visitor_id": x, "session_id": x,
        "items": [{"name": x, "product_id": x}], "user_data": {"email": "ada@example.com"},
    }  # fmt: skip
    config = {"config": {"url": "http://127.0.0.1:9/x"}, "name": x}
    made: dict[str, Any] = {}
    for name, path, body in (
        ("webhook", f"{ADMIN}/integration-catalog/webhook/install", config),
        ("site", f"{ADMIN}/sites", {"name": x, "timezone": "Europe/Berlin", "currency": "JPY"}),
        ("goal", f"{ADMIN}/goals", {"name": x, "events": [x[:90]]}),
        ("type", f"{ADMIN}/event-types", {"name": x}),
        ("key", f"{ADMIN}/keys", {"label": x, "scopes": ["ingest"]}),
        ("event", "/v1/events", event),
        ("purchase", "/v1/events", event | {"event": "purchase", "event_id": f"p{x}", "order_id": f"{x}/2"}),
    ):
        status, made[name] = await served.call("POST", path, body)
        assert status in (201, 202), made[name]
    return made


async def walk(browser: Any, start: str) -> dict[str, Any]:
    """Every page that is reached by links from one."""
    found: dict[str, Any] = {}
    waiting = [start]
    while waiting:
        path = waiting.pop().partition("#")[0]
        if path in found or not path.startswith("/app"):
            continue
        page = found[path] = await browser.get(path)
        here = path.partition("?")[0]
        waiting += [here + link if link.startswith("?") else link for link in page.links]
    return found


async def test_all_that_pages_lead_to_is_there_and_nothing_in_them_runs(owner: Any, filled: Any) -> None:
    pages = await walk(owner, "/app")
    assert {"/app/live", "/app/usage", "/app/integrations/library/meta", "/app/goals/new"} < set(pages)
    for kind in (
        "events",
        "deliveries",
        "conversions",
        "orders",
        "visitors",
        "integrations",
        "goals",
        "sites",
        "event-types",
        "keys",
    ):
        assert [path for path in pages if path.startswith(f"/app/{kind}/")], f"nothing leads to one of {kind}"
    for path, page in pages.items():
        assert page.status == 200, (path, page.text[-400:])
        for tag, held in page.tags:
            assert not [name for name in held if name.startswith("on") or name == "style"], (path, tag, held)
            assert tag != "style", path
            assert tag not in ("script", "img") or str(held.get("src")).startswith("/app/static/"), (path, held)
            assert not str(held.get("href", "")).lower().startswith("javascript"), (path, held)
        assert "7*7" not in page.html or "{{7*7}}" in html.unescape(page.html)
        ids = [held["id"] for _, held in page.tags if "id" in held]
        assert len(ids) == len(set(ids)), path
        policy = page.headers["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert "script-src 'self'" in policy
        assert page.headers["Cache-Control"] == "no-store"
        assert {link.startswith("/app") for link in page.nav} == {True}


async def test_every_call_that_a_page_names_stands_in_the_description_of_the_api(
    served: Any, owner: Any, filled: Any
) -> None:
    _, document = await served.call("GET", "/openapi.json")
    known = [
        (method.upper(), re.compile(re.sub(r"{\w+}", "[^?]+", path)))
        for path, methods in document["paths"].items()
        for method in methods
    ]
    named: set[tuple[str, str]] = set()
    for page in (await walk(owner, "/app")).values():
        for method, path in re.findall(r"curl (?:-X (\w+) )?'?http://[^/\s]+(/v1/[^\s'?]+)", html.unescape(page.html)):
            named.add((method or "GET", path))
    assert len(named) > 20
    for method, path in named:
        assert any(method == other and form.fullmatch(path) for other, form in known), (method, path)


async def test_a_page_weighs_little(owner: Any, filled: Any) -> None:
    page = await owner.get("/app")
    weight = len(page.html)
    for tag, held in page.tags:
        if (address := held.get("src") or (held.get("href") if tag == "link" else None)) is not None:
            async with owner.http.get(owner.url + address, headers={"Accept-Encoding": "gzip"}) as answer:
                assert answer.status == 200
                assert "immutable" in answer.headers["Cache-Control"]
                weight += int(answer.headers["Content-Length"])
    assert weight < 150_000


async def test_the_first_page_waits_for_the_first_event_and_the_key_is_shown_once(served: Any, owner: Any) -> None:
    first = await owner.get("/app")
    assert "Waiting for your first event" in first.text
    made = await owner.submit("/app/start", "/app/start/key")
    key = re.search(r"pb_live_[\w-]{32}", made.text)
    assert key is not None
    assert key[0] not in (await owner.get("/app/start")).text
    curl = next(
        part for part in re.findall(r"<pre[^>]*>(.*?)</pre>", made.html, re.S) if key[0] in part and "curl" in part
    )
    body = re.search(r"-d '(.*)'", html.unescape(curl))
    assert body is not None
    assert served.url in curl
    status, _ = await served.call("POST", "/v1/events", body[1].encode(), key=key[0],
                                  headers={"Content-Type": "application/json"})  # fmt: skip
    assert status == 202
    seen = await owner.get("/app/start")
    assert "Your first event is here" in seen.text
    assert "Waiting" not in seen.text
    assert "Newest events" in (await owner.get("/app")).text


async def test_a_form_keeps_what_was_typed_and_names_the_field(owner: Any) -> None:
    page = await owner.submit("/app/goals/new", name=HOSTILE, events="a, b", default_value="many", active="on")
    assert page.status == 422
    form = next(form for form in page.forms if "events" in form)
    assert (form["name"], form["events"], form["default_value"]) == (HOSTILE, "a, b", "many")
    wrong = [held["name"] for tag, held in page.tags if held.get("aria-invalid") == "true"]
    assert wrong == ["default_value"]
    page = await owner.submit("/app/sites/new", name="x", currency="EUR", timezone="Berlin", window_days="7")
    assert [held["name"] for _, held in page.tags if held.get("aria-invalid") == "true"] == ["timezone"]
    assert page.text.count("Time zone must be one of the IANA database, such as Europe/Berlin.") == 1
    assert ("To correct: Time zone" in page.text, "Field:" in page.text) == (True, False)
    page = await owner.submit(
        "/app/sites/new", name="x", currency="EUR", timezone="UTC", country="Germany", window_days="7"
    )
    assert "Country must be an ISO 3166 code of two letters, such as DE." in page.text


async def test_currencies_zones_and_countries_are_searched_in_lists(owner: Any) -> None:
    for path, known in (
        ("/app/sites/new", "EUR Euro,DE Germany,Europe/Berlin "),
        ("/app/start", "EUR Euro,Europe/Berlin "),
    ):
        page = await owner.get(path, **{"Accept-Encoding": "identity"})
        assert len(page.html) < 80_000
        for one in known.split(","):
            value, _, text = one.partition(" ")
            assert f'<option value="{value}">{text}</option>' in page.html, (path, one)
        [zone] = [held for _, held in page.tags if held.get("name") == "timezone"]
        assert ("data-zone" in zone, zone["value"]) == (True, "")
    assert "Europe/Berlin" not in (await owner.get("/app/keys")).html


async def test_goals_sites_and_event_types_are_made_changed_and_removed(served: Any, owner: Any) -> None:
    for path, typed, changed in (
        ("goals", {"name": "Trials", "events": "start_trial", "default_value": "12.50", "active": "on"}, {"name": "T"}),
        ("sites", {"name": "Shop", "currency": "EUR", "timezone": "UTC", "window_days": "7"}, {"window_days": "30"}),
        ("event-types", {"name": "quiz", "required": "user_data.email"}, {"billable": "on"}),
    ):
        made = await owner.submit(f"/app/{path}/new", **typed)
        assert made.status == 303, (path, made.text[-300:])
        where = made.location.partition("?")[0]
        page = await owner.get(where)
        form = next(form for form in page.forms if "etag" in form)
        kind = next(thing.kind_patch for thing in THINGS if thing.path == path)
        assert set(form) - {"action", "method", "csrf", "etag", "do"} <= set(
            kind.__struct_fields__
        )  # each can be changed
        sent = {name: value for name, value in form.items() if name not in ("action", "method")} | changed
        assert (await owner.post(where, sent)).status == 303
        stale = await owner.post(where, sent)
        assert (stale.status, "changed since you read it" in stale.text) == (412, True), path
        assert f'href="{where}">Read it again</a>' in stale.html
        name, value = next(iter(changed.items()))
        _, shown = await served.call("GET", f"{ADMIN}/{path}/{where.rpartition('/')[2]}")
        assert str(shown[name]) == {"on": "True"}.get(value, value)
        assert (await owner.submit(where, do="remove")).status == 303
        assert (await owner.get(where)).status == 404


async def test_an_event_types_name_is_not_asked_for_where_it_cannot_be_changed(owner: Any) -> None:
    made = await owner.submit("/app/event-types/new", name="quiz")
    page = await owner.get(made.location)
    assert "name" not in next(form for form in page.forms if "etag" in form)
    assert "quiz" in page.text


async def test_an_integration_is_installed_from_its_fields_paused_changed_and_removed(served: Any, owner: Any) -> None:
    library = "/app/integrations/library/meta"
    refused = await owner.submit(library, variant="default", name="Shop", dataset_id="1234567890")
    assert refused.status == 422
    assert [held["name"] for _, held in refused.tags if held.get("aria-invalid") == "true"] == ["access_token"]
    made = await owner.submit(
        library, variant="default", name="Shop", dataset_id="1234567890", access_token="EAAsecret"
    )
    where = made.location.partition("?")[0]
    page = await owner.get(where)
    assert "EAAsecret" not in page.html
    page = await owner.get(f"{where}/settings")
    assert "EAAsecret" not in page.html
    assert "1234567890" in page.html
    assert (await owner.submit(where, do="pause")).status == 303
    assert "It goes on queueing" in (await owner.get(where)).text
    assert (await owner.submit(where, do="resume")).status == 303
    form = next(form for form in page.forms if "dataset_id" in form)
    sent = {name: form[name] for name in ("csrf", "name", "dataset_id")} | {"name": "Shop 2", "do": "save"}
    assert (await owner.post(where, sent)).status == 303
    _, shown = await served.call("GET", f"{ADMIN}/destinations/{where.rpartition('/')[2]}")
    assert (shown["name"], shown["config"]["access_token"]) == ("Shop 2", secret.MASK)
    assert (await owner.submit(where, do="remove")).status == 303
    assert (await owner.get(where)).status == 404


async def test_a_webhooks_made_secret_is_shown_once(owner: Any) -> None:
    made = await owner.submit("/app/integrations/library/webhook", url="https://hooks.example.com/x")
    assert made.status == 200
    assert "whsec_" in made.text
    where = next(link for link in made.links if re.search("integrations/[0-9a-f-]{36}$", link))
    [made_secret] = set(re.findall(r"whsec_[\w+/=]{20,}", made.html))
    assert made_secret not in (await owner.get(where)).html


async def test_a_key_is_shown_once_rotated_and_revoked_after_saying_what_breaks(served: Any, owner: Any) -> None:
    made = await owner.submit("/app/keys/new", label="Checkout", scopes="ingest", site=served.keys.site)
    key = re.search(r"pb_live_[\w-]{32}", made.text)
    assert key is not None
    assert (await served.call("POST", "/v1/events", {"event": "lead"}, key=key[0]))[0] == 202
    where = next(link for link in made.links if re.search("keys/[0-9a-f-]{36}$", link))
    page = await owner.get(where)
    assert key[0] not in page.text
    assert "1 call came with it" in page.text
    assert "lately these were lead." in page.text
    [listed] = [link for link in page.links if link.startswith("/app/events?key=")]
    of_key = await owner.get(listed)
    assert "1 event" in of_key.text
    [event] = {link for link in of_key.links if link.startswith("/app/events/")}
    assert where in (await owner.get(event)).links
    rotated = await owner.submit(where, f"{where}/rotate", grace_seconds="3600")
    assert "still opens until" in rotated.text
    assert (await owner.submit(where, f"{where}/revoke")).status == 303
    assert (await served.call("POST", "/v1/events", {"event": "lead"}, key=key[0]))[0] == 401


async def test_a_form_that_makes_a_secret_makes_one_however_often_it_is_sent(served: Any, owner: Any) -> None:
    _, ingest = await served.call("POST", f"{ADMIN}/keys", {"label": "Backend", "scopes": ["ingest"]})
    where = f"/app/keys/{ingest['id']}"
    for path, action, typed in (
        ("/app/keys/new", "/app/keys/new", {"label": "Shop", "scopes": "ingest"}),
        (where, f"{where}/rotate", {"grace_seconds": "3600"}),
        ("/app/start", "/app/start/key", {}),
    ):
        page = await owner.get(path)
        once = next(form["once"] for form in page.forms if "once" in form)
        sent = {"csrf": page.csrf, "once": once, **typed}
        assert re.search(r"pb_live_[\w-]{32}", (await owner.post(action, sent)).text)
        known = {one["id"] for one in (await served.call("GET", f"{ADMIN}/keys"))[1]["items"]}
        again = await owner.post(action, sent)
        assert (again.status, "was made already, and shown once" in again.text) == (409, True), path
        assert {one["id"] for one in (await served.call("GET", f"{ADMIN}/keys"))[1]["items"]} == known
        for old in ("", "x", "00000000-0000-7000-8000-000000000000", "ffffffff-ffff-7fff-bfff-ffffffffffff"):
            assert (await owner.post(action, sent | {"once": old})).status == 422
    page = await owner.get("/app/integrations/library/webhook")
    sent = {name: value for name, value in page.forms[-1].items() if name not in ("action", "method")}
    sent |= {"url": "https://hooks.example.com/x"}
    assert "whsec_" in (await owner.post("/app/integrations/library/webhook", sent)).text
    assert (await owner.post("/app/integrations/library/webhook", sent)).status == 409
    assert 'value="Webhook 2"' in (await owner.get("/app/integrations/library/webhook")).html


async def test_who_may_only_read_sees_all_and_changes_nothing(served: Any, filled: Any, invited: Any) -> None:
    reader, analyst = await invited("read_only"), await invited("analyst")
    own = {
        "/app/sign-out",
        "/app/sign-out-everywhere",
        "/app/account/password",
        "/app/theme",
        "/app/look-at",
        "/app/find",
    }
    for path, page in (await walk(reader, "/app")).items():
        assert page.status == 200, path
        assert {form["action"] for form in page.forms if form["method"] == "post"} <= own, path
    _, before = await served.call("GET", f"{ADMIN}/audit?limit=1")
    for path, form in (
        ("/app/goals/new", {"name": "x"}), ("/app/keys/new", {"label": "x", "scopes": "ingest"}),
        ("/app/members", {"email": "a@b.co", "role": "owner"}), ("/app/start/key", {}),
        (f"/app/integrations/{filled['webhook']['id']}", {"do": "pause"}),
        (f"/app/integrations/{filled['webhook']['id']}", {"do": "remove"}),
        (f"/app/integrations/{filled['webhook']['id']}/test", {"event": "lead"}),
        (f"/app/integrations/{filled['webhook']['id']}/blueprint", {"do": "save", "blueprint": '{"rules": []}'}),
        (f"/app/integrations/{filled['webhook']['id']}/replay", {"do": "begin", "status": "failed"}),
        (f"/app/integrations/{filled['webhook']['id']}/backfill", {"do": "begin"}),
        (f"/app/keys/{filled['key']['id']}/revoke", {}), (f"/app/sites/{filled['site']['id']}", {"do": "remove"}),
        ("/app/integrations/library/webhook", {"url": "https://a.b/"}),
    ):  # fmt: skip
        assert (await reader.submit("/app/account", path, **form)).status == 403, path
        if path != "/app/goals/new":
            assert (await analyst.submit("/app/account", path, **form)).status == 403, path
    assert (await served.call("GET", f"{ADMIN}/audit?limit=1"))[1] == before
    assert (await analyst.submit("/app/goals/new", name="x")).status == 303


async def test_times_are_the_sites_with_the_exact_utc_beside_and_money_has_its_currencys_form(
    served: Any, owner: Any, filled: Any
) -> None:
    await served.call("POST", "/v1/events", {"event": "lead", "value": 1234, "currency": "JPY", "event_id": "yen"})
    await owner.submit("/app", "/app/look-at", site=filled["site"]["id"])
    assert "Times in Europe/Berlin" in (await owner.get("/app/conversions")).text
    await owner.submit("/app", "/app/look-at", site="")
    page = await owner.get("/app/events?event_id=yen")
    assert "¥1,234" in page.text
    assert "Times in UTC" in page.text
    [shown] = [held for tag, held in page.tags if tag == "time"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} UTC", str(shown["title"]))


@pytest.mark.parametrize(
    "query", ["status=x", "site=x", "from=yesterday", "cursor=x", "limit=0", "limit=x", "name=%00", "event_id=%00"]
)
async def test_a_filter_that_cannot_be_read_is_said_on_the_page(owner: Any, query: str) -> None:
    page = await owner.get(f"/app/events?{query}")
    assert (page.status, "cannot be used" in page.text.lower()) == (422, True)


async def test_what_has_no_page_says_so_as_a_page(owner: Any) -> None:
    for path in ("/app/nothing", "/app/goals/99", "/app/events/x", "/app/orders/none"):
        page = await owner.get(path)
        assert (page.status, "Not found" in page.text) == (404, True), path


async def test_a_site_gives_its_tags_snippet_as_the_documentation_has_it(served: Any, owner: Any) -> None:
    page = await owner.get(f"/app/sites/{served.keys.site}")
    documented = re.search(r"```html\n(<script data-site=.*?</script>)\n```", (DOCS / "tag.md").read_text(), re.S)
    assert documented is not None
    snippet = documented[1].replace("https://HOST", served.url).replace("SITE_KEY", served.keys.site_key)
    assert snippet in page.text


async def test_a_site_says_which_pages_were_refused_as_it_does_not_name_them(
    served: Any, owner: Any, invited: Any
) -> None:
    site = served.keys.site
    await served.call("PATCH", f"{ADMIN}/sites/{site}", {"allowed_origins": ["https://shop.example"]})
    assert "Refused" not in (await owner.get(f"/app/sites/{site}")).text
    body = {"site_key": served.keys.site_key, "sent_at": datetime.now(UTC).isoformat(), "events": []}
    sent = await served.call("POST", "/collect", body, key="", headers={"Origin": "https://other.example"})
    assert sent[0] == 403
    page = await owner.get(f"/app/sites/{site}")
    assert re.search("Refused, because .*https://other.example.*since.*Add those that are yours", page.text, re.S)
    reader = await (await invited("read_only")).get(f"/app/sites/{site}")
    assert ("https://other.example" in reader.text, "Add those" in reader.text) == (True, False)
