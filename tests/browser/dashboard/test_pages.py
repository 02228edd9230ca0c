"""Every page, by the routes, in a browser: at two widths, light and dark, with no, little and much data."""

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
    await walk(hub, browser, space, [path for path in GETS if "{" not in path], "none")


@pytest.mark.parametrize(("name", "events"), [("little", 40), ("much", 20_000)])
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
