-- Reports: what the worker counts of each hour, and which hours it has to count again.

-- What one bucket received in one hour (UTC), by all that reports are cut by; counted anew and replaced as a whole.
-- kind: conversion; session (its start); delivery, by destination and status; event, by site, and those that were
-- collisions. What does not apply is null.
CREATE TABLE rollup (
    bucket          int NOT NULL,
    received_hour   timestamptz NOT NULL,
    kind            text NOT NULL CHECK (kind IN ('conversion', 'session', 'delivery', 'event')),
    place           int NOT NULL,               -- its number among the rows of this kind
    workspace_id    uuid NOT NULL,
    day             date NOT NULL,              -- of `hour`, in the site's time zone
    hour            timestamptz NOT NULL,       -- when it occurred: the start of an hour of the site's clock
    site_id         uuid,
    goal_id         bigint,
    source          text,                       -- of a conversion: its last touch's; null: direct
    medium          text,
    campaign        text,
    label           text,                       -- the sender's
    currency        text,
    destination_id  uuid,
    status          text,
    n               bigint NOT NULL,
    converted       bigint NOT NULL,            -- sessions that had a conversion of this goal
    converted_any   bigint NOT NULL,            -- the same, each in the row of its first goal alone
    revenue         numeric NOT NULL,           -- net of refunds
    PRIMARY KEY (bucket, received_hour, kind, place)
);
CREATE INDEX rollup_hour ON rollup (bucket, workspace_id, hour);

-- The same, summed over buckets and hours of arrival, in the workspace's home bucket; and these by the site's day.
CREATE TABLE hourly (
    bucket          int NOT NULL,
    workspace_id    uuid NOT NULL,
    hour            timestamptz NOT NULL,
    day             date NOT NULL,
    place           int NOT NULL,
    kind            text NOT NULL,
    site_id         uuid,
    goal_id         bigint,
    source          text,
    medium          text,
    campaign        text,
    label           text,
    currency        text,
    destination_id  uuid,
    status          text,
    n               bigint NOT NULL,
    converted       bigint NOT NULL,
    converted_any   bigint NOT NULL,
    revenue         numeric NOT NULL,
    PRIMARY KEY (bucket, workspace_id, hour, place)
);
CREATE TABLE daily (
    bucket          int NOT NULL,
    workspace_id    uuid NOT NULL,
    day             date NOT NULL,
    place           int NOT NULL,
    kind            text NOT NULL,
    site_id         uuid,
    goal_id         bigint,
    source          text,
    medium          text,
    campaign        text,
    label           text,
    currency        text,
    destination_id  uuid,
    status          text,
    n               bigint NOT NULL,
    converted       bigint NOT NULL,
    converted_any   bigint NOT NULL,
    revenue         numeric NOT NULL,
    PRIMARY KEY (bucket, workspace_id, day, place)
);

-- Hours of a bucket to count again from due_at on. Whoever changes what is old adds a row with an id of its own; the
-- worker deletes those that it has read.
CREATE TABLE dirty_hour (
    bucket          int NOT NULL,
    hour            timestamptz NOT NULL,
    id              uuid NOT NULL,
    due_at          timestamptz NOT NULL,
    PRIMARY KEY (bucket, hour, id)
);
CREATE INDEX dirty_hour_due ON dirty_hour (bucket, due_at);

-- Hours of `hourly` to sum again, likewise.
CREATE TABLE dirty_total (
    bucket          int NOT NULL,
    workspace_id    uuid NOT NULL,
    hour            timestamptz NOT NULL,
    id              uuid NOT NULL,
    PRIMARY KEY (bucket, workspace_id, hour, id)
);

-- Up to where a bucket's hours were counted after they had ended.
CREATE TABLE rollup_clock (
    bucket          int PRIMARY KEY,
    closed_until    timestamptz NOT NULL
);

CREATE INDEX touch_id ON touch (bucket, id);
CREATE INDEX usage_hour ON usage (bucket, hour);
