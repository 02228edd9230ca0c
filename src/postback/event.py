"""The canonical event: what a sender's post becomes, whatever dialect it came in.

`RawEvent` may hold plaintext personal data and lives only inside the request. `pii.protect` turns it into an `Event`,
which holds hashes and is what the database stores. `JoinedEvent` is what a connector sees: the stored event with its
id and the identifiers that the visitor's row added.

These structs hold trees alone, never a cycle, so the garbage collector need not walk them (`gc=False`).
Times are aware UTC datetimes. Money is Decimal with its currency. Names of identifiers are those of `IDENTIFIERS`.
"""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from msgspec import Struct

from postback.money import Money

_IN_ORDER = (
    "page_view view_content search add_to_cart add_to_wishlist initiate_checkout add_payment_info lead signup purchase "
    "subscribe start_trial contact schedule refund"
).split()
STANDARD_NAMES = frozenset(_IN_ORDER)

# What other vocabularies call the standard events. Names are compared in lower case; one that is not here stays itself.
VOCABULARIES = {
    "Segment, Datafly": {
        "page": "page_view", "Page Viewed": "page_view",
        "Product Viewed": "view_content", "Viewed Product": "view_content",
        "Products Searched": "search", "Product Searched": "search",
        "Product Added": "add_to_cart", "Added Product": "add_to_cart",
        "Product Added to Wishlist": "add_to_wishlist",
        "Checkout Started": "initiate_checkout",
        "Payment Info Entered": "add_payment_info",
        "Form Submitted": "lead", "Lead Generated": "lead",
        "Signed Up": "signup", "Account Created": "signup",
        "Order Completed": "purchase", "Completed Order": "purchase", "order_completed": "purchase",
        "Subscription Started": "subscribe",
        "Trial Started": "start_trial",
        "Order Refunded": "refund", "Refunded Order": "refund",
    },
    "GA4": {
        "page_view": "page_view",
        "view_item": "view_content",
        "search": "search", "view_search_results": "search",
        "add_to_cart": "add_to_cart",
        "add_to_wishlist": "add_to_wishlist",
        "begin_checkout": "initiate_checkout",
        "add_payment_info": "add_payment_info",
        "generate_lead": "lead",
        "sign_up": "signup",
        "purchase": "purchase",
        "refund": "refund",
    },
    "Meta": {
        "PageView": "page_view",
        "ViewContent": "view_content",
        "Search": "search",
        "AddToCart": "add_to_cart",
        "AddToWishlist": "add_to_wishlist",
        "InitiateCheckout": "initiate_checkout",
        "AddPaymentInfo": "add_payment_info",
        "Lead": "lead",
        "CompleteRegistration": "signup", "complete_registration": "signup",
        "Purchase": "purchase",
        "Subscribe": "subscribe",
        "StartTrial": "start_trial",
        "Contact": "contact",
        "Schedule": "schedule",
    },
}  # fmt: skip
ALIASES = {name.lower(): standard for names in VOCABULARIES.values() for name, standard in names.items()}

# The places a conversion can happen in; anything else becomes `other`, with a note.
ACTION_SOURCES = frozenset(
    "website app phone_call chat email physical_store system_generated business_messaging other".split()
)

# How long a request may take before the sender's clock is thought to be wrong.
WAY = timedelta(seconds=10)
# A clock that is further off says nothing.
MAX_CLOCK_ERROR = timedelta(days=366)
OLDEST = datetime(2000, 1, 1, tzinfo=UTC)

HASHED = frozenset(
    # email: trim, lower; google: also gmail's dots and +tag dropped; nodots: dots and +tag dropped on every domain.
    "email_sha256 email_google_sha256 email_nodots_sha256 "
    # phone: E.164 with its plus; digits: without.
    "phone_sha256 phone_digits_sha256 "
    # first/last name: lower, no punctuation; nospace: no white space either; google: no digits, symbols either.
    "first_name_sha256 first_name_nospace_sha256 first_name_google_sha256 "
    "last_name_sha256 last_name_nospace_sha256 last_name_google_sha256 "
    # postal code: lower, no white space, cut at the first dash; full: without dashes.
    "street_sha256 city_sha256 state_sha256 postal_code_sha256 postal_code_full_sha256 country_sha256 "
    "date_of_birth_sha256 gender_sha256 "
    "external_id_sha256 external_id_lower_sha256".split()
)
# By its name, what a hash stands beside: those of the same text, as this platform and that wants it.
VARIANTS = {
    name: variants
    for field in ("email", "phone", "first_name", "last_name", "postal_code", "external_id")
    if (variants := tuple(sorted(name for name in HASHED if re.fullmatch(f"{field}(_[a-z]+)?_sha256", name))))
    for name in variants
}
READABLE = frozenset("client_ip_address client_user_agent city state postal_code country user_id email".split())
BOT = "bot: events of bots are not delivered"
CLICK_IDS = frozenset(
    "fbclid fbc fbp gclid gbraid wbraid dclid msclkid ttclid ttp li_fat_id twclid epik sccid rdt_cid ga_client_id "
    "ga_session_id gcl_aw irclickid oppref convert_visitor_id conv_v".split()
)
IDENTIFIERS = HASHED | READABLE | CLICK_IDS
MEASURING = ("ga_", "conv", "experiment.")  # begin what is not for advertising
# Of an address that an ad leads to.
CLICK_PARAMETERS = (
    "gclid gbraid wbraid dclid msclkid fbclid ttclid twclid li_fat_id epik sccid rdt_cid irclickid oppref".split()
)


