-- Counts every write transaction, also those that readers of images do not notice: what was read of the catalog is true
-- as long as the number is the same.
ALTER TABLE revision ADD COLUMN writes INTEGER NOT NULL DEFAULT 0;
