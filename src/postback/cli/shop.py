"""The demo's shop: a list, a page a product, a purchase. The browser tag is on every page; the backend posts the order
with nothing but the visitor's ids, as a shop would.
"""

import asyncio
import html
import itertools
import socket
from typing import Any

from aiohttp import web

from postback.cli.traffic import PRODUCTS
from postback.client import Client, NotReached, NotTaken

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<script src="{postback}/tag.js" data-site="{site_key}"></script></head>
<body><h1>{title}</h1>
{body}
</body></html>
"""
_AD = "/?gclid=Cj0KCQdemo&fbclid=IwAR0demo&utm_source=demo&utm_medium=cpc&utm_campaign=spring"
_BUY = """<p>{price} EUR</p>
<form method="post" action="/buy"><input type="hidden" name="product" value="{product}">
<input type="hidden" name="visitorId"><input type="hidden" name="sessionId"><button>Buy</button></form>
<script>postback.open("{product}", {{widget: "product page"}})</script>
<p><a href="/">Back</a></p>"""


class Shop:
    """Serves on a socket that listens already, from `start` to `stop`."""

    def __init__(self, listening: socket.socket) -> None:
        self._listening = listening
        self._runner: web.AppRunner | None = None
        self._prices = dict(PRODUCTS)
        self._numbers = itertools.count(1)

    async def start(self, postback: str, site_key: str, client: Client) -> None:
        """`postback`: where the tag comes from and its events go. `client`: what the backend posts orders with."""
        self._postback, self._site_key, self._client = postback, site_key, client
        app = web.Application()
        app.add_routes([web.get("/", self._list), web.get("/{product}", self._product), web.post("/buy", self._buy)])
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1)
        await self._runner.setup()
        await web.SockSite(self._runner, self._listening).start()

    async def stop(self) -> None:
        """Repeating is harmless."""
        if self._runner is not None:
            await self._runner.cleanup()

    def _page(self, title: str, body: str) -> web.Response:
        text = _PAGE.format(
            title=html.escape(title), body=body, postback=self._postback, site_key=html.escape(self._site_key)
        )
        return web.Response(text=text, content_type="text/html")

    async def _list(self, request: web.Request) -> web.Response:
        links = "".join(f'<li><a href="/{name}">{name}</a>, {price} EUR</li>' for name, price in self._prices.items())
        return self._page("A shop", f'<ul>{links}</ul>\n<p><a href="{_AD}">Come again, by an ad</a></p>')

    async def _product(self, request: web.Request) -> web.Response:
        product = request.match_info["product"]
        if product not in self._prices:
            raise web.HTTPNotFound
        return self._page(product, _BUY.format(product=product, price=self._prices[product]))

    async def _buy(self, request: web.Request) -> web.Response:
        form = await request.post()
        product = str(form.get("product"))
        if product not in self._prices:
            raise web.HTTPBadRequest
        order_id = f"shop-{next(self._numbers)}"
        order: dict[str, Any] = {
            "event": "purchase",
            "order_id": order_id,
            "value": self._prices[product],
            "currency": "EUR",
            "url": str(request.url),
            "items": [{"product_id": product, "quantity": 1, "price": self._prices[product]}],
        }
        order |= {
            name: str(form[field])
            for field, name in (("visitorId", "visitor_id"), ("sessionId", "session_id"))
            if form.get(field)
        }
        try:
            await asyncio.to_thread(self._client.send, order)
        except (NotTaken, NotReached) as error:
            return self._page("Not bought", f"<p>{html.escape(error.message)}</p>")
        return self._page("Thank you", f"<p>Order {order_id}.</p><p><a href='/'>Back to the shop</a></p>")
