-- The queries of api/records/postgres.py, by name. Batches come as one jsonb list of objects whose keys
-- are column names ($1): as quick as an array for each column, and the row types read them.
-- Predicates of partial indexes are repeated literally, else the planner does not use them.

-- ================================================================ looks

-- name: now
SELECT now();

-- name: pool_now
SELECT clock.now, p.* FROM (SELECT now()) AS clock
LEFT JOIN agent_pools p ON p.namespace = $1 AND p.name = $2;

-- name: installation
SELECT owner_id, instance_secret FROM installation;

-- name: pool
SELECT * FROM agent_pools WHERE namespace = $1 AND name = $2;

-- name: claim
SELECT * FROM agent_claims WHERE namespace = $1 AND name = $2;

-- name: instance
SELECT * FROM agent_instances WHERE namespace = $1 AND name = $2;

-- name: pools
SELECT * FROM agent_pools ORDER BY namespace, name;

-- name: pool_keys
SELECT namespace, name FROM agent_pools
UNION SELECT namespace, pool FROM agent_claims WHERE phase IN ('Pending', 'Bound')
UNION SELECT namespace, pool FROM agent_instances WHERE phase <> 'Gone'
ORDER BY 1, 2;

-- name: versions
SELECT namespace, name, uid, version FROM agent_instances ORDER BY seq DESC;

-- name: claims
SELECT c.* FROM jsonb_to_recordset($1) AS asked (namespace text, name text)
JOIN agent_claims c USING (namespace, name);

-- name: list_claims
SELECT * FROM agent_claims WHERE namespace = $1 ORDER BY created_at DESC, seq DESC LIMIT $2;

-- name: queue_position
SELECT count(*) FROM agent_claims c
JOIN agent_claims earlier ON earlier.namespace = c.namespace AND earlier.pool = c.pool
    AND earlier.phase = 'Pending' AND earlier.seq <= c.seq
WHERE c.namespace = $1 AND c.name = $2 AND c.uid = $3 AND c.phase = 'Pending';

-- Everything open of a pool, oldest first; the ended ones are not read.
-- name: open_claims
SELECT * FROM agent_claims
WHERE namespace = $1 AND pool = $2 AND phase IN ('Pending', 'Bound') ORDER BY seq;

-- All of a pool's instances with what became of their claims (`Fate`); NULL where nobody claimed it.
-- A lookup for each claimed one: as a join, the planner would read all claims for a large pool.
-- Which there are, at which version, and what became of their claims. A row of the same uid and version is
-- the same row (0002 moves the version at each write): it is read once.
-- name: versions_of_pool
SELECT i.namespace, i.name, i.uid, i.version, CASE WHEN i.claim_uid IS NOT NULL THEN coalesce((
        SELECT CASE WHEN c.instance = i.name THEN 'kept' ELSE 'moved' END FROM agent_claims c
        WHERE c.namespace = i.namespace AND c.name = i.claim_name AND c.uid = i.claim_uid
    ), 'released') END AS fate
FROM agent_instances i
WHERE i.namespace = $1 AND i.pool = $2 ORDER BY i.seq;

-- name: instances_by_key
SELECT i.* FROM unnest($1::text[], $2::text[]) AS asked (namespace, name)
JOIN agent_instances i USING (namespace, name);

-- name: fate
SELECT CASE WHEN instance = $4 THEN 'kept' ELSE 'moved' END AS fate
FROM agent_claims WHERE namespace = $1 AND name = $2 AND uid = $3;

-- The hot look, in one round trip: who waits, oldest first, each beside the idle instance of the same place
-- (nothing where there are fewer). `now` and the pool's version come with every row, and with one row of NULLs
-- where nobody waits.
-- The instances come as arrays: a join of the two by place would look for all of them once for each claim.
-- name: bindable
SELECT clock.now, c.*, $1 AS idle_namespace, idle.names[c.place] AS idle_name,
    idle.uids[c.place] AS idle_uid, idle.versions[c.place] AS idle_version,
    p.uid AS pool_uid, p.version AS pool_version
FROM (SELECT now()) AS clock
LEFT JOIN agent_pools p ON p.namespace = $1 AND p.name = $2
CROSS JOIN (
    SELECT array_agg(name ORDER BY seq) AS names, array_agg(uid ORDER BY seq) AS uids,
        array_agg(version ORDER BY seq) AS versions
    FROM (
        SELECT name, uid, version, seq FROM agent_instances
        WHERE namespace = $1 AND pool = $2 AND claim_uid IS NULL AND phase = 'Idle'
            AND barred IS NULL
        ORDER BY seq LIMIT $3
    ) AS free
) AS idle
LEFT JOIN (
    SELECT *, row_number() OVER (ORDER BY seq) AS place FROM agent_claims
    WHERE namespace = $1 AND pool = $2 AND phase = 'Pending' AND instance IS NULL
    ORDER BY seq LIMIT $3
) AS c ON true
ORDER BY c.place;

