-- What each table is for: docs/reference/catalog.md. Times are seconds since 1970, truth values 0 or 1, SHA-256 values
-- 64 characters of lower-case hexadecimal, structured values JSON.
-- Texts compare by their bytes (COLLATE "C"), as they do in SQLite and in the clients.

CREATE TABLE projects (
    id          BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name        TEXT COLLATE "C" NOT NULL UNIQUE,
    description TEXT COLLATE "C" NOT NULL,
    created_at  BIGINT NOT NULL
);

INSERT INTO projects (name, description, created_at) VALUES ('default', '', 0);

CREATE TABLE products (
    id           BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    project_id   BIGINT NOT NULL REFERENCES projects (id),
    key          TEXT COLLATE "C" NOT NULL,
    os           TEXT COLLATE "C" NOT NULL,
    release      TEXT COLLATE "C" NOT NULL,
    variant      TEXT COLLATE "C" NOT NULL,
    architecture TEXT COLLATE "C" NOT NULL,
    extra        TEXT COLLATE "C" NOT NULL DEFAULT '{}',
    UNIQUE (project_id, key)
);
CREATE INDEX products_by_line ON products (project_id, os, release, variant);

CREATE TABLE versions (
    product_id BIGINT NOT NULL REFERENCES products (id) ON DELETE CASCADE,
    name       TEXT COLLATE "C" NOT NULL,
    extra      TEXT COLLATE "C" NOT NULL DEFAULT '{}',
    PRIMARY KEY (product_id, name)
);

CREATE TABLE images (
    id            BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    project_id    BIGINT NOT NULL REFERENCES projects (id),
    fingerprint   TEXT COLLATE "C" NOT NULL,
    image_type    TEXT COLLATE "C" NOT NULL CHECK (image_type IN ('container', 'virtual-machine')),
    architecture  TEXT COLLATE "C" NOT NULL,
    filename      TEXT COLLATE "C" NOT NULL,
    created_at    BIGINT NOT NULL,
    uploaded_at   BIGINT NOT NULL,
    public        BIGINT NOT NULL CHECK (public IN (0, 1)),
    expires_at    BIGINT,
    last_used_at  BIGINT,
    auto_update   BIGINT NOT NULL CHECK (auto_update IN (0, 1)),
    properties    TEXT COLLATE "C" NOT NULL,
    profiles      TEXT COLLATE "C" NOT NULL,
    update_source TEXT COLLATE "C",
    product_id    BIGINT,
    version       TEXT COLLATE "C",
    preference    BIGINT NOT NULL,
    UNIQUE (project_id, fingerprint),
    FOREIGN KEY (product_id, version) REFERENCES versions (product_id, name),
    CHECK ((product_id IS NULL) = (version IS NULL))
);
CREATE INDEX images_public ON images (project_id, fingerprint) WHERE public = 1;
CREATE INDEX images_by_version ON images (product_id, version);
CREATE INDEX images_newest ON images (product_id, image_type, version, preference, fingerprint);
CREATE INDEX images_newest_public ON images (product_id, image_type, version, preference, fingerprint) WHERE public = 1;

CREATE TABLE blobs (
    digest     TEXT COLLATE "C" PRIMARY KEY,
    size       BIGINT NOT NULL CHECK (size >= 0),
    format     TEXT COLLATE "C" NOT NULL,
    retired_at BIGINT
);
CREATE INDEX blobs_retired ON blobs (retired_at, digest) WHERE retired_at IS NOT NULL;

CREATE TABLE image_files (
    image_id BIGINT NOT NULL REFERENCES images (id) ON DELETE CASCADE,
    role     TEXT COLLATE "C" NOT NULL CHECK (role IN ('unified', 'metadata', 'root')),
    digest   TEXT COLLATE "C" NOT NULL REFERENCES blobs (digest),
    PRIMARY KEY (image_id, role)
);
CREATE INDEX image_files_by_digest ON image_files (digest);

