-- Deltas between root files, which root files clients were seen to hold, and whether a project packs anew what it is given. What each
-- table is for: docs/reference/catalog.md.

CREATE TABLE deltas (
    target        TEXT COLLATE "C" NOT NULL REFERENCES blobs (digest) ON DELETE CASCADE,
    base          TEXT COLLATE "C" NOT NULL REFERENCES blobs (digest) ON DELETE CASCADE,
    state         TEXT COLLATE "C" NOT NULL CHECK (state IN ('waiting', 'building', 'ready', 'refused', 'failed')),
    digest        TEXT COLLATE "C" REFERENCES blobs (digest),
    clients       BIGINT NOT NULL,
    why           TEXT COLLATE "C" NOT NULL,
    attempts      BIGINT NOT NULL,
    asked_at      BIGINT NOT NULL,
    ended_at      BIGINT,
    claimed_by    TEXT COLLATE "C",
    claimed_until BIGINT,
    PRIMARY KEY (target, base),
    CHECK ((digest IS NOT NULL) = (state = 'ready')),
    CHECK ((claimed_by IS NOT NULL) = (state = 'building') AND (claimed_until IS NOT NULL) = (state = 'building'))
);
CREATE INDEX deltas_by_base ON deltas (base);
CREATE INDEX deltas_by_digest ON deltas (digest) WHERE digest IS NOT NULL;
CREATE INDEX deltas_to_do ON deltas (asked_at) WHERE state IN ('waiting', 'building');

CREATE TABLE held (
    digest      TEXT COLLATE "C" NOT NULL REFERENCES blobs (digest) ON DELETE CASCADE,
    identity_id BIGINT NOT NULL,
    client      TEXT COLLATE "C" NOT NULL,
    at          BIGINT NOT NULL,
    PRIMARY KEY (digest, identity_id, client)
);
CREATE INDEX held_by_identity ON held (identity_id, digest);
CREATE INDEX held_by_time ON held (at);

ALTER TABLE projects ADD COLUMN repack BIGINT NOT NULL DEFAULT 0 CHECK (repack IN (0, 1));

-- Never used.
DROP TABLE jobs;
