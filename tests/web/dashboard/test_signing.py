"""Who gets in, and how: sessions, passwords, invitations, and where a change may come from."""

from typing import Any

import pytest

from postback.db import connect
from postback.errors import Conflict
from postback.workspaces import accounts, sessions
from tests.web.dashboard.routes import ROUTES

POSTS = [path for method, path in ROUTES if method == "POST"]
WITHOUT_SESSION = {"/app/sign-in", "/app/join/{token}"}
NOBODY = "01a1fbf7-086b-7ab2-9996-26a150972041"


def concrete(path: str) -> str:
    return path.replace("{id_}", "1" if "/goals/" in path else NOBODY).replace("{connector}", "webhook")


async def test_signed_out_every_page_leads_to_a_form_of_one_email_one_password_and_one_button(stranger: Any) -> None:
    for method, path in ROUTES:
        if method == "GET" and path not in WITHOUT_SESSION and "/static/" not in path and "{" not in path:
            page = await stranger.get(path)
            assert (page.status, page.location.partition("?")[0]) == (303, "/app/sign-in"), path
    page = await stranger.get("/app/sign-in")
    kinds = [held.get("type") for tag, held in page.tags if tag in ("input", "button")]
    assert [kind for kind in kinds if kind != "hidden"] == ["email", "password", "submit"]


async def test_each_sign_in_begins_a_session_of_its_own_and_ends_the_one_before(served: Any, stranger: Any) -> None:
    keys = served.keys
    page = await stranger.sign_in(keys.owner_email.upper(), keys.owner_password)
    cookie = page.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert "Secure" not in cookie
    first = stranger.cookie
    secure = {"X-Forwarded-Proto": "https"}
    form = {"email": keys.owner_email, "password": keys.owner_password}
    assert "Secure" in (await stranger.post("/app/sign-in", form, **secure)).headers["Set-Cookie"]
    assert (await stranger.sign_in(keys.owner_email, keys.owner_password)).location == "/app"
    assert stranger.cookie != first
    stranger.http.cookie_jar.clear()
    assert (await stranger.get("/app", Cookie=f"postback_session={first}")).status == 303


async def test_a_wrong_password_and_an_unknown_email_are_answered_alike_and_ever_more_slowly(
    served: Any, stranger: Any
) -> None:
    wrong = await stranger.sign_in(served.keys.owner_email, "wrong")
    unknown = await stranger.sign_in("nobody@example.com", "wrong")
    said = "do not belong together"
    assert wrong.status == unknown.status == 401
    assert said in wrong.text
    assert said in unknown.text
    for _ in range(4):
        await stranger.sign_in(served.keys.owner_email, "wrong")
    blocked = await stranger.sign_in(served.keys.owner_email, served.keys.owner_password)
    assert (blocked.status, int(blocked.headers["Retry-After"]) <= 2) == (429, True)
    assert stranger.cookie is None


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        ("/app/events?name=purchase", "/app/events?name=purchase"),
        ("https://evil.example/", "/app"),
        ("//evil.example", "/app"),
        ("/app//evil.example", "/app"),
        ("/\\evil.example", "/app"),
        ("/app/..//evil.example", "/app"),
        ("/appevil.example", "/app"),
        ("/app\r\nX: y", "/app"),
    ],
)
async def test_after_signing_in_one_goes_to_a_page_of_ours_alone(
    served: Any, stranger: Any, asked: str, given: str
) -> None:
    form = {"email": served.keys.owner_email, "password": served.keys.owner_password, "next": asked}
    assert (await stranger.post("/app/sign-in", form)).location == given


async def test_signing_out_ends_this_session_and_everywhere_ends_all(served: Any, stranger: Any, owner: Any) -> None:
    keys = served.keys
    await stranger.sign_in(keys.owner_email, keys.owner_password)
    await stranger.submit("/app", "/app/sign-out")
    assert (await stranger.get("/app")).status == 303
    assert (await owner.get("/app")).status == 200
    await stranger.sign_in(keys.owner_email, keys.owner_password)
    await stranger.submit("/app", "/app/sign-out-everywhere")
    assert (await owner.get("/app")).status == 303


