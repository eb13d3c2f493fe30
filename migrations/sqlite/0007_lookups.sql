-- What names are looked up by when case does not matter. What each table is for: docs/reference/catalog.md. The program writes
-- those that are not in lower case anew when it applies this.

ALTER TABLE aliases ADD COLUMN folded TEXT NOT NULL DEFAULT '';
UPDATE aliases SET folded = name;
CREATE INDEX aliases_folded ON aliases (project_id, folded);
