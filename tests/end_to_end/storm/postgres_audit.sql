-- Every write to a record, by whoever, as the history wants it (tests/history/events.py): in the writer's own
-- transaction, so that what is rolled back was never seen, and what is committed outlives a kill -9.
--
-- `at` is the moment of the write, before its commit: whatever follows from a write comes later.
-- `who` is what the connection calls itself (`storm.who`); '' for the processes that `up` started.
-- No instructions, no invite and no env are kept: a wish is a SHA-256.

CREATE TABLE storm_history (
    seq   bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    who   text        NOT NULL DEFAULT coalesce(current_setting('storm.who', true), ''),
    kind  text        NOT NULL,
    op    text        NOT NULL,
    name  text        NOT NULL,
    after jsonb
);

CREATE FUNCTION storm_reason(conditions jsonb, type text) RETURNS jsonb LANGUAGE sql IMMUTABLE
    RETURN (SELECT c FROM jsonb_array_elements(conditions) AS c WHERE c->>'type' = type LIMIT 1);

CREATE FUNCTION storm_pool(p agent_pools) RETURNS jsonb LANGUAGE sql STABLE RETURN jsonb_build_object(
    'generation', p.generation,
    'observed', p.observed_generation,
    'min_idle', p.min_idle,
    'max_total', p.max_total,
    'policy', p.reclaim_policy,
    'paused', p.paused,
    'claim_timeout_s', extract(epoch FROM p.claim_timeout)::float8,
    'total', p.total,
    'stalled', coalesce(storm_reason(p.conditions, 'Stalled')->>'status' = 'True', false),
    'full', coalesce(storm_reason(p.conditions, 'AtCapacity')->>'status' = 'True', false)
);

CREATE FUNCTION storm_claim(c agent_claims) RETURNS jsonb LANGUAGE sql STABLE RETURN jsonb_build_object(
    'uid', c.uid,
    'pool', c.pool,
    'wish', encode(sha256(convert_to(c.instructions, 'UTF8')), 'hex'),
    'timeout_s', extract(epoch FROM c.timeout)::float8,
    'phase', c.phase,
    'instance', c.instance,
    'attempt', c.attempt_by || ' ' || c.attempt_at,
    'conversation', c.conversation_id,
    'joined', coalesce(c.joined, false),
    'reason', coalesce(storm_reason(c.conditions, 'Ready')->>'reason', ''),
    'left', CASE storm_reason(c.conditions, 'Bound')->>'status'
            WHEN 'False' THEN coalesce(storm_reason(c.conditions, 'Bound')->>'reason', '') ELSE '' END,
    'waits', c.on_empty = 'Wait'
);

CREATE FUNCTION storm_instance(i agent_instances) RETURNS jsonb LANGUAGE sql STABLE RETURN jsonb_build_object(
    'uid', i.uid,
    'pool', i.pool,
    'service_name', i.service_name,
    'service', i.service_id,
    'url', i.url,
    'phase', i.phase,
    'claim', i.claim_name,
    'claim_uid', i.claim_uid,
    'claim_policy', i.claim_reclaim_policy,
    'barred', i.barred,
    'counted', true
);

CREATE FUNCTION storm_write() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    after jsonb;
BEGIN
    IF TG_OP = 'DELETE' THEN
        INSERT INTO storm_history (kind, op, name) VALUES (TG_ARGV[0], TG_OP, OLD.name);
        RETURN NULL;
    ELSIF TG_ARGV[0] = 'pool' THEN
        after := storm_pool(NEW);
    ELSIF TG_ARGV[0] = 'claim' THEN
        after := storm_claim(NEW);
    ELSE
        after := storm_instance(NEW);
    END IF;
    INSERT INTO storm_history (kind, op, name, after) VALUES (TG_ARGV[0], TG_OP, NEW.name, after);
    RETURN NULL;
END $$;

CREATE TRIGGER storm_write AFTER INSERT OR UPDATE OR DELETE ON agent_pools
    FOR EACH ROW EXECUTE FUNCTION storm_write('pool');
CREATE TRIGGER storm_write AFTER INSERT OR UPDATE OR DELETE ON agent_claims
    FOR EACH ROW EXECUTE FUNCTION storm_write('claim');
CREATE TRIGGER storm_write AFTER INSERT OR UPDATE OR DELETE ON agent_instances
    FOR EACH ROW EXECUTE FUNCTION storm_write('instance');

-- What stood there before the storm.
INSERT INTO storm_history (kind, op, name, after) SELECT 'pool', 'INSERT', p.name, storm_pool(p) FROM agent_pools p;
INSERT INTO storm_history (kind, op, name, after)
    SELECT 'claim', 'INSERT', c.name, storm_claim(c) FROM agent_claims c ORDER BY c.seq;
INSERT INTO storm_history (kind, op, name, after)
    SELECT 'instance', 'INSERT', i.name, storm_instance(i) FROM agent_instances i ORDER BY i.seq;
