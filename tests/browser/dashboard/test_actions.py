"""Every button of every form on every page is pressed, whatever pages there are."""

import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

from playwright.async_api import Browser, Locator, Page

from tests.browser.dashboard.data import fill
from tests.browser.dashboard.looking import Watch
from tests.browser.dashboard.paths import POSTS, addresses, route_of
from tests.browser.dashboard.running import PASSWORD, Hub

Action = tuple[str, str]  # of a form: its route, and what its button says in `do`
# Pressed by the tests of the first run and without JavaScript.
ELSEWHERE = {"/app/sign-in", "/app/join/{token}", "/app/start/key"}
LAST = ("remove", "revoke", "erase", "password", "sign-out")
# What required fields are filled with, by name.
TYPED = {
    "email": "new@example.com", "currency": "EUR", "timezone": "Europe/Berlin", "old": PASSWORD, "password": PASSWORD,
    "url": "https://hooks.example.com/", "value": "gone@example.com",
}  # fmt: skip
FORMS = """(root) => [...root.forms].filter((form) => form.method === 'post').flatMap((form) => {
  const named = [...form.querySelectorAll('button[name=do]')].map((button) => button.value);
  return (named.length ? named : ['']).map((said) => [form.getAttribute('action') || '', said]);
})"""
EVERY = f"""async (paths) => Promise.all(paths.map(async (path) => {{
  const text = await (await fetch(path)).text();
  return [path, ({FORMS})(new DOMParser().parseFromString(text, 'text/html'))];
}}))"""


async def test_every_button_of_every_page_does_its_work(hub: Hub, browser: Browser) -> None:
    space = await hub.workspace("hands")
    await fill(space, 40, hub=hub)
    paths = await addresses(space, orders=["#1001"], visitors=["v_00000000cafe"])
    context = await space.person(browser)
    page, watch = await context.new_page(), Watch(context, hub.url)
    pressed: set[Action] = set()
    context.on("request", lambda sent: sent.method == "POST" and pressed.add(_action_of(sent)))
    await page.goto("/app/account")
    where: dict[Action, str] = {}
    for path, forms in await page.evaluate(EVERY, paths):
        for action, said in forms:
            where.setdefault((_route(action or path), said), path)
    for action in sorted(where, key=_danger):
        if action not in pressed:
            await page.goto(where[action])
            if "/sign-in" in page.url:  # an action before this one was to sign out
                await _sign_in(page, "hands@example.com")
            await _press(page, action)
            for shown in [(_route(a or page.url), said) for a, said in await page.evaluate(f"({FORMS})(document)")]:
                if shown not in where and shown not in pressed and shown[0] == action[0]:
                    await _press(page, shown)  # what an answer alone offers
    # A browser tells of an answer of 409, too: `_press` knows whether it may be one.
    assert not [said for said in watch.read() if not re.search(r"409: |status of 409", said)]
    assert set(where) <= pressed
    assert {route for route, _ in pressed} >= set(POSTS) - ELSEWHERE
    await context.close()


def _danger(action: Action) -> tuple[int, Action]:
    return next((at for at, word in enumerate(LAST, 1) if word in " ".join(action)), 0), action


def _route(address: str) -> str:
    path = urlsplit(address).path
    return route_of(path, POSTS) or path


def _action_of(sent: Any) -> Action:
    return _route(sent.url), parse_qs(sent.post_data or "").get("do", [""])[0]


async def _press(page: Page, action: Action) -> None:
    """Fill in what is asked for and send; the answer must be a page without a complaint."""
    await page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true })")
    for form in await page.locator("form[method=post]").all():
        if _route(await form.get_attribute("action") or page.url) != action[0]:
            continue
        button = form.locator(f"button[name=do][value={action[1]}]" if action[1] else "button").first
        if not await button.count():
            continue
        await _fill(form)
        if action[1] == "export":  # a file
            async with page.expect_download():
                await button.click()
            return
        chooser = form.locator("select[data-submit]")
        async with page.expect_navigation() as answered:
            if await chooser.count():
                await chooser.select_option(index=await chooser.locator("option").count() - 1)
            else:
                await button.click()
        answer = await answered.value
        said = await page.locator("[role=alert]").all_inner_texts()
        assert answer is not None
        if action[1] != "stop" or answer.status != 409:  # what is to be stopped may be done by then
            assert answer.status < 400, (action, page.url, said)
            assert not said, (action, page.url)
        return
    raise AssertionError(f"no form of {action} on {page.url}")


async def _sign_in(page: Page, email: str) -> None:
    await page.get_by_label("Email").fill(email)
    await page.get_by_label("Password").fill(PASSWORD)
    async with page.expect_navigation():
        await page.get_by_role("button", name="Sign in").click()


async def _fill(form: Locator) -> None:
    for field in await form.locator(":is(input, textarea)[required]").all():
        name = await field.get_attribute("name") or ""
        if not await field.input_value():
            await field.fill(TYPED.get(name, "Made here"))