CREATE TABLE retired_access (
    digest   TEXT COLLATE "C" NOT NULL REFERENCES blobs (digest) ON DELETE CASCADE,
    audience BIGINT NOT NULL,
    ended_at BIGINT NOT NULL,
    PRIMARY KEY (digest, audience)
);
CREATE INDEX retired_access_by_end ON retired_access (ended_at);
CREATE INDEX retired_access_by_audience ON retired_access (audience);

CREATE TABLE aliases (
    id          BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    project_id  BIGINT NOT NULL REFERENCES projects (id),
    name        TEXT COLLATE "C" NOT NULL,
    description TEXT COLLATE "C" NOT NULL,
    created_at  BIGINT NOT NULL,
    image_id    BIGINT REFERENCES images (id) ON DELETE CASCADE,
    os          TEXT COLLATE "C",
    release     TEXT COLLATE "C",
    variant     TEXT COLLATE "C",
    UNIQUE (project_id, name),
    CHECK ((image_id IS NULL) = (os IS NOT NULL)),
    CHECK ((os IS NULL) = (release IS NULL) AND (os IS NULL) = (variant IS NULL))
);
CREATE INDEX aliases_by_image ON aliases (image_id);
CREATE INDEX aliases_by_line ON aliases (project_id, os, release, variant);

CREATE TABLE product_names (
    project_id BIGINT NOT NULL REFERENCES projects (id),
    product_id BIGINT NOT NULL REFERENCES products (id) ON DELETE CASCADE,
    public     BIGINT NOT NULL CHECK (public IN (0, 1)),
    position   BIGINT NOT NULL,
    name       TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (product_id, public, name)
);
CREATE INDEX product_names_by_name ON product_names (project_id, public, name);

CREATE TABLE identities (
    id            BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind          TEXT COLLATE "C" NOT NULL CHECK (kind IN ('certificate', 'token', 'oidc')),
    subject       TEXT COLLATE "C" NOT NULL,
    name          TEXT COLLATE "C" NOT NULL,
    secret_hash   TEXT COLLATE "C",
    certificate   TEXT COLLATE "C",
    administrator BIGINT NOT NULL CHECK (administrator IN (0, 1)),
    created_at    BIGINT NOT NULL,
    expires_at    BIGINT,
    last_used_at  BIGINT,
    UNIQUE (kind, subject)
);

CREATE TABLE grants (
    identity_id BIGINT NOT NULL REFERENCES identities (id) ON DELETE CASCADE,
    project_id  BIGINT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    role        TEXT COLLATE "C" NOT NULL CHECK (role IN ('viewer', 'publisher', 'admin')),
    PRIMARY KEY (identity_id, project_id)
);
CREATE INDEX grants_by_project ON grants (project_id);

CREATE TABLE jobs (
    id            BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind          TEXT COLLATE "C" NOT NULL,
    subject       TEXT COLLATE "C" NOT NULL,
    payload       TEXT COLLATE "C" NOT NULL,
    state         TEXT COLLATE "C" NOT NULL CHECK (state IN ('waiting', 'running', 'done', 'failed')),
    attempts      BIGINT NOT NULL,
    not_before    BIGINT NOT NULL,
    claimed_by    TEXT COLLATE "C",
    claimed_until BIGINT,
    created_at    BIGINT NOT NULL,
    finished_at   BIGINT,
    error         TEXT COLLATE "C"
);
CREATE INDEX jobs_due ON jobs (state, not_before, id);
CREATE UNIQUE INDEX jobs_once ON jobs (kind, subject) WHERE state IN ('waiting', 'running');

CREATE TABLE settings (
    key   TEXT COLLATE "C" PRIMARY KEY,
    value TEXT COLLATE "C" NOT NULL
);

CREATE TABLE revision (
    id         BIGINT PRIMARY KEY CHECK (id = 1),
    number     BIGINT NOT NULL,
    changed_at BIGINT NOT NULL
);

INSERT INTO revision (id, number, changed_at) VALUES (1, 0, 0);
