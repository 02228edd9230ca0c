"""Google Ads: conversions by the Data Manager API; by the older Google Ads API in the variant `upload`.

    v1/events:ingest              events of one conversion action; one that is wrong fails all, and Google says which
    :uploadClickConversions       the variant's; HTTP 200, and each row is judged alone
    :uploadConversionAdjustments  retractions of both, for the Data Manager API takes nothing back; each row alone

Each takes up to 2000 a request. Auth: an OAuth access token (`oauth.py`). What answers mean: `answers.py`.
Dedup: `transactionId` or `orderId` counts once a conversion action, for ever; it is the order's id for a purchase, else
the event's. Retrying is safe. Time: RFC 3339, or `yyyy-MM-dd HH:mm:ss+00:00`; up to 90 days old with a click id, 63
without. Money: JSON number, major units. A whole refund is a RETRACTION, part of one a RESTATEMENT of what is left.
Source: https://developers.google.com/data-manager/api and Google Ads API v26, read 2026-11-20.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any

from msgspec import Meta, Struct, structs

from postback.connectors import (
    ACCESS_TOKEN,
    Connector,
    Endpoint,
    Grant,
    Item,
    Rate,
    Request,
    Skipped,
    always,
    consent,
    encode,
    host,
    is_retraction,
    sent_time,
)
from postback.connectors.google_ads import oauth, parts
from postback.connectors.google_ads.answers import interpret, interpret_probe
from postback.errors import Invalid
from postback.event import Event, JoinedEvent
from postback.secret import Secret

DATA_MANAGER, ADS = "https://datamanager.googleapis.com", "https://googleads.googleapis.com"
INGEST, UPLOAD, ADJUST = "events:ingest", "uploadClickConversions", "uploadConversionAdjustments"
ROWS = {UPLOAD: "conversions", ADJUST: "conversionAdjustments"}

MATCHED = frozenset({*parts.CLICK_IDS, "gcl_aw", "email_google_sha256", "phone_sha256"})
USER_DATA_AGE = timedelta(days=63)

Digits = Annotated[str, Meta(pattern=r"^[0-9]{1,20}\Z")]
Text = Annotated[str, Meta(min_length=1)]


class Config(Struct, frozen=True):
    """The credential is a refresh token with its OAuth client, or a service account's key file."""

    customer_id: Annotated[
        Digits,
        Meta(title="Customer id", description="The account that owns the conversion actions, its digits only."),
    ]
    conversion_actions: Annotated[
        dict[str, Digits],
        Meta(
            title="Conversion actions",
            description='Id of the conversion action by event name, such as {"purchase": "555666777"}; the id is ctId '
            "in the address of its page under Goals > Conversions. Events without one are skipped.",
            min_length=1,
        ),
    ]
    client_id: Annotated[
        Text | None,
        Meta(title="OAuth client id", description="Google Cloud > APIs and services > Credentials."),
    ] = None
    client_secret: Annotated[
        Secret | None,
        Meta(title="OAuth client secret", description="Beside the client id."),
    ] = None
    refresh_token: Annotated[
        Secret | None,
        Meta(
            title="Refresh token",
            description="Of a user with access to the account, given to this client for the scopes datamanager and "
            "adwords.",
        ),
    ] = None
    service_account: Annotated[
        Secret | None,
        Meta(
            title="Service account key",
            description="The whole JSON key file, in place of client and refresh token.",
        ),
    ] = None
    login_customer_id: Annotated[
        Digits | None,
        Meta(title="Manager id", description="Where access is by way of a manager account, its digits only."),
    ] = None
    validate_only: Annotated[
        bool,
        Meta(
            title="Validate only",
            description="Google says what is wrong and records nothing.",
            extra={"advanced": True},
        ),
    ] = False
    retractions: Annotated[
        bool,
        Meta(
            title="Send retractions",
            description="Take refunded and cancelled orders back, by the Google Ads API; needs the scope adwords.",
            extra={"advanced": True},
        ),
    ] = True
    quota_project: Annotated[
        Annotated[str, Meta(pattern=r"^[a-z0-9:.-]{1,100}\Z")] | None,
        Meta(
            title="Quota project",
            description="The Google Cloud project to charge calls to, where Google asks for one.",
            extra={"advanced": True},
        ),
    ] = None
    developer_token: Annotated[
        Secret | None,
        Meta(
            title="Developer token",
            description="Google ignores it since September 2026; sent to the Google Ads API if given.",
            extra={"advanced": True},
        ),
    ] = None
    api_version: Annotated[
        str,
        Meta(
            title="API version",
            description="Version of the Google Ads API.",
            pattern=r"^v[0-9]{1,3}\Z",
            extra={"advanced": True},
        ),
    ] = "v26"
    endpoint: Endpoint = None

    def __post_init__(self) -> None:
        user = {field: getattr(self, field) for field in ("client_id", "client_secret", "refresh_token")}
        given = [field for field, value in user.items() if value is not None]
        if self.service_account is not None:
            if given:
                raise Invalid(f"Give service_account or {given[0]}, not both.", field=f"config.{given[0]}")
            oauth.check_key_file(self.service_account)
        elif missing := [field for field in user if field not in given]:
            rest = "client_id, client_secret and refresh_token go together; or give service_account"
            raise Invalid(f"{missing[-1]} is missing: {rest}.", field=f"config.{missing[-1]}")


