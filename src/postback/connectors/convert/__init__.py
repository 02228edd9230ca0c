"""Convert, A/B testing: goal conversions of visitors who were put into an experiment.

Two ways, as variants. `default` posts to the address of the REST API, one conversion a request, the API key as bearer:
`{"goal_id", "visitor_id", "revenue", "transaction_id", "bucketing"}`. `tracking` posts what Convert's own SDKs post to
the metrics host, up to 100 of its events a request: `{"accountId", "projectId", "enrichData", "source", "visitors":
[{"visitorId", "segments", "events"}]}`; without an agent that begins with `ConvertAgent/` it answers 200 and drops all.
A conversion counts only for a visitor who was bucketed; one of whom nothing is known is sent, and noted.
Dedup: none, it is ours: `tracking` sends a goal once a visitor, and its revenue once an order. Repeating is never safe.
Time: that of arrival, none is sent. Money: JSON number, in the project's currency, which is not sent. No retraction.
Answers 200 `{"code", "message"}`, which proves receipt alone; else 4xx, for the whole request.
Source: https://api.convert.com/doc/serving, version 1.1.0, and the SDKs of github.com/convertcom, read 2026-11-20.
"""

from msgspec.structs import replace

from postback.connectors.convert.default import DEFAULT
from postback.connectors.convert.tracking import TRACKING

CONNECTOR = replace(DEFAULT, variants=(TRACKING,))
