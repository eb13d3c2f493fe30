-- Servers that are mirrored, what was taken from them, and the names that a product has from there. What each table is for:
-- docs/reference/catalog.md.

CREATE TABLE upstreams (
    id            BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name          TEXT COLLATE "C" NOT NULL UNIQUE,
    project_id    BIGINT NOT NULL REFERENCES projects (id),
    protocol      TEXT COLLATE "C" NOT NULL CHECK (protocol IN ('simplestreams', 'lxd', 'incus')),
    server        TEXT COLLATE "C" NOT NULL,
    settings      TEXT COLLATE "C" NOT NULL,
    created_at    BIGINT NOT NULL,
    due_at        BIGINT,
    claimed_by    TEXT COLLATE "C",
    claimed_until BIGINT,
    last_run      TEXT COLLATE "C",
    CHECK ((claimed_by IS NULL) = (claimed_until IS NULL))
);
CREATE INDEX upstreams_by_project ON upstreams (project_id);
CREATE INDEX upstreams_due ON upstreams (due_at, name);

CREATE TABLE upstream_images (
    upstream_id BIGINT NOT NULL REFERENCES upstreams (id) ON DELETE CASCADE,
    fingerprint TEXT COLLATE "C" NOT NULL,
    product     TEXT COLLATE "C" NOT NULL,
    version     TEXT COLLATE "C" NOT NULL,
    gone_at     BIGINT,
    PRIMARY KEY (upstream_id, fingerprint)
);
CREATE INDEX upstream_images_by_fingerprint ON upstream_images (fingerprint);

ALTER TABLE products ADD COLUMN given_names TEXT COLLATE "C";