class _Fit(Struct, frozen=True):
    """The conversion action, the click, and what Google knows a person by."""

    action: str
    click: dict[str, str]
    users: list[dict[str, Any]]


def build(event: JoinedEvent, config: Config, now: datetime) -> Item | Skipped:
    """One event for the Data Manager API, or a retraction; Skipped where Google could match it to nobody."""
    if is_retraction(event):
        return _adjustment(event, config, now)
    fit = _fit(event, config, now, with_address=True)
    if isinstance(fit, Skipped):
        return fit
    body: dict[str, Any] = {
        "transactionId": parts.transaction_id(event),
        "eventTimestamp": parts.rfc3339(sent_time(event, now)),
        "eventSource": parts.source(event),
    }
    if event.value is not None:
        body |= {"conversionValue": event.value.amount, "currency": event.value.currency}
    if fit.click:
        body["adIdentifiers"] = fit.click
    if fit.users:
        body["userData"] = {"userIdentifiers": fit.users}
    if said := consent(event, {"adUserData": "ad_user_data", "adPersonalization": "ad_personalization"}, "CONSENT_"):
        body["consent"] = said
    return _item(body, INGEST, fit.action)


def build_upload(event: JoinedEvent, config: Config, now: datetime) -> Item | Skipped:
    """One event for the Google Ads API, or a retraction."""
    if is_retraction(event):
        return _adjustment(event, config, now)
    fit = _fit(event, config, now, with_address=False)
    if isinstance(fit, Skipped):
        return fit
    body: dict[str, Any] = {
        "conversionAction": _resource(config, fit.action),
        "conversionDateTime": parts.ads_time(sent_time(event, now)),
        "orderId": parts.transaction_id(event),
        **fit.click,
    }
    if event.value is not None:
        body |= {"conversionValue": event.value.amount, "currencyCode": event.value.currency}
    if fit.users:
        hashed = {"emailAddress": "hashedEmail", "phoneNumber": "hashedPhoneNumber"}
        body["userIdentifiers"] = [{hashed[name]: value for name, value in user.items()} for user in fit.users]
    if said := consent(event, {"adUserData": "ad_user_data"}):
        body["consent"] = said
    if (source := parts.source(event)) in ("WEB", "APP"):
        body["conversionEnvironment"] = source
    return _item(body, UPLOAD)


def pack(items: Sequence[Item], config: Config, now: datetime) -> Request:
    """Items of one call; to the Data Manager API, of one conversion action too."""
    call, action = items[0].group  # type: ignore[misc]  # as `_item` makes it
    rows = [item.body for item in items]
    headers = {"authorization": f"Bearer {ACCESS_TOKEN}"}
    if call == INGEST:
        destination: dict[str, Any] = {"operatingAccount": _account(config.customer_id), "productDestinationId": action}
        if config.login_customer_id:
            destination["loginAccount"] = _account(config.login_customer_id)
        if config.quota_project:
            headers["x-goog-user-project"] = config.quota_project
        body = {"destinations": [destination], "encoding": "HEX", "validateOnly": config.validate_only, "events": rows}
        return Request(method="POST", url=f"{host(config, DATA_MANAGER)}/v1/{INGEST}", json=body, headers=headers)
    if config.login_customer_id:
        headers["login-customer-id"] = config.login_customer_id
    if config.developer_token:
        headers["developer-token"] = str(config.developer_token)
    url = f"{host(config, ADS)}/{config.api_version}/customers/{config.customer_id}:{call}"
    body = {ROWS[call]: rows, "partialFailure": True, "validateOnly": config.validate_only}
    return Request(method="POST", url=url, json=body, headers=headers)


def probe(config: Config, now: datetime) -> Request:
    """One event of nobody, which Google validates and does not record."""
    body = {
        "transactionId": "postback-probe",
        "eventTimestamp": parts.rfc3339(now),
        "eventSource": "OTHER",
        "userData": {"userIdentifiers": [{"emailAddress": "0" * 64}]},
    }
    return pack([_item(body, INGEST, _any_action(config))], structs.replace(config, validate_only=True), now)


