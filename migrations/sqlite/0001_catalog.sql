-- What each table is for: docs/reference/catalog.md. Times are seconds since 1970, truth values 0 or 1, SHA-256 values
-- 64 characters of lower-case hexadecimal, structured values JSON.

CREATE TABLE projects (
    id          INTEGER PRIMARY KEY,
    name        TEXT NOT NULL UNIQUE,
    description TEXT NOT NULL,
    created_at  INTEGER NOT NULL
) STRICT;

INSERT INTO projects (name, description, created_at) VALUES ('default', '', 0);

CREATE TABLE products (
    id           INTEGER PRIMARY KEY,
    project_id   INTEGER NOT NULL REFERENCES projects (id),
    key          TEXT NOT NULL,
    os           TEXT NOT NULL,
    release      TEXT NOT NULL,
    variant      TEXT NOT NULL,
    architecture TEXT NOT NULL,
    extra        TEXT NOT NULL DEFAULT '{}',
    UNIQUE (project_id, key)
) STRICT;
CREATE INDEX products_by_line ON products (project_id, os, release, variant);

CREATE TABLE versions (
    product_id INTEGER NOT NULL REFERENCES products (id) ON DELETE CASCADE,
    name       TEXT NOT NULL,
    extra      TEXT NOT NULL DEFAULT '{}',
    PRIMARY KEY (product_id, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE images (
    id            INTEGER PRIMARY KEY,
    project_id    INTEGER NOT NULL REFERENCES projects (id),
    fingerprint   TEXT NOT NULL,
    image_type    TEXT NOT NULL CHECK (image_type IN ('container', 'virtual-machine')),
    architecture  TEXT NOT NULL,
    filename      TEXT NOT NULL,
    created_at    INTEGER NOT NULL,
    uploaded_at   INTEGER NOT NULL,
    public        INTEGER NOT NULL CHECK (public IN (0, 1)),
    expires_at    INTEGER,
    last_used_at  INTEGER,
    auto_update   INTEGER NOT NULL CHECK (auto_update IN (0, 1)),
    properties    TEXT NOT NULL,
    profiles      TEXT NOT NULL,
    update_source TEXT,
    product_id    INTEGER,
    version       TEXT,
    preference    INTEGER NOT NULL,
    UNIQUE (project_id, fingerprint),
    FOREIGN KEY (product_id, version) REFERENCES versions (product_id, name),
    CHECK ((product_id IS NULL) = (version IS NULL))
) STRICT;
CREATE INDEX images_public ON images (project_id, fingerprint) WHERE public = 1;
CREATE INDEX images_by_version ON images (product_id, version);
CREATE INDEX images_newest ON images (product_id, image_type, version, preference, fingerprint);
CREATE INDEX images_newest_public ON images (product_id, image_type, version, preference, fingerprint) WHERE public = 1;

CREATE TABLE blobs (
    digest     TEXT PRIMARY KEY,
    size       INTEGER NOT NULL CHECK (size >= 0),
    format     TEXT NOT NULL,
    retired_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX blobs_retired ON blobs (retired_at, digest) WHERE retired_at IS NOT NULL;

CREATE TABLE image_files (
    image_id INTEGER NOT NULL REFERENCES images (id) ON DELETE CASCADE,
    role     TEXT NOT NULL CHECK (role IN ('unified', 'metadata', 'root')),
    digest   TEXT NOT NULL REFERENCES blobs (digest),
    PRIMARY KEY (image_id, role)
) STRICT, WITHOUT ROWID;
CREATE INDEX image_files_by_digest ON image_files (digest);

CREATE TABLE retired_access (
    digest   TEXT NOT NULL REFERENCES blobs (digest) ON DELETE CASCADE,
    audience INTEGER NOT NULL,
    ended_at INTEGER NOT NULL,
    PRIMARY KEY (digest, audience)
) STRICT, WITHOUT ROWID;
CREATE INDEX retired_access_by_end ON retired_access (ended_at);
CREATE INDEX retired_access_by_audience ON retired_access (audience);

CREATE TABLE aliases (
    id          INTEGER PRIMARY KEY,
    project_id  INTEGER NOT NULL REFERENCES projects (id),
    name        TEXT NOT NULL,
    description TEXT NOT NULL,
    created_at  INTEGER NOT NULL,
    image_id    INTEGER REFERENCES images (id) ON DELETE CASCADE,
    os          TEXT,
    release     TEXT,
    variant     TEXT,
    UNIQUE (project_id, name),
    CHECK ((image_id IS NULL) = (os IS NOT NULL)),
    CHECK ((os IS NULL) = (release IS NULL) AND (os IS NULL) = (variant IS NULL))
) STRICT;
CREATE INDEX aliases_by_image ON aliases (image_id);
CREATE INDEX aliases_by_line ON aliases (project_id, os, release, variant);

CREATE TABLE product_names (
    project_id INTEGER NOT NULL REFERENCES projects (id),
    product_id INTEGER NOT NULL REFERENCES products (id) ON DELETE CASCADE,
    public     INTEGER NOT NULL CHECK (public IN (0, 1)),
    position   INTEGER NOT NULL,
    name       TEXT NOT NULL,
    PRIMARY KEY (product_id, public, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX product_names_by_name ON product_names (project_id, public, name);

CREATE TABLE identities (
    id            INTEGER PRIMARY KEY,
    kind          TEXT NOT NULL CHECK (kind IN ('certificate', 'token', 'oidc')),
    subject       TEXT NOT NULL,
    name          TEXT NOT NULL,
    secret_hash   TEXT,
    certificate   TEXT,
    administrator INTEGER NOT NULL CHECK (administrator IN (0, 1)),
    created_at    INTEGER NOT NULL,
    expires_at    INTEGER,
    last_used_at  INTEGER,
    UNIQUE (kind, subject)
) STRICT;

CREATE TABLE grants (
    identity_id INTEGER NOT NULL REFERENCES identities (id) ON DELETE CASCADE,
    project_id  INTEGER NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    role        TEXT NOT NULL CHECK (role IN ('viewer', 'publisher', 'admin')),
    PRIMARY KEY (identity_id, project_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX grants_by_project ON grants (project_id);

CREATE TABLE jobs (
    id            INTEGER PRIMARY KEY,
    kind          TEXT NOT NULL,
    subject       TEXT NOT NULL,
    payload       TEXT NOT NULL,
    state         TEXT NOT NULL CHECK (state IN ('waiting', 'running', 'done', 'failed')),
    attempts      INTEGER NOT NULL,
    not_before    INTEGER NOT NULL,
    claimed_by    TEXT,
    claimed_until INTEGER,
    created_at    INTEGER NOT NULL,
    finished_at   INTEGER,
    error         TEXT
) STRICT;
CREATE INDEX jobs_due ON jobs (state, not_before, id);
CREATE UNIQUE INDEX jobs_once ON jobs (kind, subject) WHERE state IN ('waiting', 'running');

CREATE TABLE settings (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE revision (
    id         INTEGER PRIMARY KEY CHECK (id = 1),
    number     INTEGER NOT NULL,
    changed_at INTEGER NOT NULL
) STRICT;

INSERT INTO revision (id, number, changed_at) VALUES (1, 0, 0);
