-- Files that an upstream promises, and that come when somebody asks for them. What each table is for: docs/reference/catalog.md.

ALTER TABLE blobs ADD COLUMN present BIGINT NOT NULL DEFAULT 1 CHECK (present IN (0, 1));

ALTER TABLE upstreams ADD COLUMN lazy BIGINT NOT NULL DEFAULT 0 CHECK (lazy IN (0, 1));
ALTER TABLE upstreams ADD COLUMN cache_size BIGINT NOT NULL DEFAULT 0;
ALTER TABLE upstreams ADD COLUMN cache_age BIGINT NOT NULL DEFAULT 0;

ALTER TABLE upstream_images ADD COLUMN proof TEXT COLLATE "C" NOT NULL DEFAULT 'right' CHECK (proof IN ('open', 'right', 'wrong'));

CREATE TABLE promises (
    upstream_id BIGINT NOT NULL REFERENCES upstreams (id) ON DELETE CASCADE,
    digest      TEXT COLLATE "C" NOT NULL REFERENCES blobs (digest) ON DELETE CASCADE,
    path        TEXT COLLATE "C" NOT NULL,
    used_at     BIGINT NOT NULL,
    PRIMARY KEY (upstream_id, digest)
);
CREATE INDEX promises_by_digest ON promises (digest);
CREATE INDEX promises_by_use ON promises (upstream_id, used_at, digest);
