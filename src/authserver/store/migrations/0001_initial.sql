-- One text for SQLite and PostgreSQL: TEXT and BIGINT only. Times are seconds since 1970, digests 64 hexadecimal digits,
-- lists JSON. Nothing here is a secret that works: of codes, tokens and cookies only the SHA-256 is kept. Where the
-- oldest rows make room, `number` says which they are: many are made in one second, and clocks are set back.

-- What an organization's next lease of status indexes starts from; list 0: there was none yet. Its row is also the lock
-- of everybody who gives or takes rights in the organization.
CREATE TABLE orgs (
    org TEXT PRIMARY KEY,
    list BIGINT NOT NULL,
    next_index BIGINT NOT NULL
);

CREATE TABLE users (
    org TEXT NOT NULL,
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    password_hash TEXT NOT NULL,
    member_of TEXT NOT NULL,
    disabled BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (org, id),
    UNIQUE (org, name)
);

-- number: counts the sessions of one user.
CREATE TABLE sessions (
    org TEXT NOT NULL,
    digest TEXT NOT NULL,
    user_id TEXT NOT NULL,
    number BIGINT NOT NULL,
    started_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (org, digest),
    FOREIGN KEY (org, user_id) REFERENCES users (org, id) ON DELETE CASCADE
);
CREATE INDEX sessions_of_user ON sessions (org, user_id);
CREATE INDEX sessions_by_expiry ON sessions (expires_at);

-- Browsers in which a user has signed in. number: counts the devices of one user.
CREATE TABLE devices (
    org TEXT NOT NULL,
    digest TEXT NOT NULL,
    user_id TEXT NOT NULL,
    number BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (org, digest),
    FOREIGN KEY (org, user_id) REFERENCES users (org, id) ON DELETE CASCADE
);
CREATE INDEX devices_of_user ON devices (org, user_id);
CREATE INDEX devices_by_expiry ON devices (expires_at);

CREATE TABLE consents (
    org TEXT NOT NULL,
    user_id TEXT NOT NULL,
    client TEXT NOT NULL,
    resource TEXT NOT NULL,
    scopes TEXT NOT NULL,
    offline BIGINT NOT NULL,
    fingerprint TEXT NOT NULL,
    destination TEXT NOT NULL,
    given_at BIGINT NOT NULL,
    PRIMARY KEY (org, user_id, client, resource),
    FOREIGN KEY (org, user_id) REFERENCES users (org, id) ON DELETE CASCADE
);
CREATE INDEX consents_of_client ON consents (org, client);

-- number: counts the grants of one user to one client. keep_until: no refresh or access token of the grant lives longer,
-- so then nobody asks for it any more. A user who has grants is not deleted: what revokes their tokens would go too.
CREATE TABLE grants (
    org TEXT NOT NULL,
    id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    client TEXT NOT NULL,
    number BIGINT NOT NULL,
    resources TEXT NOT NULL,
    offline BIGINT NOT NULL,
    list BIGINT NOT NULL,
    idx BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    keep_until BIGINT NOT NULL,
    revoked_at BIGINT,
    PRIMARY KEY (org, id),
    UNIQUE (org, list, idx),
    FOREIGN KEY (org, user_id) REFERENCES users (org, id) ON DELETE RESTRICT
);
CREATE INDEX grants_of_user ON grants (org, user_id, client);
CREATE INDEX grants_of_client ON grants (org, client);
CREATE INDEX grants_by_expiry ON grants (keep_until);
CREATE INDEX grants_revoked ON grants (org, list, idx) WHERE revoked_at IS NOT NULL;

-- A redeemed code stays as long as what came of it, so that its replay is known.
CREATE TABLE codes (
    org TEXT NOT NULL,
    digest TEXT NOT NULL,
    user_id TEXT NOT NULL,
    client TEXT NOT NULL,
    redirect_uri TEXT NOT NULL,
    challenge TEXT NOT NULL,
    resources TEXT NOT NULL,
    offline BIGINT NOT NULL,
    issued_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    grant_id TEXT,
    PRIMARY KEY (org, digest),
    FOREIGN KEY (org, user_id) REFERENCES users (org, id) ON DELETE CASCADE
);
CREATE INDEX codes_of_user ON codes (org, user_id);
CREATE INDEX codes_of_client ON codes (org, client);
CREATE INDEX codes_of_grant ON codes (org, grant_id);
CREATE INDEX codes_by_expiry ON codes (expires_at);

-- Two of a grant: the one that was not used yet, and the one before, for a client that lost the answer.
CREATE TABLE refresh_tokens (
    org TEXT NOT NULL,
    digest TEXT NOT NULL,
    grant_id TEXT NOT NULL,
    issued_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    used_at BIGINT,
    salt TEXT,
    PRIMARY KEY (org, digest),
    FOREIGN KEY (org, grant_id) REFERENCES grants (org, id) ON DELETE CASCADE
);
CREATE INDEX refresh_tokens_of_grant ON refresh_tokens (org, grant_id);
CREATE INDEX refresh_tokens_by_expiry ON refresh_tokens (expires_at);

-- Runs of status indexes that one replica may hand out; client: whose tokens they are for, none: those of grants.
CREATE TABLE status_blocks (
    org TEXT NOT NULL,
    list BIGINT NOT NULL,
    first_index BIGINT NOT NULL,
    length BIGINT NOT NULL,
    client TEXT,
    until BIGINT NOT NULL,
    revoked_at BIGINT,
    PRIMARY KEY (org, list, first_index)
);
CREATE INDEX status_blocks_of_client ON status_blocks (org, client);
CREATE INDEX status_blocks_by_expiry ON status_blocks (until);

-- Single tokens that were revoked.
CREATE TABLE status_revoked (
    org TEXT NOT NULL,
    list BIGINT NOT NULL,
    idx BIGINT NOT NULL,
    until BIGINT NOT NULL,
    PRIMARY KEY (org, list, idx)
);
CREATE INDEX status_revoked_by_expiry ON status_revoked (until);

-- number: counts the registrations of the organization. used_at: the last use, to the day.
CREATE TABLE registrations (
    org TEXT NOT NULL,
    id TEXT NOT NULL,
    metadata TEXT NOT NULL,
    secret TEXT,
    access_token TEXT NOT NULL,
    number BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_unused_at BIGINT NOT NULL,
    used_at BIGINT,
    PRIMARY KEY (org, id)
);
CREATE INDEX registrations_by_expiry ON registrations (expires_unused_at) WHERE used_at IS NULL;
CREATE INDEX registrations_by_use ON registrations (used_at);

CREATE TABLE assertions (
    org TEXT NOT NULL,
    client TEXT NOT NULL,
    jti TEXT NOT NULL,
    until BIGINT NOT NULL,
    PRIMARY KEY (org, client, jti)
);
CREATE INDEX assertions_by_expiry ON assertions (until);

CREATE TABLE disabled_clients (
    org TEXT NOT NULL,
    client TEXT NOT NULL,
    disabled_at BIGINT NOT NULL,
    PRIMARY KEY (org, client)
);

-- Work that one replica at a time does.
CREATE TABLE leases (
    name TEXT PRIMARY KEY,
    holder TEXT NOT NULL,
    until BIGINT NOT NULL
);
