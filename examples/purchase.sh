#!/bin/sh
# A purchase by curl. The event_id is your own: sent again, it counts once.
set -eu

curl -sS --fail-with-body --retry 5 --retry-connrefused "$POSTBACK_URL/v1/events" \
  -H "Authorization: Bearer $POSTBACK_KEY" \
  -H 'Content-Type: application/json' \
  -d '{
    "event": "purchase",
    "event_id": "order-1002",
    "order_id": "1002",
    "value": 129.90,
    "currency": "EUR",
    "user_data": {"email": "jane@example.com"}
  }'
echo

curl -sS --fail-with-body "$POSTBACK_URL/v1/events/order-1002" -H "Authorization: Bearer $POSTBACK_KEY"
echo
