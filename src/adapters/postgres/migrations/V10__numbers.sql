-- How many devices have which snap: the numbers of a day, in parts that add up.

CREATE TABLE snap_day (
    snap_id text COLLATE "C", day text COLLATE "C", part text COLLATE "C",
    version bigint NOT NULL CHECK (version > 0), doc json NOT NULL,
    PRIMARY KEY (snap_id, day, part)
);
UPDATE schema_format SET version = 10;