@pytest.mark.parametrize("where", ["sign in", "join", "change"])
async def test_a_password_that_was_changed_while_it_was_looked_at_opens_nothing(
    served: Any, stranger: Any, owner: Any, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    keys, new = served.keys, "chosen by another hand"
    looks = accounts.has_password

    async def slowly(account: Any, password: str) -> bool:
        fits = await looks(account, password)
        async with await connect(served.dsn) as tx, tx.transaction():
            await accounts.set_password(tx, account, new)
            await sessions.end_all(tx, account.id)
        return fits

    _, other = await served.call("POST", "/v1/admin/workspaces", {"name": "neighbour"})
    body = {"email": keys.owner_email, "role": "admin"}
    _, made = await served.call("POST", "/v1/admin/members", body, key=other["admin_key"])
    monkeypatch.setattr(accounts, "has_password", slowly)
    if where == "sign in":
        await stranger.sign_in(keys.owner_email, keys.owner_password)
    elif where == "join":
        await stranger.post(made["link"], {"password": keys.owner_password})
    else:
        form = {"old": keys.owner_password, "password": "a new long one"}
        assert (await owner.submit("/app/account", "/app/account/password", **form)).status == 409
    monkeypatch.setattr(accounts, "has_password", looks)
    for browser in (stranger, owner):
        assert (await browser.get("/app")).status == 303
    assert (await stranger.sign_in(keys.owner_email, new)).location == "/app"
    assert (await stranger.get("/app")).status == 200


async def test_a_reset_holds_whatever_the_password_was_changed_to_meanwhile(served: Any, stranger: Any) -> None:
    async with await connect(served.dsn) as tx:
        read = await accounts.by_email(tx, served.keys.owner_email)
        assert read is not None
        await accounts.set_password(tx, read, "chosen by another hand")
        with pytest.raises(Conflict):
            await accounts.set_password(tx, read, "a new long one")
        await accounts.set_password(tx, read, "a new long one", is_reset=True)
    assert (await stranger.sign_in(served.keys.owner_email, "a new long one")).location == "/app"


async def test_another_password_ends_every_other_session(served: Any, stranger: Any, owner: Any) -> None:
    keys = served.keys
    await stranger.sign_in(keys.owner_email, keys.owner_password)
    path, action = "/app/account", "/app/account/password"
    short = await owner.submit(path, action, old=keys.owner_password, password="short")
    assert (short.status, "at least 10" in short.text) == (422, True)
    wrong = await owner.submit(path, action, old="wrong", password="a new long one")
    assert (wrong.status, "not your password" in wrong.text) == (422, True)
    done = await owner.submit(path, action, old=keys.owner_password, password="a new long one")
    assert done.status == 303
    assert (await owner.get("/app")).status == 200
    assert (await stranger.get("/app")).status == 303
    assert (await stranger.sign_in(keys.owner_email, keys.owner_password)).status == 401
    assert (await stranger.sign_in(keys.owner_email, "a new long one")).status == 303


@pytest.mark.parametrize("path", POSTS)
async def test_no_change_is_made_without_its_pages_token_or_from_another_site(owner: Any, path: str) -> None:
    where = concrete(path)
    if path not in WITHOUT_SESSION:
        for token in ({}, {"csrf": "0.0"}):
            assert (await owner.post(where, token)).status == 403
    csrf = (await owner.get("/app/account")).csrf
    for said in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}):
        assert (await owner.post(where, {"csrf": csrf}, **said)).status == 403
    assert (await owner.get("/app")).status == 200


async def test_the_admin_api_takes_the_session_and_for_changes_its_token(served: Any, owner: Any) -> None:
    cookie = {"Cookie": f"postback_session={owner.cookie}"}
    csrf = (await owner.get("/app/account")).csrf
    url = f"{served.url}/v1/admin/goals"
    async with served.http.get(url, headers=cookie) as answer:
        assert answer.status == 200
    async with served.http.post(url, headers=cookie, json={"name": "x"}) as answer:
        assert answer.status == 403
    async with served.http.post(url, headers=cookie | {"X-CSRF-Token": csrf}, json={"name": "x"}) as answer:
        assert answer.status == 201
    _, page = await served.call("GET", "/v1/admin/audit")
    assert page["items"][0]["actor"] == f"account {served.keys.owner_email}"


