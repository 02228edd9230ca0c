"""A browser without JavaScript: it keeps cookies, follows no redirect, and fills in forms as pages give them."""

from collections.abc import AsyncIterator
from html.parser import HTMLParser
from typing import Any

import aiohttp
import pytest
from yarl import URL

from postback.web.admin.signed_in import COOKIE


class Page(HTMLParser):
    """What a test looks at: status, text, where it leads, its forms by action, ids and links."""

    def __init__(self, status: int, html: str, headers: Any) -> None:
        super().__init__(convert_charrefs=True)
        self.status = status
        self.html = html
        self.headers = headers
        self.links: list[str] = []
        self.nav: list[str] = []
        self.forms: list[dict[str, str]] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._in_nav = False
        self._open = ""
        self.feed(html)

    @property
    def location(self) -> str:
        return self.headers.get("Location", "")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        held = dict(attrs)
        self.tags.append((tag, held))
        if tag == "nav":
            self._in_nav = True
        if tag == "a" and (href := held.get("href")):
            self.links.append(href)
            if self._in_nav:
                self.nav.append(href)
        if tag == "form":
            self.forms.append({"action": held.get("action") or "", "method": held.get("method") or "get"})
        if tag in ("input", "textarea", "select", "button") and held.get("name") and self.forms:
            if held.get("type") == "checkbox" and "checked" not in held:
                return
            self.forms[-1].setdefault(str(held["name"]), held.get("value") or "")
        self._open = str(held.get("name")) if tag in ("textarea", "select") else self._open
        if tag == "option" and self._open and ("selected" in held or not self.forms[-1][self._open]):
            self.forms[-1][self._open] = held.get("value") or ""

    def handle_endtag(self, tag: str) -> None:
        if tag == "nav":
            self._in_nav = False
        if tag in ("textarea", "select"):
            self._open = ""

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._open and self.lasttag == "textarea":
            self.forms[-1][self._open] += data

    @property
    def csrf(self) -> str:
        return next(form["csrf"] for form in self.forms if "csrf" in form)


class Browser:
    """`origin`: what it says of where its forms come from."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.http = aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True))
        self.origin = url

    async def get(self, path: str, **headers: str) -> Page:
        async with self.http.get(URL(self.url + path, encoded=True), allow_redirects=False, headers=headers) as answer:
            return Page(answer.status, await answer.text(), answer.headers)

    async def post(self, path: str, form: dict[str, str], **headers: str) -> Page:
        sent = {"Origin": self.origin} | headers
        async with self.http.post(
            URL(self.url + path, encoded=True), data=form, allow_redirects=False, headers=sent
        ) as answer:
            return Page(answer.status, await answer.text(), answer.headers)

    async def submit(self, path: str, action: str | None = None, **typed: str) -> Page:
        """Get a page, and post a form with its tokens."""
        page = await self.get(path)
        tokens = {name: form[name] for form in page.forms for name in ("csrf", "once") if name in form}
        return await self.post(action or path, tokens | typed)

    async def sign_in(self, email: str, password: str) -> Page:
        return await self.post("/app/sign-in", {"email": email, "password": password})

    @property
    def cookie(self) -> str | None:
        return next((one.value for one in self.http.cookie_jar if one.key == COOKIE), None)


@pytest.fixture
async def stranger(served: Any) -> AsyncIterator[Browser]:
    """Nobody is signed in."""
    browser = Browser(served.url)
    yield browser
    await browser.http.close()


@pytest.fixture
async def owner(served: Any) -> AsyncIterator[Browser]:
    browser = Browser(served.url)
    assert (await browser.sign_in(served.keys.owner_email, served.keys.owner_password)).status == 303
    yield browser
    await browser.http.close()


@pytest.fixture
async def invited(served: Any) -> AsyncIterator[Any]:
    """Somebody of a role, in the first workspace or in that of a key, signed in."""
    browsers: list[Browser] = []

    async def join(role: str, *, key: str | None = None, email: str | None = None) -> Browser:
        email = email or f"{role}@example.com"
        body = {"email": email, "role": role}
        status, made = await served.call("POST", "/v1/admin/members", body, key=key)
        assert status == 201, made
        browser = Browser(served.url)
        browsers.append(browser)
        assert (await browser.post(made["link"], {"password": "correct horse battery"})).status == 303
        return browser

    yield join
    for browser in browsers:
        await browser.http.close()
