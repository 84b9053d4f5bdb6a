-- The oldest schema version whose programs still work with this one. Programs from version 14 on read it, so that one that is
-- restarted beside a newer hallmark does not refuse. A migration that programs before it cannot live with sets it to its own
-- version.
UPDATE schema_format SET version = 14;
ALTER TABLE schema_format ADD COLUMN oldest integer NOT NULL DEFAULT 14 CHECK (oldest <= version);
