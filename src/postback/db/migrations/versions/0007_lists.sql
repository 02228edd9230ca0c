-- What the dashboard lists: events by the key that sent them; orders, newest first; origins that were refused.

-- The API key's; of the tag's events the site's, whose public key they bear. Null: stored before this was kept.
ALTER TABLE event ADD key_id uuid;

-- No column of it ever changes, so that what becomes of an order is written beside it, without touching the index.
CREATE INDEX orders_listed ON orders (bucket, site_id, first_seen_at, key);

-- Pages whose tag was refused because their site does not name their origin: the last few, as each process knows them.
CREATE TABLE refused_origin (
    bucket          int NOT NULL,
    site_id         uuid NOT NULL,
    writer          uuid NOT NULL,
    place           int NOT NULL,
    origin          text NOT NULL,
    since           timestamptz NOT NULL,
    last_at         timestamptz NOT NULL,
    PRIMARY KEY (bucket, site_id, writer, place)
);
