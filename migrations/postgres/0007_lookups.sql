-- What is looked up where case does not matter, or where only a part of a word is known. What each table is for:
-- docs/reference/catalog.md. The program folds the names, and fills the words, when it applies this.

ALTER TABLE aliases ADD COLUMN folded TEXT COLLATE "C" NOT NULL DEFAULT '';
UPDATE aliases SET folded = name;
CREATE INDEX aliases_folded ON aliases (project_id, folded);

CREATE TABLE words (
    field BIGINT NOT NULL,
    value TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (field, value)
);
