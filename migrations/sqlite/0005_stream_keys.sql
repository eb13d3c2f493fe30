-- Keys that sign streams. What the table is for: docs/reference/catalog.md.

CREATE TABLE stream_keys (
    id          TEXT PRIMARY KEY,
    owner       TEXT NOT NULL,
    certificate TEXT NOT NULL,
    secret      TEXT NOT NULL,
    created_at  INTEGER NOT NULL,
    expires_at  INTEGER,
    added_at    INTEGER NOT NULL,
    signs       INTEGER NOT NULL CHECK (signs IN (0, 1))
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX stream_keys_that_sign ON stream_keys (signs) WHERE signs = 1;
