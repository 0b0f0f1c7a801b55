-- Doorbells: NOTIFY agent_pool with the fields of `Bell` (api/records), from whoever writes.
--
-- A bell says only where to look. Leases ring nothing; a pool rings for what its user changed, not for
-- the counts that we write ourselves.

CREATE FUNCTION agent_ring(kind text, namespace text, name text, pool text, phase text)
RETURNS void LANGUAGE sql RETURN pg_notify('agent_pool', json_build_object(
    'kind', kind, 'namespace', namespace, 'name', name, 'pool', pool, 'phase', phase)::text);

CREATE FUNCTION agent_pools_ring() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        PERFORM agent_ring('pool', OLD.namespace, OLD.name, '', 'Deleted');
    ELSE
        PERFORM agent_ring('pool', NEW.namespace, NEW.name, '', '');
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER agent_pools_ring AFTER INSERT OR DELETE ON agent_pools
    FOR EACH ROW EXECUTE FUNCTION agent_pools_ring();
CREATE TRIGGER agent_pools_ring_again AFTER UPDATE ON agent_pools FOR EACH ROW
    WHEN (NEW.generation <> OLD.generation OR NEW.annotations <> OLD.annotations)
    EXECUTE FUNCTION agent_pools_ring();

-- For claims and instances, which have the same columns here; the argument is the bell's kind.
CREATE FUNCTION agent_thing_ring() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        PERFORM agent_ring(TG_ARGV[0], OLD.namespace, OLD.name, OLD.pool, 'Deleted');
    ELSE
        PERFORM agent_ring(TG_ARGV[0], NEW.namespace, NEW.name, NEW.pool, NEW.phase);
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER agent_claims_ring AFTER INSERT OR DELETE ON agent_claims
    FOR EACH ROW EXECUTE FUNCTION agent_thing_ring('claim');
CREATE TRIGGER agent_claims_ring_again AFTER UPDATE ON agent_claims FOR EACH ROW
    WHEN (NEW.version <> OLD.version) EXECUTE FUNCTION agent_thing_ring('claim');
CREATE TRIGGER agent_instances_ring AFTER INSERT OR DELETE ON agent_instances
    FOR EACH ROW EXECUTE FUNCTION agent_thing_ring('instance');
CREATE TRIGGER agent_instances_ring_again AFTER UPDATE ON agent_instances FOR EACH ROW
    WHEN (NEW.version <> OLD.version) EXECUTE FUNCTION agent_thing_ring('instance');
