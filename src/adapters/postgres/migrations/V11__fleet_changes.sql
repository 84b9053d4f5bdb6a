-- Which rows of the fleet changed in which transaction, for other processes that share the database. Triggers write it, so that
-- it has what an older hallmark changes as well. Rows are cleared away after an hour.

CREATE TABLE fleet_change (
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    kind text COLLATE "C" NOT NULL, key text[] COLLATE "C" NOT NULL,
    at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX fleet_change_xid ON fleet_change (xid);

-- Changes of transactions up to this one may have been cleared away.
CREATE TABLE fleet_change_gone (only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row), xid xid8 NOT NULL);
INSERT INTO fleet_change_gone (xid) VALUES ('0');

CREATE FUNCTION note_fleet_change() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    changed record;
BEGIN
    IF TG_OP = 'DELETE' THEN changed := OLD; ELSE changed := NEW; END IF;
    IF TG_TABLE_NAME IN ('device', 'fleet_device', 'standing') THEN
        INSERT INTO fleet_change (kind, key) VALUES (TG_TABLE_NAME, ARRAY[changed.brand_id, changed.model, changed.serial]);
    ELSIF TG_TABLE_NAME = 'exposure' THEN
        INSERT INTO fleet_change (kind, key) VALUES (TG_TABLE_NAME, ARRAY[changed.store_id, changed.wave, changed.rollout, changed.part]);
    ELSIF TG_TABLE_NAME = 'wave' THEN
        INSERT INTO fleet_change (kind, key) VALUES (TG_TABLE_NAME, ARRAY[changed.store_id, changed.name]);
    ELSIF TG_TABLE_NAME = 'production_map' THEN
        INSERT INTO fleet_change (kind, key) VALUES (TG_TABLE_NAME, ARRAY[changed.store_id, changed.tag]);
    ELSE
        INSERT INTO fleet_change (kind, key) VALUES (TG_TABLE_NAME, ARRAY[changed.brand_id, changed.name]);
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER fleet_change AFTER INSERT OR UPDATE OR DELETE ON model FOR EACH ROW EXECUTE FUNCTION note_fleet_change();
CREATE TRIGGER fleet_change AFTER INSERT OR UPDATE OR DELETE ON standing FOR EACH ROW EXECUTE FUNCTION note_fleet_change();
CREATE TRIGGER fleet_change AFTER INSERT OR UPDATE OR DELETE ON device FOR EACH ROW EXECUTE FUNCTION note_fleet_change();
CREATE TRIGGER fleet_change AFTER INSERT OR UPDATE OR DELETE ON fleet_device FOR EACH ROW EXECUTE FUNCTION note_fleet_change();
CREATE TRIGGER fleet_change AFTER INSERT OR UPDATE OR DELETE ON wave FOR EACH ROW EXECUTE FUNCTION note_fleet_change();
CREATE TRIGGER fleet_change AFTER INSERT OR UPDATE OR DELETE ON production_map FOR EACH ROW EXECUTE FUNCTION note_fleet_change();
CREATE TRIGGER fleet_change AFTER INSERT OR UPDATE OR DELETE ON exposure FOR EACH ROW EXECUTE FUNCTION note_fleet_change();
UPDATE schema_format SET version = 11;
