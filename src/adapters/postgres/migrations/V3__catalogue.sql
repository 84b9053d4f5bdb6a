-- The catalogue: snaps, their revisions, what stores include, and the number of its last change.

CREATE TABLE snap (id text COLLATE "C" PRIMARY KEY, version bigint NOT NULL CHECK (version > 0), doc json NOT NULL);
CREATE TABLE snap_revision (
    snap_id text COLLATE "C" REFERENCES snap (id) DEFERRABLE INITIALLY DEFERRED, revision text COLLATE "C",
    version bigint NOT NULL CHECK (version > 0), doc json NOT NULL,
    PRIMARY KEY (snap_id, revision)
);
CREATE TABLE inclusion (
    store_id text COLLATE "C" REFERENCES store (id) DEFERRABLE INITIALLY DEFERRED, snap_id text COLLATE "C",
    version bigint NOT NULL CHECK (version > 0), doc json NOT NULL,
    PRIMARY KEY (store_id, snap_id)
);
CREATE TABLE delta (
    snap_id text COLLATE "C" REFERENCES snap (id) DEFERRABLE INITIALLY DEFERRED,
    source text COLLATE "C", target text COLLATE "C",
    version bigint NOT NULL CHECK (version > 0), doc json NOT NULL,
    PRIMARY KEY (snap_id, source, target)
);

-- What devices last reported.
CREATE TABLE device (
    brand_id text COLLATE "C", model text COLLATE "C", serial text COLLATE "C",
    version bigint NOT NULL CHECK (version > 0), doc json NOT NULL,
    PRIMARY KEY (brand_id, model, serial)
);

CREATE TABLE catalog (name text COLLATE "C" PRIMARY KEY, version bigint NOT NULL CHECK (version > 0), doc json NOT NULL);
UPDATE schema_format SET version = 3;
