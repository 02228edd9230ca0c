-- The spine: who may send (control plane), what was sent and where it goes (data plane).
--
-- Control plane: small, reference tables on Citus, never locked, never hot.
-- Data plane: `bucket` leads every primary key (see `bucket` below); ids are UUIDv7 whose last 6 bits name the bucket.

CREATE TABLE installation (
    id              int PRIMARY KEY CHECK (id = 1),
    environment     text NOT NULL CHECK (environment IN ('live', 'test')),
    seal_check      bytea NOT NULL,             -- a known text, sealed: a key that does not open it stops the start
    link_key        bytea NOT NULL,             -- sealed; every link key is a MAC under it; does not rotate
    created_at      timestamptz NOT NULL
);

CREATE TABLE workspace (
    id              uuid PRIMARY KEY,
    name            text NOT NULL,
    organization_id text NOT NULL UNIQUE,
    created_at      timestamptz NOT NULL
);

CREATE TABLE site (
    id              uuid PRIMARY KEY,
    workspace_id    uuid NOT NULL REFERENCES workspace,
    name            text NOT NULL,
    site_key        text NOT NULL UNIQUE,
    country         text,                       -- ISO 3166-1 alpha-2: the region of phone numbers without a plus
    currency        text NOT NULL DEFAULT 'USD',
    timezone        text NOT NULL DEFAULT 'UTC',
    created_at      timestamptz NOT NULL
);
CREATE INDEX site_workspace ON site (workspace_id);

CREATE TABLE account (
    id              uuid PRIMARY KEY,
    email           text NOT NULL UNIQUE,
    password_hash   text NOT NULL,              -- argon2id
    created_at      timestamptz NOT NULL
);

CREATE TABLE membership (
    account_id      uuid NOT NULL REFERENCES account,
    workspace_id    uuid NOT NULL REFERENCES workspace,
    role            text NOT NULL CHECK (role IN ('owner', 'admin', 'analyst', 'read_only')),
    PRIMARY KEY (account_id, workspace_id)
);

CREATE TABLE api_key (
    id              uuid PRIMARY KEY,
    workspace_id    uuid NOT NULL REFERENCES workspace,
    site_id         uuid REFERENCES site,       -- null: any site of the workspace
    label           text NOT NULL,
    prefix          text NOT NULL,
    environment     text,                       -- live, test; null where the prefix has none
    secret_sha256   bytea NOT NULL UNIQUE,      -- of the whole key
    last_four       text NOT NULL,
    scopes          text[] NOT NULL,
    created_at      timestamptz NOT NULL,
    expires_at      timestamptz,
    revoked_at      timestamptz                 -- may lie ahead: rotation with grace
);
CREATE INDEX api_key_workspace ON api_key (workspace_id);

CREATE TABLE destination (
    id              uuid PRIMARY KEY,
    workspace_id    uuid NOT NULL REFERENCES workspace,
    connector       text NOT NULL,
    variant         text NOT NULL DEFAULT 'default',
    name            text NOT NULL,
    config          bytea NOT NULL,             -- JSON, sealed as a whole
    delivery_mode   text NOT NULL DEFAULT 'server_side' CHECK (delivery_mode = 'server_side'),
    created_at      timestamptz NOT NULL,
    removed_at      timestamptz                 -- set: no new deliveries; open ones end as skipped
);
CREATE INDEX destination_workspace ON destination (workspace_id);

-- The 64 buckets, numbered so that they fall evenly on 2 to 64 shards. Multi-bucket statements join this table.
CREATE TABLE bucket (bucket int PRIMARY KEY);
INSERT INTO bucket SELECT unnest(ARRAY[
    60, 8, 82, 1, 31, 88, 79, 24, 10, 92, 48, 109, 5, 112, 50, 166, 4, 7, 17, 172, 16, 96, 170, 85, 36, 89, 19, 0, 37,
    45, 101, 3, 113, 52, 62, 99, 136, 168, 46, 28, 6, 66, 70, 21, 83, 39, 43, 13, 2, 351, 27, 95, 58, 149, 41, 179, 9,
    80, 59, 22, 12, 11, 44, 18]);

-- One row a workspace in every bucket. A flush reads one FOR SHARE; whoever changes keys or destinations updates all,
-- and so waits for the flushes under way.
CREATE TABLE config_version (
    bucket          int NOT NULL,
    workspace_id    uuid NOT NULL,
    version         bigint NOT NULL,
    PRIMARY KEY (bucket, workspace_id)
);

-- One row an event. key: 10 bytes of the hash of (workspace, space, id), 6 of that of the name.
CREATE TABLE dedup (
    bucket          int NOT NULL,
    key             uuid NOT NULL,
    event_id        uuid NOT NULL,
    answer_id       uuid,
    body_hash       bigint NOT NULL,            -- of value, currency, order id, order status: tells a collision
    PRIMARY KEY (bucket, key)
);

-- What a browser or a server said of a visitor. key: hash of (workspace, visitor id).
CREATE TABLE visitor (
    bucket          int NOT NULL,
    key             uuid NOT NULL,
    workspace_id    uuid NOT NULL,
    identifiers     jsonb NOT NULL,             -- {name: [value, first seen, unix ms]}: hashes and click ids
    sealed          bytea,                      -- the readable ones, as last seen
    first_seen_at   timestamptz NOT NULL,
    last_seen_at    timestamptz NOT NULL,
    PRIMARY KEY (bucket, key)
) WITH (fillfactor = 85);

