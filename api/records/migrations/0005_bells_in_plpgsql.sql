-- The same bells, a tenth of their price: a function in SQL is planned and started anew at each call, which
-- took 150 to 300 us of every write (EXPLAIN ANALYZE of 20 claims: 6.1 of 9.7 ms of their bind).

CREATE OR REPLACE FUNCTION agent_ring(kind text, namespace text, name text, pool text, phase text)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('agent_pool', json_build_object(
        'kind', kind, 'namespace', namespace, 'name', name, 'pool', pool, 'phase', phase)::text);
END $$;
