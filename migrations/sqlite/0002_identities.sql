-- Who may do what, what was done, and what is going on. What each table is for: docs/reference/catalog.md.

CREATE TABLE saved_views (
    id          INTEGER PRIMARY KEY,
    name        TEXT NOT NULL UNIQUE,
    project_id  INTEGER NOT NULL REFERENCES projects (id),
    filter      TEXT NOT NULL,
    description TEXT NOT NULL,
    created_at  INTEGER NOT NULL
) STRICT;
CREATE INDEX saved_views_by_project ON saved_views (project_id);

-- Made again, because numbers of identities are never used twice; nothing could write to either table before.
DROP TABLE grants;
DROP TABLE identities;

CREATE TABLE identities (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    kind          TEXT NOT NULL CHECK (kind IN ('certificate', 'token')),
    subject       TEXT NOT NULL,
    name          TEXT NOT NULL,
    description   TEXT NOT NULL,
    secret_hash   TEXT,
    certificate   TEXT,
    administrator INTEGER NOT NULL CHECK (administrator IN (0, 1)),
    view_id       INTEGER REFERENCES saved_views (id),
    created_at    INTEGER NOT NULL,
    expires_at    INTEGER,
    last_used_at  INTEGER,
    UNIQUE (kind, subject)
) STRICT;
CREATE UNIQUE INDEX identities_by_secret ON identities (secret_hash) WHERE secret_hash IS NOT NULL;
CREATE INDEX identities_by_view ON identities (view_id) WHERE view_id IS NOT NULL;

CREATE TABLE grants (
    identity_id INTEGER NOT NULL REFERENCES identities (id) ON DELETE CASCADE,
    project_id  INTEGER NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    role        TEXT NOT NULL CHECK (role IN ('viewer', 'publisher', 'admin')),
    manages     TEXT NOT NULL CHECK (manages IN ('own', 'all')),
    PRIMARY KEY (identity_id, project_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX grants_by_project ON grants (project_id);

ALTER TABLE images ADD COLUMN published_by INTEGER REFERENCES identities (id) ON DELETE SET NULL;
CREATE INDEX images_by_publisher ON images (published_by) WHERE published_by IS NOT NULL;

CREATE TABLE operations (
    id          TEXT PRIMARY KEY,
    change      INTEGER NOT NULL,
    class       TEXT NOT NULL CHECK (class IN ('task', 'token')),
    description TEXT NOT NULL,
    project     TEXT NOT NULL,
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL,
    status      INTEGER NOT NULL,
    resources   TEXT NOT NULL,
    metadata    TEXT NOT NULL,
    may_cancel  INTEGER NOT NULL CHECK (may_cancel IN (0, 1)),
    error       TEXT NOT NULL,
    server      TEXT NOT NULL,
    identity    TEXT NOT NULL,
    secret_hash TEXT,
    purpose     TEXT,
    used_at     INTEGER,
    expires_at  INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX operations_by_change ON operations (change);
CREATE INDEX operations_by_secret ON operations (secret_hash) WHERE secret_hash IS NOT NULL;
CREATE INDEX operations_by_end ON operations (updated_at) WHERE status >= 200;
CREATE INDEX operations_by_server ON operations (server) WHERE status < 200;
CREATE INDEX operations_going_on ON operations (updated_at) WHERE status < 200;
CREATE INDEX operations_by_expiry ON operations (expires_at) WHERE status < 200;

CREATE TABLE servers (
    id      TEXT PRIMARY KEY,
    seen_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE audit (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    at         INTEGER NOT NULL,
    action     TEXT NOT NULL,
    project    TEXT NOT NULL,
    subject    TEXT NOT NULL,
    detail     TEXT NOT NULL,
    actor_kind TEXT NOT NULL,
    actor_name TEXT NOT NULL,
    credential TEXT NOT NULL,
    address    TEXT NOT NULL
) STRICT;
CREATE INDEX audit_by_time ON audit (at);
CREATE INDEX audit_by_subject ON audit (subject, id);

CREATE TABLE address_keys (
    id         TEXT PRIMARY KEY,
    secret     TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE counters (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO counters (name, value) VALUES ('operations', 0);
