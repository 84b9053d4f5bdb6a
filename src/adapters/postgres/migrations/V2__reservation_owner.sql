-- Whose an open reservation is: the key of the advisory lock that its writer holds while it lives. Those of before this
-- column have none, and so count as left behind.
ALTER TABLE serial ADD COLUMN owner bigint, ADD CHECK (owner IS NULL OR state = 'reserved');
DROP INDEX serial_open;
CREATE INDEX serial_open ON serial (owner, position) WHERE state = 'reserved';
UPDATE schema_format SET version = 2;
