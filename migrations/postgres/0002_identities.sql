-- Who may do what, what was done, and what is going on. What each table is for: docs/reference/catalog.md.

CREATE TABLE saved_views (
    id          BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name        TEXT COLLATE "C" NOT NULL UNIQUE,
    project_id  BIGINT NOT NULL REFERENCES projects (id),
    filter      TEXT COLLATE "C" NOT NULL,
    description TEXT COLLATE "C" NOT NULL,
    created_at  BIGINT NOT NULL
);
CREATE INDEX saved_views_by_project ON saved_views (project_id);

-- Made again, as on SQLite, where their numbers would be used twice; nothing could write to either table before.
DROP TABLE grants;
DROP TABLE identities;

CREATE TABLE identities (
    id            BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind          TEXT COLLATE "C" NOT NULL CHECK (kind IN ('certificate', 'token')),
    subject       TEXT COLLATE "C" NOT NULL,
    name          TEXT COLLATE "C" NOT NULL,
    description   TEXT COLLATE "C" NOT NULL,
    secret_hash   TEXT COLLATE "C",
    certificate   TEXT COLLATE "C",
    administrator BIGINT NOT NULL CHECK (administrator IN (0, 1)),
    view_id       BIGINT REFERENCES saved_views (id),
    created_at    BIGINT NOT NULL,
    expires_at    BIGINT,
    last_used_at  BIGINT,
    UNIQUE (kind, subject)
);
CREATE UNIQUE INDEX identities_by_secret ON identities (secret_hash) WHERE secret_hash IS NOT NULL;
CREATE INDEX identities_by_view ON identities (view_id) WHERE view_id IS NOT NULL;

CREATE TABLE grants (
    identity_id BIGINT NOT NULL REFERENCES identities (id) ON DELETE CASCADE,
    project_id  BIGINT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    role        TEXT COLLATE "C" NOT NULL CHECK (role IN ('viewer', 'publisher', 'admin')),
    manages     TEXT COLLATE "C" NOT NULL CHECK (manages IN ('own', 'all')),
    PRIMARY KEY (identity_id, project_id)
);
CREATE INDEX grants_by_project ON grants (project_id);

ALTER TABLE images ADD COLUMN published_by BIGINT REFERENCES identities (id) ON DELETE SET NULL;
CREATE INDEX images_by_publisher ON images (published_by) WHERE published_by IS NOT NULL;

CREATE TABLE operations (
    id          TEXT COLLATE "C" PRIMARY KEY,
    change      BIGINT NOT NULL,
    class       TEXT COLLATE "C" NOT NULL CHECK (class IN ('task', 'token')),
    description TEXT COLLATE "C" NOT NULL,
    project     TEXT COLLATE "C" NOT NULL,
    created_at  BIGINT NOT NULL,
    updated_at  BIGINT NOT NULL,
    status      BIGINT NOT NULL,
    resources   TEXT COLLATE "C" NOT NULL,
    metadata    TEXT COLLATE "C" NOT NULL,
    may_cancel  BIGINT NOT NULL CHECK (may_cancel IN (0, 1)),
    error       TEXT COLLATE "C" NOT NULL,
    server      TEXT COLLATE "C" NOT NULL,
    identity    TEXT COLLATE "C" NOT NULL,
    secret_hash TEXT COLLATE "C",
    purpose     TEXT COLLATE "C",
    used_at     BIGINT,
    expires_at  BIGINT
);
CREATE INDEX operations_by_change ON operations (change);
CREATE INDEX operations_by_secret ON operations (secret_hash) WHERE secret_hash IS NOT NULL;
CREATE INDEX operations_by_end ON operations (updated_at) WHERE status >= 200;
CREATE INDEX operations_by_server ON operations (server) WHERE status < 200;
CREATE INDEX operations_going_on ON operations (updated_at) WHERE status < 200;
CREATE INDEX operations_by_expiry ON operations (expires_at) WHERE status < 200;

CREATE TABLE servers (
    id      TEXT COLLATE "C" PRIMARY KEY,
    seen_at BIGINT NOT NULL
);

CREATE TABLE audit (
    id         BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at         BIGINT NOT NULL,
    action     TEXT COLLATE "C" NOT NULL,
    project    TEXT COLLATE "C" NOT NULL,
    subject    TEXT COLLATE "C" NOT NULL,
    detail     TEXT COLLATE "C" NOT NULL,
    actor_kind TEXT COLLATE "C" NOT NULL,
    actor_name TEXT COLLATE "C" NOT NULL,
    credential TEXT COLLATE "C" NOT NULL,
    address    TEXT COLLATE "C" NOT NULL
);
CREATE INDEX audit_by_time ON audit (at);
CREATE INDEX audit_by_subject ON audit (subject, id);

CREATE TABLE address_keys (
    id         TEXT COLLATE "C" PRIMARY KEY,
    secret     TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE counters (
    name  TEXT COLLATE "C" PRIMARY KEY,
    value BIGINT NOT NULL
);

INSERT INTO counters (name, value) VALUES ('operations', 0);
