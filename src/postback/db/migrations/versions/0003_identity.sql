-- Who was seen: identifiers with their times, links and all the visitors they lead to, touches.

-- identifiers: {name: [value, first seen, last seen (unix ms), dialect that said it first]}; also what the visitor was
-- put into (`experiment.<id>`) and chose (`consent.<purpose>`).
ALTER TABLE visitor
    ADD id              text,                   -- the visitor id, as it is stored in events
    ADD site_id         uuid,                   -- where the tag met it first
    ADD sealed_at       timestamptz,            -- when `sealed` was said
    ADD device          bytea,                  -- sealed: IP address and user agent that the tag came from, as last seen
    ADD device_at       timestamptz,
    ADD people          bigint NOT NULL DEFAULT 0;  -- one bit of 64 for each person seen; too many: a shared device
UPDATE visitor v
   SET identifiers = COALESCE((SELECT jsonb_object_agg(n.key, jsonb_build_array(n.value -> 0, n.value -> 1,
                                                                                n.value -> 1, 'native'))
                                 FROM jsonb_each(v.identifiers) n), '{}');

-- Which visitors an identifier belongs to. key: MAC of (workspace, kind, value) under the installation's link key; of
-- kind alias: 10 bytes of the hash of a visitor's key, 6 of the link that proves the others to be the same person.
-- kind: session, email, phone, external_id, alias, token (who took a pb_vid), reached.
ALTER TABLE link
    ADD others          uuid[],                 -- further visitors; past a limit it joins nobody
    ADD kind            text NOT NULL DEFAULT '',
    ADD origin          text NOT NULL DEFAULT '',   -- the dialect that said it first
    ADD first_seen_at   timestamptz;

-- What brought a visitor, and what the visitor did with a widget. kind session: its start; kind open: an interaction.
CREATE TABLE touch (
    bucket          int NOT NULL,
    visitor_key     uuid NOT NULL,
    id              uuid NOT NULL,              -- UUIDv7 of its time; a session's is made of the session id
    workspace_id    uuid NOT NULL,
    site_id         uuid,
    kind            text NOT NULL,
    session_id      text,
    at              timestamptz NOT NULL,
    source          text,                       -- null: direct
    medium          text,
    campaign        text,
    term            text,
    content         text,
    click_id        text,                       -- name of the click id that it came with
    referrer        text,                       -- without query
    landing         text,                       -- without query
    product         text,
    widget          text,
    placement       text,
    is_bot          boolean NOT NULL DEFAULT false,
    PRIMARY KEY (bucket, visitor_key, id)
) PARTITION BY RANGE (id);
CREATE TABLE touch_default PARTITION OF touch DEFAULT;

ALTER TABLE site
    ADD link_domains        text[] NOT NULL DEFAULT '{}',   -- links to these carry pb_vid
    ADD payment_referrers   text[] NOT NULL DEFAULT '{}';   -- besides the kept list
