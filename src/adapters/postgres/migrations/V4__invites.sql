-- Invites into stores.

CREATE TABLE store_invite (
    store_id text COLLATE "C" REFERENCES store (id) DEFERRABLE INITIALLY DEFERRED, email text COLLATE "C",
    version bigint NOT NULL CHECK (version > 0), doc json NOT NULL,
    PRIMARY KEY (store_id, email)
);
UPDATE schema_format SET version = 4;
