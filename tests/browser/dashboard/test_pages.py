"""Every page, by the routes, in a browser: at two widths, light and dark, with no, little and much data."""

import re

import pytest
from playwright.async_api import Browser

from tests.browser.dashboard.data import fill
from tests.browser.dashboard.looking import Watch, look
from tests.browser.dashboard.paths import GETS, addresses, route_of
from tests.browser.dashboard.running import Hub, Workspace

NAMED = {"orders": ["#1001"], "visitors": ["v_00000000cafe"]}


async def test_without_data_every_page_that_needs_none_holds_its_layout_and_says_what_to_do(
    hub: Hub, browser: Browser
) -> None:
    space = await hub.workspace("none")
    await walk(hub, browser, space, [path for path in GETS if "{" not in path], "none", axe=True)


async def test_pages_for_who_is_not_signed_in_and_what_goes_wrong_hold_their_layout_too(
    hub: Hub, browser: Browser
) -> None:
    space = await hub.workspace("outside")
    invited = await space.call("POST", "members", {"email": "ada@example.com", "role": "analyst"})
    stranger, member = await browser.new_context(base_url=hub.url), await space.person(browser)
    first = await browser.new_context(base_url=hub.url)
    page = await first.new_page()
    await page.goto("/app/sign-in")
    await page.get_by_label("Email").fill(hub.owner_email)
    await page.get_by_label("Password").fill(hub.owner_password)
    await page.get_by_role("button", name="Sign in").click()
    await page.get_by_role("navigation").first.wait_for()
    wrong: list[str] = []
    for context, paths in (
        (stranger, ["/app/sign-in", invited["link"], "/app/join/none"]),
        (member, ["/app/nothing", "/app/events/01a1fe1e-b4d0-7031-924f-fdae4da46ab1", "/app/events?limit=x"]),
        (first, ["/app/settings"]),  # of the installation: its first workspace's owner
    ):
        page, watch = await context.new_page(), Watch(context, hub.url)
        for path in paths:
            found = await look(page, watch, path, into="outside", axe=True)
            # A browser tells of every answer from 400 on, which these are meant to be.
            wrong += [one for one in found if not re.search(r": 4\d\d: |status of 4\d\d", one)]
        await context.close()
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(("name", "events"), [("little", 40), ("much", 12_000)])
async def test_every_page_holds_its_layout_and_complains_of_nothing(
    hub: Hub, browser: Browser, name: str, events: int
) -> None:
    space = await hub.workspace(name)
    await fill(space, events, hub=hub)
    paths = await addresses(space, **NAMED)
    assert {route_of(path, GETS) for path in paths} == set(GETS)
    await walk(hub, browser, space, paths, name, axe=name == "little")


async def walk(hub: Hub, browser: Browser, space: Workspace, paths: list[str], into: str, *, axe: bool = False) -> None:
    context = await space.person(browser)
    page, watch = await context.new_page(), Watch(context, hub.url)
    wrong = [one for path in paths for one in await look(page, watch, path, into=into, axe=axe)]
    await context.close()
    assert not wrong, "\n".join(wrong)
