-- Lists: events by the key that sent them; orders, newest first.

-- The API key's; of the tag's events the site's, whose public key they bear. Null: stored before this was kept.
ALTER TABLE event ADD key_id uuid;

-- No column of it ever changes, so that what becomes of an order is written beside it, without touching the index.
CREATE INDEX orders_listed ON orders (bucket, site_id, first_seen_at, key);
