-- Reviews of revisions, and grants that wait for a second person.

CREATE TABLE review (
    store_id text COLLATE "C", snap_id text COLLATE "C" REFERENCES snap (id) DEFERRABLE INITIALLY DEFERRED,
    revision text COLLATE "C",
    version bigint NOT NULL CHECK (version > 0), doc json NOT NULL,
    PRIMARY KEY (store_id, snap_id, revision)
);
CREATE TABLE grant_request (
    snap_id text COLLATE "C" REFERENCES snap (id) DEFERRABLE INITIALLY DEFERRED,
    side text COLLATE "C", interface text COLLATE "C", attribute text COLLATE "C",
    version bigint NOT NULL CHECK (version > 0), doc json NOT NULL,
    PRIMARY KEY (snap_id, side, interface, attribute)
);
UPDATE schema_format SET version = 5;
