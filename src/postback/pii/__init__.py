"""Personal data: normalise, hash, seal. The one door from `RawEvent`, which may hold plaintext, to `Event`.

Runs once for every event, on the request's way: no copy, no import and no hash that is not needed. Reads no clock and
no randomness: `now`, ids and the source of nonces are arguments.
"""

from postback.pii.doors import MAX_DEPTH, masked, stored_id, without_clicks
from postback.pii.identify import click_ids
from postback.pii.protect import Protected, SiteFacts, protect, reveal
from postback.pii.seal import Sealer, SealError, Vault, link_key, new_key, parse_keys

__all__ = [
    "MAX_DEPTH", "Protected", "SealError", "Sealer", "SiteFacts", "Vault", "click_ids", "link_key", "masked", "new_key",
    "parse_keys", "protect", "reveal", "stored_id", "without_clicks",
]  # fmt: skip
