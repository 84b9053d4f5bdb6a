-- Files that publisher clients uploaded, what became of them, and invites to help with a snap.

CREATE TABLE upload (id_hash text COLLATE "C" PRIMARY KEY, version bigint NOT NULL CHECK (version > 0), doc json NOT NULL);
CREATE TABLE push (id_hash text COLLATE "C" PRIMARY KEY, version bigint NOT NULL CHECK (version > 0), doc json NOT NULL);
CREATE TABLE share_invite (
    snap_id text COLLATE "C", email text COLLATE "C",
    version bigint NOT NULL CHECK (version > 0), doc json NOT NULL,
    PRIMARY KEY (snap_id, email)
);
UPDATE schema_format SET version = 6;
