-- Deltas between root files, which root files clients were seen to hold, and whether a project packs anew what it is given. What each
-- table is for: docs/reference/catalog.md.

CREATE TABLE deltas (
    target        TEXT NOT NULL REFERENCES blobs (digest) ON DELETE CASCADE,
    base          TEXT NOT NULL REFERENCES blobs (digest) ON DELETE CASCADE,
    state         TEXT NOT NULL CHECK (state IN ('waiting', 'building', 'ready', 'refused', 'failed')),
    digest        TEXT REFERENCES blobs (digest),
    clients       INTEGER NOT NULL,
    why           TEXT NOT NULL,
    attempts      INTEGER NOT NULL,
    asked_at      INTEGER NOT NULL,
    ended_at      INTEGER,
    claimed_by    TEXT,
    claimed_until INTEGER,
    PRIMARY KEY (target, base),
    CHECK ((digest IS NOT NULL) = (state = 'ready')),
    CHECK ((claimed_by IS NOT NULL) = (state = 'building') AND (claimed_until IS NOT NULL) = (state = 'building'))
) STRICT, WITHOUT ROWID;
CREATE INDEX deltas_by_base ON deltas (base);
CREATE INDEX deltas_by_digest ON deltas (digest) WHERE digest IS NOT NULL;
CREATE INDEX deltas_to_do ON deltas (asked_at) WHERE state IN ('waiting', 'building');

CREATE TABLE held (
    digest      TEXT NOT NULL REFERENCES blobs (digest) ON DELETE CASCADE,
    identity_id INTEGER NOT NULL,
    client      TEXT NOT NULL,
    at          INTEGER NOT NULL,
    PRIMARY KEY (digest, identity_id, client)
) STRICT, WITHOUT ROWID;
CREATE INDEX held_by_identity ON held (identity_id, digest);
CREATE INDEX held_by_time ON held (at);

ALTER TABLE projects ADD COLUMN repack INTEGER NOT NULL DEFAULT 0 CHECK (repack IN (0, 1));

-- Never used.
DROP TABLE jobs;
