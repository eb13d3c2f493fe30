-- How long images of a project stay by themselves. What each column is for: docs/reference/catalog.md.

ALTER TABLE projects ADD COLUMN keep BIGINT NOT NULL DEFAULT 0 CHECK (keep >= 0);
ALTER TABLE projects ADD COLUMN keep_days BIGINT NOT NULL DEFAULT 0 CHECK (keep_days >= 0);
ALTER TABLE projects ADD COLUMN keep_aliased BIGINT NOT NULL DEFAULT 0 CHECK (keep_aliased IN (0, 1));