-- ================================================================ what users write

-- name: create_pool
INSERT INTO agent_pools (namespace, name, labels, annotations, managed_by, min_idle, max_total, repo,
    branch, root_directory, image, env, port, healthcheck_path, name_prefix, provision_timeout,
    claim_timeout, failed_claim_ttl, reclaim_policy, max_unavailable, paused, railway_project_id,
    railway_environment_id, railway_token_from)
SELECT namespace, name, labels, annotations, managed_by, min_idle, max_total, repo,
    branch, root_directory, image, env, port, healthcheck_path, name_prefix, provision_timeout,
    claim_timeout, failed_claim_ttl, reclaim_policy, max_unavailable, paused, railway_project_id,
    railway_environment_id, railway_token_from
FROM jsonb_populate_record(NULL::agent_pools, $1)
RETURNING *;

-- name: replace_pool
UPDATE agent_pools AS p SET (labels, annotations, managed_by, min_idle, max_total, repo,
    branch, root_directory, image, env, port, healthcheck_path, name_prefix, provision_timeout,
    claim_timeout, failed_claim_ttl, reclaim_policy, max_unavailable, paused, railway_project_id,
    railway_environment_id, railway_token_from)
  = (new.labels, new.annotations, new.managed_by, new.min_idle, new.max_total, new.repo,
    new.branch, new.root_directory, new.image, new.env, new.port, new.healthcheck_path,
    new.name_prefix, new.provision_timeout, new.claim_timeout, new.failed_claim_ttl,
    new.reclaim_policy, new.max_unavailable, new.paused, new.railway_project_id,
    new.railway_environment_id, new.railway_token_from)
FROM jsonb_populate_record(NULL::agent_pools, $1) AS new
WHERE p.namespace = new.namespace AND p.name = new.name AND p.uid = new.uid
    AND p.version = new.version
RETURNING p.*;

-- One row for each that was not there yet; a name that comes twice is made once.
-- name: create_claims
INSERT INTO agent_claims (namespace, name, labels, annotations, managed_by, pool, agent_id,
    instructions, join_url, timeout, on_empty, reclaim_policy)
SELECT namespace, name, labels, annotations, managed_by, pool, agent_id,
    instructions, join_url, timeout, on_empty, reclaim_policy
FROM jsonb_populate_recordset(NULL::agent_claims, $1)
ON CONFLICT (namespace, name) DO NOTHING
RETURNING namespace, name, uid, generation, version, created_at, seq;

-- name: delete_pool
DELETE FROM agent_pools WHERE namespace = $1 AND name = $2 AND uid = $3 RETURNING uid;

-- name: delete_claim
DELETE FROM agent_claims WHERE namespace = $1 AND name = $2 AND uid = $3 RETURNING uid;

-- name: delete_claim_unchanged
DELETE FROM agent_claims WHERE namespace = $1 AND name = $2 AND uid = $3 AND version = $4
RETURNING uid;

-- ================================================================ what the controller writes

-- A promise for each pair that both sides still allow. Claims are locked first, and instances only for
-- claims that were: of two who race for either, one gets it, and nobody waits. All that is locked fits,
-- and claims are joined to the instances that were given, so both sides are written, or neither. A half
-- bind (Bound to this instance, which does not know) is completed.
-- Nothing is joined twice: the planner takes each step for one row, and would loop over all pairs. The
-- conditions are written so that no partial index fits: each row is found by its key.
-- name: bind
WITH asked AS (
    SELECT * FROM jsonb_to_recordset($1) AS a (namespace text, claim_name text, claim_uid text,
        claim_reclaim_policy text, instance text, instance_uid text, instance_url text,
        attempt_by text, attempt_at timestamptz, conditions jsonb)
), locked_claims AS (
    SELECT a.* FROM asked a
    JOIN agent_claims c ON c.namespace = a.namespace AND c.name = a.claim_name
    WHERE c.uid = a.claim_uid AND CASE c.phase
        WHEN 'Pending' THEN c.instance IS NULL WHEN 'Bound' THEN c.instance = a.instance END
    FOR UPDATE OF c SKIP LOCKED
), pairs AS (
    SELECT l.* FROM locked_claims l
    JOIN agent_instances i ON i.namespace = l.namespace AND i.name = l.instance
    WHERE i.uid = l.instance_uid
        AND i.phase = 'Idle' AND num_nonnulls(i.claim_uid, i.barred) = 0
    FOR UPDATE OF i SKIP LOCKED
), given AS (
    UPDATE agent_instances AS i
    SET claim_name = p.claim_name, claim_uid = p.claim_uid,
        claim_reclaim_policy = p.claim_reclaim_policy, phase = 'Claimed'
    FROM pairs p WHERE i.namespace = p.namespace AND i.name = p.instance
    RETURNING i.namespace, i.name, i.uid, i.version, i.generation, i.claim_name, i.claim_uid,
        p.instance_url, p.attempt_by, p.attempt_at, p.conditions AS claim_conditions
)
UPDATE agent_claims AS c
SET phase = 'Bound', instance = given.name, instance_url = given.instance_url,
    attempt_by = given.attempt_by, attempt_at = given.attempt_at, bound_at = given.attempt_at,
    conditions = given.claim_conditions
