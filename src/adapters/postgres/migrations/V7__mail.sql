-- Letters that wait to be sent.

CREATE TABLE outgoing_mail (id text COLLATE "C" PRIMARY KEY, version bigint NOT NULL CHECK (version > 0), doc json NOT NULL);
UPDATE schema_format SET version = 7;
