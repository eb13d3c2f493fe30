-- What lists of images are made of, and what their filters look up. What each table is for: docs/reference/catalog.md. The program
-- fills both when it applies this.

CREATE TABLE image_records (
    image_id     INTEGER PRIMARY KEY REFERENCES images (id) ON DELETE CASCADE,
    leads        INTEGER,
    size         INTEGER NOT NULL,
    object       TEXT NOT NULL,
    names        TEXT NOT NULL,
    names_public TEXT NOT NULL
) STRICT;
CREATE INDEX image_records_leads ON image_records (leads) WHERE leads IS NOT NULL;

CREATE TABLE image_terms (
    term     INTEGER NOT NULL,
    image_id INTEGER NOT NULL,
    PRIMARY KEY (term, image_id)
) STRICT, WITHOUT ROWID;
