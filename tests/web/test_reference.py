"""`/docs`: all that /openapi.json describes, readable anywhere, by nothing but our own server."""

import asyncio
import html
import re
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser
from typing import Any

import pytest

from postback.web import reference

VOID = {"meta", "link", "br", "img", "hr", "input"}


class Read(HTMLParser):
    """A page: its tags with their attributes; refuses tags that are not closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def all(self, name: str) -> list[str]:
        return [value for _, attributes in self.tags if (value := attributes.get(name)) is not None]


@pytest.fixture
async def page(served: Any) -> str:
    async with served.http.get(f"{served.url}/docs") as answer:
        assert (answer.status, answer.content_type) == (200, "text/html")
        return await answer.text()


async def test_every_operation_and_shape_stands_there_once(served: Any, page: str) -> None:
    _, document = await served.call("GET", "/openapi.json")
    ids = Read(page).all("id")
    named = {operation["operationId"] for methods in document["paths"].values() for operation in methods.values()}
    assert named | set(document["components"]["schemas"]) <= set(ids)
    assert len(ids) == len(set(ids))


async def test_every_link_leads_somewhere_on_our_own_server(page: str) -> None:
    read = Read(page)
    ids = set(read.all("id"))
    for target in read.all("href"):
        assert target == "openapi.json" or (target[0] == "#" and target[1:] in ids), target


async def test_it_has_no_script_and_nothing_from_elsewhere_and_the_policy_allows_none(served: Any, page: str) -> None:
    read = Read(page)
    assert not {tag for tag, _ in read.tags} & {"script", "link", "img", "iframe", "object", "form", "base"}
    assert not read.all("src")
    assert not read.all("style")
    assert "url(" not in page
    assert "@import" not in page
    assert not [name for _, attributes in read.tags for name in attributes if name.startswith("on")]
    async with served.http.get(f"{served.url}/docs") as answer:
        policy = dict(part.strip().split(" ", 1) for part in answer.headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert set(policy) == {"default-src", "style-src", "base-uri", "form-action", "frame-ancestors"}
    (style,) = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    assert policy["style-src"] == f"'sha256-{b64encode(sha256(style.encode()).digest()).decode()}'"


async def test_it_fits_a_phone(page: str) -> None:
    read = Read(page)
    assert ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}) in read.tags
    before = [tag for tag, _ in read.tags]
    tables = [place for place, tag in enumerate(before) if tag == "table"]
    assert tables
    assert all(read.tags[place - 1] == ("div", {"class": "wide"}) for place in tables)
    assert all(
        rule in page for rule in (".wide { overflow-x: auto", "pre { overflow-x: auto", "overflow-wrap: anywhere")
    )


@pytest.mark.parametrize("operation", ["goals_create", "events", "sites_list_all"])
async def test_its_curl_works_as_it_stands(served: Any, page: str, operation: str) -> None:
    section = page.partition(f'<section id="{operation}">')[2].partition("</section>")[0]
    curl = html.unescape(re.findall(r"<pre[^>]*><code>(.*?)</code>", section, re.DOTALL)[0])
    for word, key in (("YOUR_ADMIN_KEY", served.keys.admin_key), ("YOUR_KEY", served.keys.api_key)):
        curl = curl.replace(word, key)
    run = await asyncio.create_subprocess_shell(
        curl + " -sS --fail-with-body", env={"POSTBACK": served.url, "PATH": "/usr/bin:/bin"},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await run.communicate()
    assert run.returncode == 0, said


async def test_what_a_description_says_is_never_markup(served: Any) -> None:
    _, document = await served.call("GET", "/openapi.json")
    document["info"]["title"] = "<script>alert(1)</script>"
    document["paths"]["/healthz"]["get"]["summary"] = '"><img src=x onerror=alert(1)>'
    read = Read(reference.page(document))
    assert not {tag for tag, _ in read.tags} & {"script", "img"}
