-- Keys that sign streams. What the table is for: docs/reference/catalog.md.

CREATE TABLE stream_keys (
    id          TEXT COLLATE "C" PRIMARY KEY,
    owner       TEXT COLLATE "C" NOT NULL,
    certificate TEXT COLLATE "C" NOT NULL,
    secret      TEXT COLLATE "C" NOT NULL,
    created_at  BIGINT NOT NULL,
    expires_at  BIGINT,
    added_at    BIGINT NOT NULL,
    signs       BIGINT NOT NULL CHECK (signs IN (0, 1))
);
CREATE UNIQUE INDEX stream_keys_that_sign ON stream_keys (signs) WHERE signs = 1;
