-- No bell for a promise: who makes it knows, and nobody else waits for it. Each bell wakes every listener.
DROP TRIGGER agent_claims_ring_again ON agent_claims;
CREATE TRIGGER agent_claims_ring_again AFTER UPDATE ON agent_claims FOR EACH ROW
    WHEN (NEW.version <> OLD.version AND NOT (OLD.phase = 'Pending' AND NEW.phase = 'Bound'))
    EXECUTE FUNCTION agent_thing_ring('claim');
DROP TRIGGER agent_instances_ring_again ON agent_instances;
CREATE TRIGGER agent_instances_ring_again AFTER UPDATE ON agent_instances FOR EACH ROW
    WHEN (NEW.version <> OLD.version AND NOT (OLD.phase = 'Idle' AND NEW.phase = 'Claimed'))
    EXECUTE FUNCTION agent_thing_ring('instance');
