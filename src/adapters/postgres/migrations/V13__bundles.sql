-- Whose bundles are taken, and how far each part of what a source sends has come.

CREATE TABLE bundle_source (
    source text COLLATE "C", part text COLLATE "C",
    version bigint NOT NULL CHECK (version > 0), doc json NOT NULL,
    PRIMARY KEY (source, part)
);
UPDATE schema_format SET version = 13;
