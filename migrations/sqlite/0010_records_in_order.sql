-- Records of images lie in the order in which lists read them, and the indexes of images lead there. What each table is for, and what a
-- place is: docs/reference/catalog.md.

CREATE TABLE records_in_order (
    place        INTEGER PRIMARY KEY,
    image_id     INTEGER NOT NULL UNIQUE REFERENCES images (id) ON DELETE CASCADE,
    leads        INTEGER,
    size         INTEGER NOT NULL,
    object       TEXT NOT NULL,
    names        TEXT NOT NULL,
    names_public TEXT NOT NULL
) STRICT;

-- JSON as SQLite reads it has hexadecimal numbers.
INSERT INTO records_in_order (place, image_id, leads, size, object, names, names_public)
SELECT ((i.project_id & 32767) << 48) | json_extract('0x' || substr(i.fingerprint, 1, 12), '$'),
    r.image_id, r.leads, r.size, r.object, r.names, r.names_public
FROM images i CROSS JOIN image_records r WHERE r.image_id = i.id
ORDER BY i.project_id, i.fingerprint
ON CONFLICT (place) DO NOTHING;
INSERT INTO records_in_order (place, image_id, leads, size, object, names, names_public)
SELECT -r.image_id, r.image_id, r.leads, r.size, r.object, r.names, r.names_public FROM image_records r
WHERE NOT EXISTS (SELECT 1 FROM records_in_order o WHERE o.image_id = r.image_id);

DROP TABLE image_records;
ALTER TABLE records_in_order RENAME TO image_records;
CREATE INDEX image_records_leads ON image_records (leads) WHERE leads IS NOT NULL;

ALTER TABLE images ADD COLUMN record INTEGER;
UPDATE images SET record = (SELECT r.place FROM image_records r WHERE r.image_id = images.id);
DROP INDEX images_public;
CREATE INDEX images_listed ON images (project_id, fingerprint, record);
CREATE INDEX images_public ON images (project_id, fingerprint, record) WHERE public = 1;