async def test_an_invitation_holds_once_and_its_role_from_the_next_request_on(
    served: Any, owner: Any, stranger: Any, invited: Any
) -> None:
    page = await owner.submit("/app/members", email="Ada@Example.com", role="analyst")
    link = next(line for line in page.html.split("<") if "/app/join/" in line).partition("/app")[2]
    assert "ada@example.com" in (await stranger.get(f"/app{link}")).text
    assert (await stranger.post(f"/app{link}", {"password": "short"})).status == 422
    assert (await stranger.post(f"/app{link}", {"password": "correct horse battery"})).status == 303
    assert (await stranger.get("/app/goals/new")).status == 200
    assert (await owner.get(f"/app{link}")).status == 404
    _, found = await served.call("GET", "/v1/admin/members")
    member = next(one for one in found["items"] if one["email"] == "ada@example.com")
    await owner.submit(f"/app/members/{member['id']}", role="read_only", do="save")
    assert (await stranger.submit("/app/goals/new", name="x")).status == 403
    await owner.submit(f"/app/members/{member['id']}", do="remove")
    assert (await stranger.get("/app")).status == 403


async def test_only_an_owner_makes_owners_and_the_last_one_stays(served: Any, owner: Any, invited: Any) -> None:
    admin = await invited("admin")
    assert (await admin.submit("/app/members", email="x@example.com", role="owner")).status == 403
    _, found = await served.call("GET", "/v1/admin/members")
    member = next(one for one in found["items"] if one["role"] == "owner")
    assert (await admin.submit(f"/app/members/{member['id']}", do="remove")).status == 403
    last = await owner.submit(f"/app/members/{member['id']}", do="remove")
    assert (last.status, "only owner" in last.text) == (409, True)


async def test_who_has_an_account_joins_another_workspace_by_its_password_and_looks_at_one_at_a_time(
    served: Any, stranger: Any, invited: Any
) -> None:
    _, other = await served.call("POST", "/v1/admin/workspaces", {"name": "neighbour"})
    ada = await invited("admin", email="ada@example.com")
    body = {"email": "ada@example.com", "role": "owner"}
    _, made = await served.call("POST", "/v1/admin/members", body, key=other["admin_key"])
    assert (await stranger.post(made["link"], {"password": "a guess of mine"})).status == 422
    assert (await stranger.post(made["link"], {"password": "correct horse battery"})).status == 303
    assert (await ada.submit("/app", "/app/look-at", workspace=other["id"])).location == "/app"
    assert other["site_key"] in (await ada.get("/app/sites")).text
    assert served.keys.site_key not in (await ada.get("/app/sites")).text
    assert (await ada.submit("/app", "/app/look-at", workspace=NOBODY)).status == 404
    assert (await ada.submit("/app", "/app/look-at", site=served.keys.site)).status == 404


async def test_attempts_are_counted_by_the_address_that_asks_and_not_by_what_it_says(
    served: Any, stranger: Any
) -> None:
    for number in range(20):
        said = {"X-Forwarded-For": f"203.0.113.{number}"}
        form = {"email": f"{number}@example.com", "password": "wrong"}
        assert (await stranger.post("/app/sign-in", form, **said)).status == 401
    assert 429 in [(await stranger.sign_in(f"{more}@example.org", "wrong")).status for more in range(5)]


@pytest.mark.parametrize("served", [{"trusted_proxies": "127.0.0.0/8"}], indirect=True)
@pytest.mark.parametrize(
    "lines",
    [
        ["2001:db8:1:2::{n}"],  # one line of a provider's has all of these
        ["203.0.113.{n}", "198.51.100.7"],  # a proxy's own word is the last, in a line of its own
    ],
)
async def test_behind_a_proxy_attempts_are_counted_by_whom_it_names(served: Any, stranger: Any, lines: Any) -> None:
    async def attempt(number: int) -> int:
        said = [("Origin", stranger.origin), *(("X-Forwarded-For", line.format(n=number)) for line in lines)]
        form = {"email": f"{number}@example.com", "password": "wrong"}
        async with stranger.http.post(f"{stranger.url}/app/sign-in", data=form, headers=said) as answer:
            return answer.status

    assert {await attempt(number) for number in range(20)} == {401}
    assert 429 in [await attempt(20 + more) for more in range(5)]  # the first wait, of a second, may be over


async def test_what_no_database_can_hold_is_refused(stranger: Any) -> None:
    assert (await stranger.sign_in("a\x00b@example.com", "wrong")).status == 422
