-- When what is listed of a product last changed, and since when a project has its name, both as numbers of revisions. What each table
-- is for: docs/reference/catalog.md.

CREATE TABLE product_changes (
    project_id BIGINT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    key        TEXT COLLATE "C" NOT NULL,
    revision   BIGINT NOT NULL,
    PRIMARY KEY (project_id, key)
);
CREATE INDEX product_changes_by_revision ON product_changes (project_id, revision, key);

INSERT INTO product_changes (project_id, key, revision)
SELECT p.project_id, p.key, r.number FROM products p JOIN revision r ON r.id = 1;

ALTER TABLE projects ADD COLUMN named_at BIGINT NOT NULL DEFAULT 0;