def probe_upload(config: Config, now: datetime) -> Request:
    """The same for the Google Ads API."""
    body = {
        "conversionAction": _resource(config, _any_action(config)),
        "conversionDateTime": parts.ads_time(now),
        "orderId": "postback-probe",
        "userIdentifiers": [{"hashedEmail": "0" * 64}],
    }
    return pack([_item(body, UPLOAD)], structs.replace(config, validate_only=True), now)


def _item(body: dict[str, Any], call: str, action: str = "") -> Item:
    return Item(body, group=(call, action), size=len(encode(body)))


def _fit(event: JoinedEvent, config: Config, now: datetime, *, with_address: bool) -> _Fit | Skipped:
    action = config.conversion_actions.get(event.source_name) or config.conversion_actions.get(event.name)
    if action is None:
        return Skipped("no conversion action for this event")
    click = parts.click(event, now)
    hashes = {"emailAddress": event.user.get("email_google_sha256"), "phoneNumber": event.user.get("phone_sha256")}
    users: list[dict[str, Any]] = [{name: value} for name, value in hashes.items() if value]
    if with_address and (address := parts.address(event)):
        users.append({"address": address})
    if not click and not users:
        return Skipped("no identifier that Google can match")
    if not click and now - event.occurred_at > USER_DATA_AGE:
        return Skipped("expired: without a click id Google takes events up to 63 days old")
    return _Fit(action, click, users)


def _adjustment(event: JoinedEvent, config: Config, now: datetime) -> Item | Skipped:
    """The retraction of a whole order; of part of one the order's new value, where that is known."""
    if not config.retractions:
        return Skipped("no retraction: switched off in this destination")
    actions = config.conversion_actions
    if not (action := actions.get(event.source_name) or actions.get(event.name) or actions.get("purchase")):
        return Skipped("no conversion action for this event")
    if not (event.order and event.order.id):
        return Skipped("refund needs order_id")
    body: dict[str, Any] = {
        "adjustmentType": "RETRACTION",
        "conversionAction": _resource(config, action),
        "orderId": event.order.id,
        "adjustmentDateTime": parts.ads_time(sent_time(event, now)),
    }
    if event.name == "refund" and event.value is not None:
        if event.order_left is None:
            return Skipped("the order that this refunds a part of is not known")
        if event.order_left.amount > 0:
            left = {"adjustedValue": event.order_left.amount, "currencyCode": event.order_left.currency}
            body |= {"adjustmentType": "RESTATEMENT", "restatementValue": left}
    return _item(body, ADJUST)


def _resource(config: Config, action: str) -> str:
    return f"customers/{config.customer_id}/conversionActions/{action}"


def _account(customer_id: str) -> dict[str, str]:
    return {"accountType": "GOOGLE_ADS", "accountId": customer_id}


def _any_action(config: Config) -> str:
    return next(iter(config.conversion_actions.values()))


def _max_age(event: Event) -> timedelta | None:
    """A retraction's is that of its conversion, which Google knows."""
    return None if is_retraction(event) else parts.CLICK_AGE


def _token_request(config: Config, now: datetime) -> Request:
    server = host(config, oauth.HOST)
    if config.service_account is not None:
        return oauth.by_key_file(server, config.service_account, now)
    return oauth.by_refresh_token(server, str(config.client_id), str(config.client_secret), str(config.refresh_token))


UPLOADING = Connector(
    name="google_ads",
    variant="upload",
    advice="For projects that uploaded to the Google Ads API before 2026.",
    title="Google Ads",
    category="advertising",
    about="Tells Google Ads which clicks became conversions, what they were worth, and what was taken back.",
    config=Config,
    build=build_upload,
    pack=pack,
    interpret=interpret,
    identifiers=MATCHED,
    docs="https://developers.google.com/google-ads/api/docs/conversions/upload-offline",
    consent=frozenset({"ad_user_data"}),
    max_items=2000,
    max_bytes=5_000_000,
    max_age=_max_age,
    repeat_is_safe=always,
    retracts=True,
    click_id_ages=dict.fromkeys(parts.CLICK_IDS, parts.CLICK_AGE),
    # As long as a retraction waits for the conversion that it takes back.
    give_up_after=timedelta(days=3),
    rate=Rate(5, concurrency=4),  # 300 a minute for each Google Cloud project
    probe=probe_upload,
    interpret_probe=interpret_probe,
    token=Grant(
        fields=("client_id", "client_secret", "refresh_token", "service_account", "endpoint"),
        request=_token_request,
        interpret=oauth.interpret,
    ),
)
CONNECTOR = structs.replace(
    UPLOADING,
    build=build,
    identifiers=MATCHED | parts.ADDRESS,
    docs="https://developers.google.com/data-manager/api",
    private=frozenset({"regionCode", "postalCode"}),
    probe=probe,
    variant="default",
    variants=(UPLOADING,),
    advice="For new projects: Google closed the older upload to them.",
)
