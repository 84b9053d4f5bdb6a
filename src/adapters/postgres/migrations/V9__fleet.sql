-- Update control: devices, groups, waves, what is published, and who was shown what.

CREATE TABLE fleet_device (
    brand_id text COLLATE "C", model text COLLATE "C", serial text COLLATE "C",
    version bigint NOT NULL CHECK (version > 0), doc json NOT NULL,
    PRIMARY KEY (brand_id, model, serial)
);
CREATE TABLE fleet_group (
    store_id text COLLATE "C" REFERENCES store (id) DEFERRABLE INITIALLY DEFERRED, name text COLLATE "C",
    version bigint NOT NULL CHECK (version > 0), doc json NOT NULL,
    PRIMARY KEY (store_id, name)
);
CREATE TABLE wave (
    store_id text COLLATE "C" REFERENCES store (id) DEFERRABLE INITIALLY DEFERRED, name text COLLATE "C",
    version bigint NOT NULL CHECK (version > 0), doc json NOT NULL,
    PRIMARY KEY (store_id, name)
);
CREATE TABLE production_map (
    store_id text COLLATE "C" REFERENCES store (id) DEFERRABLE INITIALLY DEFERRED, tag text COLLATE "C",
    version bigint NOT NULL CHECK (version > 0), doc json NOT NULL,
    PRIMARY KEY (store_id, tag)
);
CREATE TABLE exposure (
    store_id text COLLATE "C", wave text COLLATE "C", rollout text COLLATE "C", part text COLLATE "C",
    version bigint NOT NULL CHECK (version > 0), doc json NOT NULL,
    PRIMARY KEY (store_id, wave, rollout, part),
    FOREIGN KEY (store_id, wave) REFERENCES wave (store_id, name) DEFERRABLE INITIALLY DEFERRED
);
UPDATE schema_format SET version = 9;
