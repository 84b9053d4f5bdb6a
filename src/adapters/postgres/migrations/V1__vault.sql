-- Everything the vault keeps. Times are seconds since 1970-01-01T00:00:00Z; all text compares bytewise.

CREATE TABLE schema_format (only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row), version integer NOT NULL);
INSERT INTO schema_format (version) VALUES (1);

-- The registry: one table per kind of record; `doc` is the record as JSON, `version` grows with every change.
CREATE TABLE instance (name text COLLATE "C" PRIMARY KEY, version bigint NOT NULL CHECK (version > 0), doc json NOT NULL);
CREATE TABLE account (id text COLLATE "C" PRIMARY KEY, version bigint NOT NULL CHECK (version > 0), doc json NOT NULL);
CREATE TABLE brand (id text COLLATE "C" PRIMARY KEY, version bigint NOT NULL CHECK (version > 0), doc json NOT NULL);
CREATE TABLE store (id text COLLATE "C" PRIMARY KEY, version bigint NOT NULL CHECK (version > 0), doc json NOT NULL);
CREATE TABLE token (id text COLLATE "C" PRIMARY KEY, version bigint NOT NULL CHECK (version > 0), doc json NOT NULL);
CREATE TABLE membership (
    brand_id text COLLATE "C", store_id text COLLATE "C", account_id text COLLATE "C",
    version bigint NOT NULL CHECK (version > 0), doc json NOT NULL,
    PRIMARY KEY (brand_id, store_id, account_id)
);
CREATE TABLE signing_key (
    account_id text COLLATE "C", name text COLLATE "C",
    version bigint NOT NULL CHECK (version > 0), doc json NOT NULL,
    PRIMARY KEY (account_id, name)
);
CREATE TABLE model (
    brand_id text COLLATE "C", name text COLLATE "C",
    version bigint NOT NULL CHECK (version > 0), doc json NOT NULL,
    PRIMARY KEY (brand_id, name)
);
CREATE TABLE remodel_rule (
    brand_id text COLLATE "C", from_model text COLLATE "C", to_model text COLLATE "C", from_serial text COLLATE "C",
    version bigint NOT NULL CHECK (version > 0), doc json NOT NULL,
    PRIMARY KEY (brand_id, from_model, to_model, from_serial)
);

-- Values only one record of a kind may have (e-mail, username, API-key hash...).
CREATE TABLE unique_value (
    kind text COLLATE "C", field text COLLATE "C", value text COLLATE "C",
    owner text[] COLLATE "C" NOT NULL,
    PRIMARY KEY (kind, field, value)
);
CREATE INDEX unique_value_owner ON unique_value (kind, owner);

-- Assertions: `assertion_head` is the highest revision over all formats, `assertion` the newest per format.
CREATE TABLE assertion_head (
    type text COLLATE "C", primary_key text[] COLLATE "C", revision bigint NOT NULL CHECK (revision >= 0),
    PRIMARY KEY (type, primary_key)
);
CREATE TABLE assertion (
    type text COLLATE "C", primary_key text[] COLLATE "C", format integer CHECK (format >= 0),
    revision bigint NOT NULL CHECK (revision >= 0),
    sequence_key text[] COLLATE "C", sequence bigint,
    encoded bytea NOT NULL,
    PRIMARY KEY (type, primary_key, format),
    FOREIGN KEY (type, primary_key) REFERENCES assertion_head,
    CHECK ((sequence_key IS NULL) = (sequence IS NULL))
);
CREATE INDEX assertion_sequence ON assertion (type, sequence_key, sequence) WHERE sequence IS NOT NULL;

-- The serial ledger. A row per (brand, model, serial, revision); `serial_head` is what the next claim needs to know.
CREATE TABLE serial_head (
    brand_id text COLLATE "C", model text COLLATE "C", serial text COLLATE "C",
    last_revision bigint NOT NULL CHECK (last_revision > 0), last_key text COLLATE "C",
    PRIMARY KEY (brand_id, model, serial)
);
CREATE TABLE serial (
    position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    brand_id text COLLATE "C" NOT NULL, model text COLLATE "C" NOT NULL, serial text COLLATE "C" NOT NULL,
    revision bigint NOT NULL CHECK (revision > 0),
    device_key text COLLATE "C" NOT NULL,
    sign_key text COLLATE "C",
    created_at bigint NOT NULL,
    state text NOT NULL CHECK (state IN ('reserved', 'issued', 'void')),
    assertion bytea NOT NULL,
    UNIQUE (brand_id, model, serial, revision),
    FOREIGN KEY (brand_id, model, serial) REFERENCES serial_head,
    CHECK ((state = 'issued') = (sign_key IS NOT NULL)),
    CHECK ((state = 'issued') = (length(assertion) > 0))
);
CREATE INDEX serial_by_brand ON serial (brand_id, position);
CREATE INDEX serial_by_model ON serial (brand_id, model, position);
CREATE INDEX serial_by_serial ON serial (brand_id, serial, position);
CREATE INDEX serial_by_device_key ON serial (device_key);
CREATE INDEX serial_open ON serial (position) WHERE state = 'reserved';

CREATE TABLE model_counter (
    brand_id text COLLATE "C", model text COLLATE "C",
    serials bigint NOT NULL DEFAULT 0, issued bigint NOT NULL DEFAULT 0, void bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (brand_id, model)
);

CREATE TABLE standing (
    brand_id text COLLATE "C", model text COLLATE "C", serial text COLLATE "C",
    standing text NOT NULL CHECK (standing IN ('allowed', 'denied')),
    since bigint NOT NULL,
    PRIMARY KEY (brand_id, model, serial)
);

CREATE TABLE approval (
    brand_id text COLLATE "C", model text COLLATE "C", serial text COLLATE "C", device_key text COLLATE "C",
    approval text NOT NULL CHECK (approval IN ('pending', 'approved', 'rejected')),
    nonce bytea CHECK (length(nonce) = 16),
    since bigint NOT NULL,
    PRIMARY KEY (brand_id, model, serial, device_key)
);
CREATE INDEX approval_pending ON approval (brand_id, since) WHERE approval = 'pending';

CREATE TABLE spent_nonce (nonce bytea PRIMARY KEY CHECK (length(nonce) = 16), expires bigint NOT NULL);
CREATE INDEX spent_nonce_expires ON spent_nonce (expires);

-- The audit log: one hash chain per writer process.
CREATE TABLE audit_entry (
    position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    writer text COLLATE "C" NOT NULL, sequence bigint NOT NULL CHECK (sequence > 0),
    previous text NOT NULL, hash text NOT NULL, event text NOT NULL,
    time bigint NOT NULL, brand text COLLATE "C", action text COLLATE "C" NOT NULL,
    UNIQUE (writer, sequence)
);
CREATE INDEX audit_entry_brand ON audit_entry (brand, position);
CREATE TABLE audit_checkpoint (number bigint PRIMARY KEY CHECK (number > 0), doc json NOT NULL);
