"""What a session's source is, and what takes no credit: payment pages that a buyer comes back from. Pure.

The order: UTM parameters, a click id, the referrer. A referrer of the site's own host is none.
"""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple
from urllib.parse import parse_qsl, urlsplit

# Whoever comes back from one of these, or from below it, is on the way of a purchase that something else brought about.
PAYMENT_PROVIDERS = frozenset(
    """
    paypal.com paypalobjects.com stripe.com klarna.com klarnacdn.net adyen.com mollie.com afterpay.com clearpay.co.uk
    affirm.com sezzle.com zip.co quadpay.com alma.eu scalapay.com amazonpay.com pay.amazon.com payments.amazon.com
    payments.amazon.de payments.amazon.co.uk pay.google.com checkout.shopify.com shop.app shopifycs.com checkout.com
    worldpay.com sagepay.com opayo.co.uk braintreegateway.com braintree-api.com authorize.net squareup.com square.link
    2checkout.com paddle.com fastspring.com razorpay.com payu.com payu.in payu.pl przelewy24.pl tpay.com dotpay.pl
    trustly.com sofort.com giropay.de ideal.nl bancontact.net multisafepay.com buckaroo.nl ingenico.com ogone.com
    concardis.com computop-paygate.com unzer.com heidelpay.com payone.com wirecard.com six-payment-services.com
    datatrans.com saferpay.com postfinance.ch twint.ch cardinalcommerce.com arcot.com 3dsecure.io barclaycard.co.uk
    gocardless.com mercadopago.com mercadolibre.com pagseguro.uol.com.br dlocal.com epay.bg borica.bg mypos.com
    bluesnap.com cybersource.com coinbase.com bitpay.com coingate.com iyzipay.com paytr.com tabby.ai tamara.co
    paytm.in phonepe.com ccavenue.com alipay.com wechat.com yandex.money yoomoney.ru nets.eu vipps.no swish.nu
    """.split()
)
UTM = ("source", "medium", "campaign", "term", "content")
SEARCH_ENGINES = frozenset("google bing duckduckgo yahoo ecosia baidu yandex qwant startpage brave naver".split())
# Click id -> source and medium of who came with it and no UTM.
CLICKS = {
    "gclid": ("google", "cpc"), "gbraid": ("google", "cpc"), "wbraid": ("google", "cpc"),
    "dclid": ("google", "display"),
    "msclkid": ("bing", "cpc"), "fbclid": ("facebook", "social"), "ttclid": ("tiktok", "paid_social"),
    "li_fat_id": ("linkedin", "paid_social"), "twclid": ("twitter", "paid_social"),
    "epik": ("pinterest", "paid_social"),
    "sccid": ("snapchat", "paid_social"), "rdt_cid": ("reddit", "paid_social"), "irclickid": ("impact", "affiliate"),
}  # fmt: skip


_TOLD = CLICKS.keys() | {f"utm_{name}" for name in UTM}
_UNSAFE = re.compile(r'[<>"`\x00-\x1f\x7f]')


class Source(NamedTuple):
    """`source` None: direct. `click_id`: the name of the one it came with."""

    source: str | None = None
    medium: str | None = None
    click_id: str | None = None


def host_of(address: str | None) -> str | None:
    try:
        host = urlsplit(address or "").hostname
    except ValueError:
        return None
    return host.removeprefix("www.").rstrip(".").lower() if host else None


def query_of(address: str | None) -> dict[str, str]:
    """The parameters of an address that a session's source is told by; what could be script is left out. A click id
    may be empty: that of a visitor who denied advertising still says that it was an ad."""
    try:
        found = parse_qsl(urlsplit(address or "").query, keep_blank_values=True, max_num_fields=100)
    except ValueError:
        return {}
    told = [(name, value) for name, value in found if name in CLICKS or (name in _TOLD and value)]
    return {name: value for name, value in told if not _UNSAFE.search(value)}


def is_below(host: str, domains: Iterable[str]) -> bool:
    """Whether a host is one of some domains, or below one."""
    parts = host.split(".")
    known = domains if isinstance(domains, frozenset | set) else frozenset(domains)
    return any(".".join(parts[place:]) in known for place in range(len(parts)))


def takes_no_credit(referrer: str | None, own: Iterable[str] = ()) -> bool:
    """Whether a referrer is a payment page; `own`: domains that the site adds."""
    host = host_of(referrer)
    return host is not None and (is_below(host, PAYMENT_PROVIDERS) or is_below(host, own))


def source_of(utm: Mapping[str, str], clicks: Iterable[str], referrer: str | None, landing: str | None) -> Source:
    """`clicks`: names of the click ids that this landing brought."""
    clicked = next((name for name in CLICKS if name in set(clicks)), None)
    if utm.get("source"):
        return Source(utm["source"], utm.get("medium"), clicked)
    if clicked is not None:
        return Source(*CLICKS[clicked], clicked)
    host = host_of(referrer)
    if host is None or host == host_of(landing):
        return Source()
    engine = next((part for part in host.split(".") if part in SEARCH_ENGINES), None)
    return Source(engine, "organic") if engine else Source(host, "referral")