class RawUser(Struct, kw_only=True, omit_defaults=True, gc=False):
    """Who, in plaintext or as 64-hex hashes, as the sender wrote it."""

    email: str | None = None
    phone: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    date_of_birth: str | None = None
    gender: str | None = None
    street: str | None = None
    city: str | None = None
    state: str | None = None
    postal_code: str | None = None
    country: str | None = None
    external_id: str | None = None
    user_id: str | None = None
    client_ip_address: str | None = None
    client_user_agent: str | None = None


class Item(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One line of an order; `price` a piece and `total` in major units of the event's currency."""

    product_id: str | None = None
    name: str | None = None
    quantity: int | None = None
    price: Decimal | None = None
    total: Decimal | None = None

    @property
    def pieces(self) -> int:
        """One, where the sender does not say how many."""
        return 1 if self.quantity is None else self.quantity

    @property
    def unit_price(self) -> Decimal | None:
        """The price of a piece; the line's total where that is of one."""
        return self.total if self.price is None and self.pieces == 1 else self.price


class Order(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    id: str | None = None
    status: str | None = None
    items: tuple[Item, ...] = ()

    @property
    def pieces(self) -> int:
        return sum(line.pieces for line in self.items)


class Page(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    url: str | None = None
    referrer: str | None = None


class Consent(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """True: granted, False: denied, None: not asked, which withholds nothing."""

    analytics: bool | None = None
    ad_user_data: bool | None = None
    ad_personalization: bool | None = None

    def denies(self, purposes: frozenset[str]) -> bool:
        return any(getattr(self, purpose, None) is False for purpose in purposes)

    def withholds(self, identifier: str) -> bool:
        """Whether an identifier that the browser gave is not to leave."""
        return (self.analytics if identifier.startswith(MEASURING) else self.ad_user_data) is False


PURPOSES = Consent.__struct_fields__


class RawBrowser(Struct, kw_only=True):
    """What the tag says of a browser, once for all events of a batch; every event of it has this same object.

    `identifiers`: name -> value, first and last seen, unix ms of the browser's clock; `utm`: of the session's landing.
    `link`: a pb_vid. `may_measure`: analytics was not denied. `twin`: the visitor that it proved this one to be, as
    `links.both_ways` wants it. `made`: what became of all this, once.
    """

    site_key: str
    visitor_id: str | None = None
    session_id: str | None = None
    origin: str = ""
    sent_at: datetime | None = None
    identifiers: dict[str, tuple[str, int, int]] = {}
    utm: dict[str, str] = {}
    started_at: datetime | None = None
    landing: str | None = None
    referrer: str | None = None
    link: str | None = None
    cookie: str | None = None
    is_bot: bool = False
    may_measure: bool = True
    twin: Any = None
    made: Any = None


class RawEvent(Struct, kw_only=True, gc=False):
    """A sender's event, read but not yet judged; may hold plaintext.

    `event_id` None: one is made. `dedup` is the text that names a repeat in `dedup_space` ("event": one space shared by
    native, ROASproof, Segment and the tag); None: the event is filed under its own id. `amount` in major units;
    `currency` None: the site's. `source`: the sender's label of the system that posted it. `organization_id`: the
    workspace that the sender means, where the dialect names it. `hashes`: by identifier name, made by the sender.
    `sent_at`: the sender's clock as it sent this, by which its times are corrected. `visitor_site_id`: where its
    visitor was met, looked up before it is judged, where that may decide its site.
    """

    name: str
    dialect: str
    event_id: str | None = None
    dedup_space: str = "event"
    dedup: str | None = None
    occurred_at: datetime | None = None
    amount: Decimal | None = None
    currency: str | None = None
    order_id: str | None = None
    order_status: str | None = None
    items: tuple[Item, ...] = ()
    url: str | None = None
    referrer: str | None = None
    action_source: str | None = None
    site_key: str | None = None
    goal_id: int | None = None
    visitor_id: str | None = None
    session_id: str | None = None
    user: RawUser | None = None
    click_ids: dict[str, str] | None = None
    consent: Consent | None = None
    experiments: dict[str, str] | None = None
    properties: dict[str, Any] | None = None
    is_test: bool = False
    source: str | None = None
    organization_id: str | None = None
    hashes: dict[str, str] | None = None
    sent_at: datetime | None = None
    is_bot: bool = False
    browser: RawBrowser | None = None
    visitor_site_id: UUID | None = None
    notes: list[str] = []


class Event(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What was sent, safe to store: hashes only. Its JSON is the database's `event.body`.

    `action_source` None: the sender named none. `user` holds hashes by identifier name (`HASHED`), `click_ids` what the
    platforms' cookies and links gave (`CLICK_IDS`). `notes` say what was dropped or changed, and why. `is_bot`: kept,
    but no conversion, and delivered nowhere.
    """

    event_id: str
    name: str
    source_name: str
    occurred_at: datetime
    dialect: str
    action_source: str | None = None
    site_id: UUID | None = None
    goal_id: int | None = None
    visitor_id: str | None = None
    session_id: str | None = None
    value: Money | None = None
    order: Order | None = None
    page: Page | None = None
    user: dict[str, str] = {}
    click_ids: dict[str, str] = {}
    consent: Consent | None = None
    experiments: dict[str, str] = {}
    properties: dict[str, Any] = {}
    is_test: bool = False
    is_bot: bool = False
    notes: tuple[str, ...] = ()


class JoinedEvent(Event, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A stored event as a connector sees it. Never stored: `readable` is plaintext.

    `provenance` says of each identifier where it came from: `sent`, `visitor`, `session` or `link`.
    `captured_at` says when a click id was first seen, where that is known. `order_left`: of a refund, what its order is
    worth now; None: not known. `reached_before`: an event of this visitor that reached the same goal was delivered to
    this destination already; known where the connector names goals.
    """

    id: UUID
    received_at: datetime
    readable: dict[str, str] = {}
    provenance: dict[str, str] = {}
    captured_at: dict[str, datetime] = {}
    order_left: Money | None = None
    reached_before: bool = False

    def only(self, names: frozenset[str]) -> dict[str, str]:
        """The identifiers of these names that the event has; nothing else may leave."""
        return {
            name: value
            for source in (self.user, self.click_ids, self.readable)
            for name, value in source.items()
            if name in names
        }

    def origins(self, names: frozenset[str]) -> dict[str, list[str]]:
        """Which identifiers of these names it has, by where they came from."""
        only = self.only(names)
        if not self.provenance:
            return {"sent": list(only)} if only else {}
        found: dict[str, list[str]] = {}
        for name in only:
            found.setdefault(self.provenance.get(name, "sent"), []).append(name)
        return found


def clock_error(sent_at: datetime | None, now: datetime) -> timedelta | None:
    """What a sender's times lack, by when its clock says that it sent them; None: they mean nothing. Some seconds are
    the way, not the clock."""
    error = now - sent_at if sent_at is not None else timedelta(0)
    if abs(error) > MAX_CLOCK_ERROR:
        return None
    return error if abs(error) > WAY else timedelta(0)


def corrected(at: datetime, error: timedelta | None, now: datetime) -> datetime:
    """A sender's time by our clock, from `OLDEST` to `now`; `error` None: `now`."""
    return now if error is None else min(max(at, OLDEST - error), now - error) + error


def docs_table() -> str:
    """What each vocabulary calls each standard event, as a Markdown table."""
    rows = [f"| | {' | '.join(VOCABULARIES)} |", "|" + "---|" * (len(VOCABULARIES) + 1)]
    for standard in _IN_ORDER:
        cells = [
            ", ".join(f"`{name}`" for name, meant in names.items() if meant == standard)
            for names in VOCABULARIES.values()
        ]
        rows.append(f"| `{standard}` | {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def standard_name(name: str) -> str:
    """The standard event that a name means, else the name as sent."""
    if name in STANDARD_NAMES:
        return name
    lower = name.strip().lower()
    if lower in STANDARD_NAMES:
        return lower
    return ALIASES.get(lower, name)