FROM given WHERE c.namespace = given.namespace AND c.name = given.claim_name
RETURNING given.namespace, given.name, given.uid, given.version, given.generation, given.claim_uid,
    c.version AS claim_version;

-- Claims' statuses, each only while uid, phase, instance and attempt are as they were read.
-- name: settle
UPDATE agent_claims AS c
SET (phase, instance, instance_url, attempt_by, attempt_at, invite_url, conversation_id, joined,
        bound_at, ready_at, conditions)
  = (new.phase, new.instance, new.instance_url, new.attempt_by, new.attempt_at, new.invite_url,
        new.conversation_id, new.joined, new.bound_at, new.ready_at, new.conditions)
FROM jsonb_to_recordset($1) AS new (namespace text, name text, uid text, phase text, instance text,
    instance_url text, attempt_by text, attempt_at timestamptz, invite_url text,
    conversation_id text, joined boolean, bound_at timestamptz, ready_at timestamptz,
    conditions jsonb, read_phase text, read_instance text, read_attempt_by text,
    read_attempt_at timestamptz)
WHERE c.namespace = new.namespace AND c.name = new.name AND c.uid = new.uid
    AND c.phase = new.read_phase AND c.instance IS NOT DISTINCT FROM new.read_instance
    AND c.attempt_by IS NOT DISTINCT FROM new.read_attempt_by
    AND c.attempt_at IS NOT DISTINCT FROM new.read_attempt_at
RETURNING c.namespace, c.name, c.version;

-- The instances that hand-overs speak of, each only while it serves that claim.
-- name: lock_served
SELECT i.*, now() AS now FROM jsonb_to_recordset($1) AS a (namespace text, name text, claim_uid text)
JOIN agent_instances i USING (namespace, name)
WHERE i.claim_uid = a.claim_uid
FOR UPDATE OF i;

-- name: write_instances
UPDATE agent_instances AS i
SET (template_hash, key_id, phase, service_id, url, deployment_id, deployment_status, ready_at,
        barred, conditions)
  = (new.template_hash, new.key_id, new.phase, new.service_id, new.url, new.deployment_id,
        new.deployment_status, new.ready_at, new.barred, new.conditions)
FROM jsonb_populate_recordset(NULL::agent_instances, $1) AS new
WHERE i.namespace = new.namespace AND i.name = new.name AND i.uid = new.uid
    AND i.version = new.version
RETURNING i.*;

-- First the lock, then, in a statement of its own that sees what others wrote before us, the count.
-- name: lock_pool
SELECT max_total FROM agent_pools WHERE namespace = $1 AND name = $2 AND uid = $3 FOR UPDATE;

-- name: intend
INSERT INTO agent_instances (namespace, name, labels, annotations, managed_by, pool, service_name,
    template_hash, key_id, railway_endpoint, railway_project_id, railway_environment_id)
SELECT new.namespace, new.name, new.labels, new.annotations, new.managed_by, new.pool,
    new.service_name, new.template_hash, new.key_id, new.railway_endpoint, new.railway_project_id,
    new.railway_environment_id
FROM jsonb_populate_recordset(NULL::agent_instances, $1) AS new
LIMIT greatest(0, $4 - (
    SELECT count(*) FROM agent_instances
    WHERE namespace = $2 AND pool = $3 AND phase <> 'Gone'
))
ON CONFLICT (namespace, name) DO NOTHING
RETURNING *;

-- How many come before this instance: those that have a service, and those intended earlier.
-- name: before
SELECT count(*) FROM agent_instances i
JOIN agent_instances other ON other.namespace = i.namespace AND other.pool = i.pool
    AND other.phase <> 'Gone' AND other.seq <> i.seq
    AND (other.service_id IS NOT NULL OR other.seq < i.seq)
