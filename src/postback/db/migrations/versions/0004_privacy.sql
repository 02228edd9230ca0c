-- Privacy: erasures, the tombstones that keep an erased person from coming back, how far upkeep came.

ALTER TABLE workspace ADD erased_at timestamptz;    -- of the newest erasure: events that occurred later need no look-up

-- What somebody asked to erase, and what was removed. status: running -> done. Whoever has the lease of its bucket runs
-- it; each step locks the row, and writes what it did and how far it came in one transaction.
CREATE TABLE erasure (
    bucket          int NOT NULL,
    id              uuid NOT NULL,              -- UUIDv7: its time is when it was asked for
    workspace_id    uuid NOT NULL,
    kind            text NOT NULL,              -- email, phone, external_id, user_id, visitor_id
    subject         bytea NOT NULL,             -- MAC of what was asked for
    status          text NOT NULL,
    state           bytea,                      -- JSON of privacy.erasures.State; null once done
    removed         jsonb NOT NULL,             -- {what: rows}
    receipt         text,                       -- JSON, as it was signed
    signature       bytea,                      -- Ed25519
    created_by      text NOT NULL,
    changed_at      timestamptz NOT NULL,
    PRIMARY KEY (bucket, id)
);

-- Identifiers of erased people: what occurred before the erasure and bears one is taken without its person. Never
-- trimmed. key: MAC of (workspace, kind, value) under the installation's link key, as in `link`.
CREATE TABLE tombstone (
    bucket          int NOT NULL,
    key             uuid NOT NULL,
    is_seed         boolean NOT NULL,           -- it was asked for; else it was found beside what was
    erased_at       timestamptz NOT NULL,
    PRIMARY KEY (bucket, key)
) WITH (fillfactor = 85);

-- How far slow upkeep came in a bucket: which rows it is done with. task: what, and for which key or age.
CREATE TABLE upkeep (
    bucket          int NOT NULL,
    task            text NOT NULL,
    position        uuid NOT NULL,              -- the last row that was seen
    done_at         timestamptz,                -- when it first came to the end
    PRIMARY KEY (bucket, task)
);
