"""Operations of `/collect`, from the structs that the tag's dialect decodes and encodes with."""

from postback.dialects import tag
from postback.errors import Forbidden, Invalid, MethodNotAllowed, TimedOut, TooLarge, TooMany, Unavailable, Unsupported
from postback.web.openapi.schemas import Refusal, Schema, Schemas, answer, refusals

_STATUSES = (
    400, Forbidden.status, MethodNotAllowed.status, TimedOut.status, TooLarge.status, Unsupported.status,
    Invalid.status, TooMany.status, Unavailable.status,
)  # fmt: skip
_AT = 1763719200123
EXAMPLE: Schema = {
    "site_key": "SITE_KEY",
    "sent_at": "2026-11-21T10:00:00.123Z",
    "visitor_id": "v_4fTzQ0bYw2Jx8Lk1Rn6Hc3",
    "session_id": "s_9aMvE5dUs7Po2Gi4Kq8Ty1",
    "session": {"started_at": "2026-11-21T09:59:58Z", "landing": "https://shop.example/?gclid=Cj0KCQ", "referrer": ""},
    "identifiers": {"gclid": {"value": "Cj0KCQ", "first": _AT, "last": _AT}},
    "consent": {"analytics": True, "ad_user_data": True},
    "events": [{"event": "page_view", "event_id": "e_1", "occurred_at": "2026-11-21T09:59:59Z"}],
}


def paths(schemas: Schemas) -> dict[str, Schema]:
    batch, taken = schemas.of(tag._Batch, "Tag"), schemas.of(tag.Taken, "Tag")
    time: Schema = {"description": "ISO 8601; without a zone: UTC."}
    own = {
        "site_key": {"type": "string", "description": "The site's public key."},
        "sent_at": {"description": "The browser's clock as it sent this; every time is corrected by it."},
        "visitor_id": {"description": "1 to 128 of A-Z a-z 0-9 . _ -; one of another form is replaced."},
        "session_id": {"description": "As visitor_id."},
        "session": {"description": "Of the session: started_at, landing, referrer."},
        "identifiers": {"description": "Name to value, first and last seen in milliseconds."},
        "utm": {"description": "source, medium, campaign, term, content, id; first and last seen in milliseconds."},
        "consent": {"description": "analytics, ad_user_data, ad_personalization; absent: not asked."},
        "link": {"description": "The pb_vid in the page's address."},
        "bot": {"description": "True: navigator.webdriver was seen."},
        "cookie": {"description": "Name of the visitor's cookie: _sgnl_vid, or one that begins with _pb_."},
        "events": {"type": "array", "maxItems": tag.MAX_EVENTS, "items": {"description": "See TagEvent."}},
    }
    schemas.change("TagBatch", own)
    schemas.change("TagEvent", {"occurred_at": time, "user_data": {"description": "SHA-256 by identifier name."}})
    content = {"schema": batch, "examples": {"landing": {"value": EXAMPLE}}}
    head: Schema = {"tags": ["browser"], "security": []}
    return {
        "/collect": {
            "post": {
                **head,
                "operationId": "collect",
                "summary": "The browser tag's events",
                "requestBody": {"required": True, "content": {"application/json": content, "text/plain": content}},
                "responses": {
                    "200": answer(taken, "Written down for good; what was rejected is named."),
                    **refusals(schemas.of(Refusal), _STATUSES),
                },
            },
            "options": {
                **head,
                "operationId": "collect_preflight",
                "summary": "What browsers ask before they post from another origin",
                "responses": {
                    "204": {"description": "They may ask. Whether this page may post is told by the post."},
                    **refusals(schemas.of(Refusal), (MethodNotAllowed.status,)),
                },
            },
        }
    }