-- Which visitor an identifier belongs to. key: MAC of (workspace, kind, value) under the installation's link key.
CREATE TABLE link (
    bucket          int NOT NULL,
    key             uuid NOT NULL,
    visitor_key     uuid NOT NULL,
    seen_at         timestamptz NOT NULL,
    PRIMARY KEY (bucket, key)
) WITH (fillfactor = 85);

CREATE TABLE event (
    bucket          int NOT NULL,
    id              uuid NOT NULL,              -- UUIDv7: its time is when we received it
    workspace_id    uuid NOT NULL,
    site_id         uuid,
    name            text NOT NULL,
    event_id        text NOT NULL,              -- the sender's
    order_id        text,
    body            bytea NOT NULL,             -- JSON of event.Event
    sealed          bytea,                      -- readable personal data, AES-GCM
    visitor_key     uuid,                       -- the visitor's row, where a visitor id was sent
    notes           text[],                     -- added later: collision
    PRIMARY KEY (bucket, id)
) PARTITION BY RANGE (id);

-- status: queued -> delivered | retrying | skipped | failed; retrying -> delivered | retrying | skipped | failed;
-- failed, skipped, delivered -> queued by replay. A row whose destination is held reads as held.
CREATE TABLE delivery (
    bucket          int NOT NULL,
    event_id        uuid NOT NULL,
    destination_id  uuid NOT NULL,
    status          text NOT NULL,
    attempt         int NOT NULL DEFAULT 0,     -- tries ever: the number of the last one
    tries           int NOT NULL DEFAULT 0,     -- since it was last queued: a replay waits and gives up anew
    tried_at        timestamptz,                -- the first of these
    due_at          timestamptz NOT NULL,
    reason          text,
    fix             text,
    settled_at      timestamptz,
    PRIMARY KEY (bucket, event_id, destination_id)
) PARTITION BY RANGE (event_id);
CREATE INDEX delivery_open ON delivery (bucket, destination_id, due_at) WHERE status IN ('queued', 'retrying');

-- Every try: its key is written before it is sent, the rest when it ended. outcome null: under way, or the worker died.
CREATE TABLE attempt (
    bucket          int NOT NULL,
    event_id        uuid NOT NULL,
    destination_id  uuid NOT NULL,
    n               int NOT NULL,
    at              timestamptz NOT NULL,
    outcome         text,                       -- delivered, retry, failed, refused; unknown: may have arrived
    reason          text,
    status          int,                        -- HTTP
    latency_ms      int,
    head            text,                       -- method, url and headers, masked
    request         bytea,                      -- this event's part of the body, masked
    response        text,                       -- the answer's body, capped, masked
    PRIMARY KEY (bucket, event_id, destination_id, n)
) PARTITION BY RANGE (event_id);

-- What each writer accepted, by hour and destination: the ledger's other side. destination_id all zero: events.
CREATE TABLE usage (
    bucket          int NOT NULL,
    writer          uuid NOT NULL,
    hour            timestamptz NOT NULL,
    workspace_id    uuid NOT NULL,
    destination_id  uuid NOT NULL,
    n               bigint NOT NULL,
    PRIMARY KEY (bucket, writer, hour, workspace_id, destination_id)
) PARTITION BY RANGE (hour);

-- Deliveries of dropped partitions, counted before they went.
CREATE TABLE ledger_hour (
    bucket          int NOT NULL,
    hour            timestamptz NOT NULL,
    destination_id  uuid NOT NULL,
    status          text NOT NULL,
    reason          text NOT NULL,
    n               bigint NOT NULL,
    PRIMARY KEY (bucket, hour, destination_id, status, reason)
);

-- Who sends a bucket's deliveries. Each change of owner raises the epoch, which fences a late one.
CREATE TABLE lease (
    bucket          int PRIMARY KEY,
    owner           uuid,
    epoch           bigint NOT NULL DEFAULT 0,
    expires_at      timestamptz NOT NULL
);
INSERT INTO lease (bucket, expires_at) SELECT bucket, '2000-01-01' FROM bucket;

-- Workers alive, so that each knows its share. All in one bucket.
CREATE TABLE worker (
    bucket          int NOT NULL,
    id              uuid NOT NULL,
    seen_at         timestamptz NOT NULL,
    PRIMARY KEY (bucket, id)
);

-- A destination's changing state, in its home bucket. state: active <-> paused; active -> held -> active.
CREATE TABLE lane (
    bucket          int NOT NULL,
    destination_id  uuid NOT NULL,
    workspace_id    uuid NOT NULL,
    state           text NOT NULL DEFAULT 'active',
    reason          text,
    fix             text,
    rate            real,                       -- requests a second that 429 answers taught; null: the connector's
    not_before      timestamptz,                -- a platform's Retry-After
    changed_at      timestamptz NOT NULL,
    PRIMARY KEY (bucket, destination_id)
);

CREATE TABLE event_default PARTITION OF event DEFAULT;
CREATE TABLE delivery_default PARTITION OF delivery DEFAULT;
CREATE TABLE attempt_default PARTITION OF attempt DEFAULT;
CREATE TABLE usage_default PARTITION OF usage DEFAULT;
