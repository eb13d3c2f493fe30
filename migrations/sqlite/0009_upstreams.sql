-- Servers that are mirrored, what was taken from them, and the names that a product has from there. What each table is for:
-- docs/reference/catalog.md.

CREATE TABLE upstreams (
    id            INTEGER PRIMARY KEY,
    name          TEXT NOT NULL UNIQUE,
    project_id    INTEGER NOT NULL REFERENCES projects (id),
    protocol      TEXT NOT NULL CHECK (protocol IN ('simplestreams', 'lxd', 'incus')),
    server        TEXT NOT NULL,
    settings      TEXT NOT NULL,
    created_at    INTEGER NOT NULL,
    due_at        INTEGER,
    claimed_by    TEXT,
    claimed_until INTEGER,
    last_run      TEXT,
    CHECK ((claimed_by IS NULL) = (claimed_until IS NULL))
) STRICT;
CREATE INDEX upstreams_by_project ON upstreams (project_id);
CREATE INDEX upstreams_due ON upstreams (due_at, name);

CREATE TABLE upstream_images (
    upstream_id INTEGER NOT NULL REFERENCES upstreams (id) ON DELETE CASCADE,
    fingerprint TEXT NOT NULL,
    product     TEXT NOT NULL,
    version     TEXT NOT NULL,
    gone_at     INTEGER,
    PRIMARY KEY (upstream_id, fingerprint)
) STRICT, WITHOUT ROWID;
CREATE INDEX upstream_images_by_fingerprint ON upstream_images (fingerprint);

ALTER TABLE products ADD COLUMN given_names TEXT;
