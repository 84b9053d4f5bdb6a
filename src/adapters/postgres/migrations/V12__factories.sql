-- Factory sites: what the centre granted to each, and what a box knows of itself.

CREATE TABLE factory_site (
    brand_id text COLLATE "C" REFERENCES brand (id) DEFERRABLE INITIALLY DEFERRED,
    site text COLLATE "C",
    version bigint NOT NULL CHECK (version > 0), doc json NOT NULL,
    PRIMARY KEY (brand_id, site)
);
CREATE TABLE factory_box (
    brand_id text COLLATE "C" REFERENCES brand (id) DEFERRABLE INITIALLY DEFERRED,
    version bigint NOT NULL CHECK (version > 0), doc json NOT NULL,
    PRIMARY KEY (brand_id)
);
UPDATE schema_format SET version = 12;