WHERE i.namespace = $1 AND i.name = $2;

-- name: write_pool_status
UPDATE agent_pools AS p
SET (observed_generation, provisioning, idle, claimed, failed, total, waiting, outdated, selector,
        conditions)
  = (new.observed_generation, new.provisioning, new.idle, new.claimed, new.failed, new.total,
        new.waiting, new.outdated, new.selector, new.conditions)
FROM jsonb_populate_record(NULL::agent_pools, $1) AS new
WHERE p.namespace = new.namespace AND p.name = new.name AND p.uid = new.uid
    AND p.version = new.version
RETURNING p.*;

-- name: delete_instance
DELETE FROM agent_instances WHERE namespace = $1 AND name = $2 AND uid = $3 AND version = $4
RETURNING uid;

-- ================================================================ events, leases, bells

-- Equal events within ten minutes are counted; $1 holds each once, with how often it came.
-- name: note
WITH told AS (
    SELECT * FROM jsonb_populate_recordset(NULL::agent_events, $1)
), counted AS (
    UPDATE agent_events e SET count = e.count + t.count, last_at = now()
    FROM told t
    WHERE e.namespace = t.namespace AND e.kind = t.kind AND e.name = t.name AND e.type = t.type
        AND e.reason = t.reason AND e.message = t.message
        AND e.last_at > now() - interval '10 minutes'
    RETURNING e.namespace, e.kind, e.name, e.type, e.reason, e.message
)
INSERT INTO agent_events (namespace, kind, name, type, reason, message, count)
SELECT namespace, kind, name, type, reason, message, count FROM told t
WHERE NOT EXISTS (
    SELECT FROM counted c
    WHERE (c.namespace, c.kind, c.name, c.type, c.reason, c.message)
        = (t.namespace, t.kind, t.name, t.type, t.reason, t.message)
)
RETURNING seq;

-- name: trim_events
DELETE FROM agent_events WHERE seq <= $1;

-- name: lease
SELECT holder, version FROM leases WHERE name = $1;

-- name: take_lease
INSERT INTO leases (name, holder) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING version;

-- name: write_lease
UPDATE leases SET holder = $2, version = version + 1, changed_at = now()
WHERE name = $1 AND version = $3
RETURNING version;

-- name: ring
SELECT pg_notify('agent_pool', $1);

-- ================================================================ a move out or in

-- name: leases
SELECT name, holder, changed_at FROM leases ORDER BY name;

-- name: adopt
UPDATE installation SET owner_id = $1, instance_secret = $2
WHERE NOT EXISTS (SELECT FROM agent_instances)
RETURNING one;

-- name: bring_instance
INSERT INTO agent_instances (namespace, name, labels, annotations, managed_by, pool, service_name,
    template_hash, key_id, railway_endpoint, railway_project_id, railway_environment_id, claim_name,
    claim_uid, claim_reclaim_policy, phase, service_id, url, deployment_id, deployment_status,
    ready_at, barred, conditions)
SELECT namespace, name, labels, annotations, managed_by, pool, service_name,
    template_hash, key_id, railway_endpoint, railway_project_id, railway_environment_id, claim_name,
    claim_uid, claim_reclaim_policy, phase, service_id, url, deployment_id, deployment_status,
    ready_at, barred, conditions
FROM jsonb_populate_record(NULL::agent_instances, $1)
ON CONFLICT (namespace, name) DO NOTHING
RETURNING *;

-- name: admit_pool
UPDATE agent_pools SET annotations = annotations - $5::text
WHERE namespace = $1 AND name = $2 AND uid = $3 AND version = $4
RETURNING *;

-- name: drop_pool
DELETE FROM agent_pools WHERE namespace = $1 AND name = $2 AND uid = $3 AND version = $4
RETURNING uid;

-- name: admit_claim
UPDATE agent_claims SET annotations = annotations - $5::text
WHERE namespace = $1 AND name = $2 AND uid = $3 AND version = $4
RETURNING *;

-- name: drop_claim
DELETE FROM agent_claims WHERE namespace = $1 AND name = $2 AND uid = $3 AND version = $4
RETURNING uid;

-- name: admit_instance
UPDATE agent_instances SET annotations = annotations - $5::text
WHERE namespace = $1 AND name = $2 AND uid = $3 AND version = $4
RETURNING *;

-- name: drop_instance
DELETE FROM agent_instances WHERE namespace = $1 AND name = $2 AND uid = $3 AND version = $4
RETURNING uid;
