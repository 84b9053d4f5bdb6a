-- Revisions that stores pin on channels.

CREATE TABLE revision_override (
    store_id text COLLATE "C" REFERENCES store (id) DEFERRABLE INITIALLY DEFERRED,
    snap_id text COLLATE "C" REFERENCES snap (id) DEFERRABLE INITIALLY DEFERRED,
    channel text COLLATE "C", architecture text COLLATE "C",
    version bigint NOT NULL CHECK (version > 0), doc json NOT NULL,
    PRIMARY KEY (store_id, snap_id, channel, architecture)
);
UPDATE schema_format SET version = 8;
