"""What leaves with a connector's request is what it declares; what is secret or private is never shown."""

from typing import Any

from msgspec.structs import replace

from postback import secret
from postback.connectors import Connector, Item, encode
from postback.event import IDENTIFIERS, READABLE
from postback.secret import MASK
from tests.connectors.fixture import each_connector, fixture_of
from tests.connectors.planted import PLANTED, every_config, packed, planted_event, sent_text


@each_connector
def test_no_identifier_leaves_that_the_connector_does_not_declare(connector: Connector) -> None:
    for config in every_config(connector):
        sent = sent_text(packed(connector, config, planted_event()))
        undeclared = IDENTIFIERS - connector.leaving(config)
        assert undeclared
        assert {name for name in undeclared if PLANTED[name] in sent} == set()


@each_connector
def test_each_identifier_that_a_connector_declares_leaves_or_makes_one_that_does(connector: Connector) -> None:
    whole = planted_event()
    # Of several click ids some platforms take one.
    alone = [replace(whole, click_ids={name: value}) for name, value in whole.click_ids.items()]
    makes = fixture_of(connector).makes
    for config in every_config(connector):
        sent = "".join(
            sent_text(packed(connector, config, event))
            for event in [whole, *alone]
            if isinstance(connector.build(event, config, event.received_at), Item)
        ).lower()
        declared = connector.leaving(config)
        left = {name for name in declared if PLANTED[name].lower() in sent}
        assert {name for name in declared - left if makes.get(name) not in left} == set()


@each_connector
def test_a_log_masked_by_the_private_keys_shows_nothing_readable(connector: Connector) -> None:
    def hide(value: Any, key: str = "") -> Any:
        match value:
            case dict():
                return {name: hide(held, name) for name, held in value.items()}
            case list():
                return [hide(held, key) for held in value]
            case _:
                return MASK if key in connector.private else value

    for config in every_config(connector):
        request = packed(connector, config, planted_event())
        logged = encode(hide(request.json)).decode().lower()
        assert {name for name in READABLE if PLANTED[name].lower() in logged} == set()


@each_connector
def test_a_request_holds_stand_ins_for_secrets_never_their_values(connector: Connector) -> None:
    fixture = fixture_of(connector)
    for config in every_config(connector):
        secrets = secret.of(config)
        requests = [packed(connector, config, planted_event())]
        if connector.probe:
            requests.append(connector.probe(config, fixture.now))
        for request in requests:
            sent = sent_text(request) + repr(request)
            assert not [one for one in secrets if one.reveal() in sent]
