"""A dry run shows the exact request, masked, and sends nothing."""

from datetime import UTC, datetime

import msgspec

from postback import destinations
from postback.delivery import preview
from postback.event import Event
from postback.queue.sending import StoredEvent
from postback.secret import MASK
from tests.delivery.delivering import Hub

NOW = datetime.now(UTC)


async def test_a_dry_run_shows_what_each_destination_would_get(hub: Hub) -> None:
    meta = await hub.install("meta", dataset_id="123", access_token="EAAB-token")
    webhook = await hub.install("webhook", url="https://example.com/in", secret="whsec_AAECAwQFBgcICQoLDA0ODw==")
    await hub.install("acme", url="https://example.com", token="t0ken")
    event = Event(
        event_id="e1",
        name="lead",
        source_name="lead",
        occurred_at=NOW,
        dialect="native",
        user={"email_sha256": "a" * 64},
    )
    readable = {"client_ip_address": "203.0.113.5", "client_user_agent": "Firefox 1"}
    sealed = hub.vault.sealer.seal(msgspec.json.encode(readable))
    stored = StoredEvent(bytes(16), hub.workspace.id.bytes, msgspec.json.encode(event), sealed, None)
    known = await destinations.of_workspaces(hub.tx, hub.vault.sealer, [hub.workspace.id])
    shown = {one.destination.id: one for one in preview.show(stored, known, hub.vault, NOW)}
    one = shown[meta.id]
    assert (one.status, one.reason) == ("queued", None)
    assert one.request is not None
    assert one.request["method"] == "POST"
    assert one.request["url"] == "https://graph.facebook.com/v26.0/123/events"
    assert one.request["body"]["access_token"] == MASK
    user = one.request["body"]["data"][0]["user_data"]
    assert user == {"em": ["a" * 64], "client_user_agent": "[private]", "client_ip_address": "[private]"}
    one = shown[webhook.id]
    assert one.request is not None
    assert one.request["headers"]["webhook-id"].startswith("msg_")
    assert one.request["body"]["type"] == "event.lead"
    assert "EAAB-token" not in str(shown)
    assert await hub.rows() == []


async def test_a_dry_run_says_why_nothing_would_be_sent(hub: Hub) -> None:
    to = await hub.install("acme", url="https://example.com", token="t0ken")
    event = Event(event_id="e1", name="unfit", source_name="unfit", occurred_at=NOW, dialect="native")
    stored = StoredEvent(bytes(16), hub.workspace.id.bytes, msgspec.json.encode(event), None, None)
    [one] = preview.show(stored, [to], hub.vault, NOW)
    assert (one.status, one.reason, one.request) == ("skipped", "no Acme event for this name", None)
