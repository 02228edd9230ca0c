"""A page as a browser shows it: what it complains of, what sticks out or is cut off, and a picture of it."""

import base64
import os
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from playwright.async_api import BrowserContext, CDPSession, Page

from tests import npm

HERE = Path(__file__).parent
SHOTS = HERE.parents[2] / "build" / "screenshots"
IS_TAKING = bool(os.environ.get("PICTURES"))  # a fifth of what a walk costs
DESKTOP, PHONE = {"width": 1440, "height": 900}, {"width": 390, "height": 844}
Scheme = Literal["light", "dark"]
View = tuple[dict[str, int], Scheme]
# Light, dark at one width before the other: what a page does at a change of width is seen once. Colours move nothing, so
# that each of both is looked at with one width, but for pictures.
ALL: list[View] = [(DESKTOP, "light"), (DESKTOP, "dark"), (PHONE, "dark"), (PHONE, "light")]
VIEWS = ALL if IS_TAKING else ALL[::2]
# What reaches past the window with nothing to scroll it in, and text that is cut without an ellipsis; what can be unfolded
# counts too.
LAYOUT = """() => {
  const wrong = [], root = document.documentElement, room = root.clientWidth + 1;
  const folded = [...document.querySelectorAll('details:not([open])')];
  for (const one of folded) one.open = true;
  if (root.scrollWidth > room) wrong.push(`the page is ${root.scrollWidth} wide`);
  const told = (e) => `${e.tagName.toLowerCase()}${e.id ? '#' + e.id : ''}.${e.className} "${(e.textContent || '').trim().slice(0, 40)}"`;
  for (const e of document.body.querySelectorAll(':not(.skip, svg *, input, select, option, textarea)')) {
    const style = getComputedStyle(e), box = e.getBoundingClientRect();
    if (!box.width || !e.checkVisibility({visibilityProperty: true})) continue;
    if (box.right > room) {
      let up = e.parentElement;
      while (up && !/auto|scroll|hidden|clip/.test(getComputedStyle(up).overflowX)) up = up.parentElement;
      if (!up) wrong.push(`sticks out: ${told(e)}`);
    }
    if (/hidden|clip/.test(style.overflowX) && style.textOverflow !== 'ellipsis' && e.scrollWidth > e.clientWidth + 1)
      wrong.push(`is cut off: ${told(e)}`);
    if (box.width < 8 && !e.children.length && e.textContent.trim().length > 1) wrong.push(`has no room: ${told(e)}`);
  }
  for (const one of folded) one.open = false;
  return wrong.slice(0, 5);
}"""
# All rules at one width in light; what colours and the width decide again at the other, in dark.
RULES = {
    1440: "['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']",
    390: "{type: 'rule', values: ['color-contrast', 'link-in-text-block', 'scrollable-region-focusable', 'target-size']}",
}


class Watch:
    """`wrong`: whatever a browser said, asked or failed to get since it was last read."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.wrong: list[str] = []
        self._url = url
        context.on("console", lambda said: said.type in ("error", "warning") and self._note("console", said.text))
        context.on("weberror", lambda error: self._note("error", str(error.error)))
        context.on("dialog", self._dialog)
        context.on("request", lambda asked: asked.url.startswith(url) or self._note("asked", asked.url))
        context.on("requestfailed", self._failed)
        context.on("response", lambda answer: answer.status >= 400 and self._note(str(answer.status), answer.url))

    def _note(self, kind: str, text: str) -> None:
        self.wrong.append(f"{kind}: {text[:300]}")

    async def _dialog(self, dialog: Any) -> None:
        self._note("dialog", dialog.message)
        await dialog.dismiss()

    def _failed(self, request: Any) -> None:
        if request.failure != "net::ERR_ABORTED":  # what a page still asked for when it was left
            self._note("failed", f"{request.url} {request.failure}")

    def read(self) -> list[str]:
        said, self.wrong = self.wrong, []
        return said


async def look(
    page: Page, watch: Watch, path: str, *, into: str = "", axe: bool = False, views: Sequence[View] = VIEWS
) -> list[str]:
    """What is wrong with a page. `into`: a folder for pictures of it, where they are asked for."""
    await page.goto(path)
    wrong: list[str] = []
    async with _talking(page) as session:
        for size, scheme in views:
            await page.set_viewport_size(size)  # type: ignore[arg-type]
            await page.emulate_media(color_scheme=scheme)
            seen = f"{path} at {size['width']}, {scheme}"
            wrong += [f"{seen}: {one}" for one in await _layout(page)]
            if into and IS_TAKING:
                await _picture(session, page, f"{into}/{_file_of(path)}-{size['width']}-{scheme}")
            if axe and (size, scheme) in ALL[::2]:
                wrong += [f"{seen}: {one}" for one in await _audit(session, RULES[size["width"]])]
    return wrong + [f"{path}: {one}" for one in watch.read()]


async def _layout(page: Page) -> list[str]:
    """What is wrong, and still is when the page had time to draw its charts for this width."""
    if found := await page.evaluate(LAYOUT):
        await page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        found = await page.evaluate(LAYOUT)
    return found


def _file_of(path: str) -> str:
    """/app/keys/01a1...: app_keys_01a1...."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", path.strip("/"))[:90]


async def _picture(session: CDPSession, page: Page, name: str) -> None:
    """The page, at most two windows of it."""
    size = await page.evaluate("[document.documentElement.clientWidth, document.documentElement.scrollHeight]")
    clip = {"x": 0, "y": 0, "width": size[0], "height": min(size[1], 1800), "scale": 1}
    options = {"format": "jpeg", "quality": 60, "clip": clip, "captureBeyondViewport": True, "optimizeForSpeed": True}
    made = await session.send("Page.captureScreenshot", options)
    file = SHOTS / f"{name}.jpg"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(base64.b64decode(made["data"]))


@asynccontextmanager
async def _talking(page: Page) -> AsyncIterator[CDPSession]:
    session = await page.context.new_cdp_session(page)
    yield session
    await session.detach()


async def _audit(session: CDPSession, rules: str) -> list[str]:
    """Findings of axe-core that are serious or critical; put in past the policy, which would not have it."""
    await session.send("Runtime.evaluate", {"expression": f"window.axe || (() => {{ {_axe()} }})()"})
    run = f"axe.run({{resultTypes: ['violations'], runOnly: {rules}}})"
    asked = {"expression": run, "awaitPromise": True, "returnByValue": True}
    answer = await session.send("Runtime.evaluate", asked)
    assert "exceptionDetails" not in answer, answer
    return [
        f"{found['id']}: {found['help']}: {[node['html'][:160] for node in found['nodes'][:3]]}"
        for found in answer["result"]["value"]["violations"]
        if found["impact"] in ("serious", "critical")
    ]


@cache
def _axe() -> str:
    return (npm.install(HERE) / "axe-core" / "axe.min.js").read_text()


def quoted(text: str) -> str:
    return quote(text, safe="")
