-- What is moved in from another store bears the annotation of an import until all of it is there (api/records/
-- moving.py): nobody acts on it, so it may be taken back, and it was created when it was created there.

-- Named to run after the guards, which say that a record is created now.
CREATE FUNCTION agent_history() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.created_at := least(
        NEW.created_at, (NEW.annotations ->> 'pool.convos.org/created-at')::timestamptz);
    RETURN NEW;
END $$;

CREATE TRIGGER agent_pools_history BEFORE INSERT ON agent_pools FOR EACH ROW
    WHEN (NEW.annotations ? 'pool.convos.org/import') EXECUTE FUNCTION agent_history();
CREATE TRIGGER agent_claims_history BEFORE INSERT ON agent_claims FOR EACH ROW
    WHEN (NEW.annotations ? 'pool.convos.org/import') EXECUTE FUNCTION agent_history();
CREATE TRIGGER agent_instances_history BEFORE INSERT ON agent_instances FOR EACH ROW
    WHEN (NEW.annotations ? 'pool.convos.org/import') EXECUTE FUNCTION agent_history();

CREATE OR REPLACE FUNCTION agent_instances_keep() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.phase = 'Gone' OR OLD.annotations ? 'pool.convos.org/import' OR EXISTS (
        SELECT FROM agent_pools p WHERE p.namespace = OLD.namespace AND p.name = OLD.pool
            AND p.annotations ? 'pool.convos.org/import'
    ) THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION USING ERRCODE = 'AP422', MESSAGE =
        'phase: only a Gone instance may be deleted; let it retire, or delete its claim';
END $$;
