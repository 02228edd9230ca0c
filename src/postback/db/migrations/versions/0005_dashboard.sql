-- People: members, invitations, sessions, and what slows down guessing of passwords.

-- A membership is named by an id of its own, as an invitation is that it came from.
ALTER TABLE membership ADD COLUMN id uuid NOT NULL DEFAULT gen_random_uuid() UNIQUE;
ALTER TABLE membership ADD COLUMN created_at timestamptz NOT NULL DEFAULT now();

-- Open ones; accepted, it becomes a membership of the same id.
CREATE TABLE invitation (
    id              uuid PRIMARY KEY,
    workspace_id    uuid NOT NULL REFERENCES workspace,
    email           text NOT NULL,
    role            text NOT NULL CHECK (role IN ('owner', 'admin', 'analyst', 'read_only')),
    token_sha256    bytea NOT NULL UNIQUE,      -- of the link's token, which is nowhere else
    created_at      timestamptz NOT NULL,
    expires_at      timestamptz NOT NULL,
    UNIQUE (workspace_id, email)
);

-- A browser that is signed in. Which workspace and site it looks at belongs to it, and not to the account.
CREATE TABLE session (
    bucket          int NOT NULL,
    token_sha256    bytea NOT NULL,             -- of the cookie, which is nowhere else
    account_id      uuid NOT NULL REFERENCES account,
    workspace_id    uuid NOT NULL REFERENCES workspace,
    site_id         uuid,                       -- null: all sites
    created_at      timestamptz NOT NULL,
    seen_at         timestamptz NOT NULL,       -- to the hour
    expires_at      timestamptz NOT NULL,
    PRIMARY KEY (bucket, token_sha256)
);
CREATE INDEX session_account ON session (bucket, account_id);

-- Attempts to sign in that failed in a row, of an account or from an address.
CREATE TABLE sign_in (
    bucket          int NOT NULL,
    subject         bytea NOT NULL,             -- hash of the email or the address
    attempts        int NOT NULL,
    last_at         timestamptz NOT NULL,
    blocked_until   timestamptz NOT NULL,
    PRIMARY KEY (bucket, subject)
);
