-- What lists of images are made of, and what their filters look up. What each table is for: docs/reference/catalog.md. The program
-- fills both when it applies this.

CREATE TABLE image_records (
    image_id     BIGINT PRIMARY KEY REFERENCES images (id) ON DELETE CASCADE,
    leads        BIGINT,
    size         BIGINT NOT NULL,
    object       TEXT COLLATE "C" NOT NULL,
    names        TEXT COLLATE "C" NOT NULL,
    names_public TEXT COLLATE "C" NOT NULL
);
CREATE INDEX image_records_leads ON image_records (leads) WHERE leads IS NOT NULL;

CREATE TABLE image_terms (
    term     BIGINT NOT NULL,
    image_id BIGINT NOT NULL,
    PRIMARY KEY (term, image_id)
);
