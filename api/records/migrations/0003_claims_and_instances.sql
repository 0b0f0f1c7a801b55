-- The rules of claims and instances: see 0002 for how a rule is written and raised.

-- ---------------------------------------------------------------- agent_claims

-- What its writer said, at the birth of a claim; looked at no more unless somebody tries to change it.
CREATE FUNCTION agent_claims_born() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    problem text;
BEGIN
    NEW.uid := gen_random_uuid()::text;
    NEW.generation := 1;
    NEW.version := 1;
    NEW.created_at := now();
    problem := CASE
        WHEN agent_is_name(NEW.name) IS NOT TRUE
            THEN 'name: must be lower-case letters, digits, - and ., at most 253'
        WHEN agent_is_name(NEW.namespace) IS NOT TRUE
            THEN 'namespace: must be lower-case letters, digits, - and ., at most 253'
        WHEN agent_is_name(NEW.pool) IS NOT TRUE
            THEN 'pool: must be the name of a pool'
        WHEN NEW.labels <> '{}' AND NOT agent_is_map(NEW.labels) OR NEW.labels IS NULL
            THEN 'labels: must be an object of at most 64 strings'
        WHEN NEW.annotations <> '{}' AND NOT agent_is_map(NEW.annotations)
                OR NEW.annotations IS NULL
            THEN 'annotations: must be an object of at most 64 strings'
        WHEN (length(NEW.agent_id) BETWEEN 1 AND 128) IS NOT TRUE
            THEN 'agent_id: must be 1 to 128 characters'
        WHEN NEW.agent_id ~ '[\n\r\t]' OR NOT agent_is_plain(NEW.agent_id)
            THEN 'agent_id: must be one line without control characters'
        WHEN (octet_length(NEW.instructions) BETWEEN 1 AND 102400) IS NOT TRUE
            THEN 'instructions: must be 1 to 102400 bytes of UTF-8'
        WHEN NOT agent_is_plain(NEW.instructions)
            THEN 'instructions: must hold no control characters but newline, return and tab'
        WHEN length(NEW.join_url) > 2048 OR NEW.join_url !~ '^https://\S*$'
                OR NOT agent_is_plain(NEW.join_url)
            THEN 'join_url: must be an https:// URL of at most 2048 characters'
        WHEN NOT agent_is_duration(NEW.timeout)
            THEN 'timeout: must be between 1 second and 365 days'
        WHEN (NEW.on_empty IN ('Wait', 'Fail')) IS NOT TRUE
            THEN 'on_empty: must be Wait or Fail'
        WHEN (NEW.reclaim_policy IN ('Retain', 'Delete')) IS NOT TRUE
            THEN 'reclaim_policy: must be Retain or Delete'
        WHEN NEW.phase IS DISTINCT FROM 'Pending' OR num_nonnulls(NEW.instance,
                NEW.instance_url, NEW.attempt_by, NEW.attempt_at, NEW.invite_url,
                NEW.conversation_id, NEW.joined, NEW.bound_at, NEW.ready_at) > 0
            THEN 'phase: a status is the controller''s to write; leave phase, instance, attempt_*,'
                ' invite_url, conversation_id, joined, bound_at and ready_at out'
    END;
    IF problem IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'AP422', MESSAGE = problem;
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER agent_claims_born BEFORE INSERT ON agent_claims
    FOR EACH ROW EXECUTE FUNCTION agent_claims_born();

-- Only for writes that name one of these columns, so that a status write does not unpack instructions.
CREATE FUNCTION agent_claims_immutable() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    problem text;
BEGIN
    problem := CASE
        WHEN (NEW.namespace, NEW.name) IS DISTINCT FROM (OLD.namespace, OLD.name) THEN 'name'
        WHEN NEW.uid IS DISTINCT FROM OLD.uid THEN 'uid'
        WHEN NEW.created_at IS DISTINCT FROM OLD.created_at THEN 'created_at'
        WHEN NEW.pool IS DISTINCT FROM OLD.pool THEN 'pool'
        WHEN NEW.agent_id IS DISTINCT FROM OLD.agent_id THEN 'agent_id'
        WHEN NEW.instructions IS DISTINCT FROM OLD.instructions THEN 'instructions'
        WHEN NEW.join_url IS DISTINCT FROM OLD.join_url THEN 'join_url'
        WHEN NEW.timeout IS DISTINCT FROM OLD.timeout THEN 'timeout'
        WHEN NEW.on_empty IS DISTINCT FROM OLD.on_empty THEN 'on_empty'
        WHEN NEW.reclaim_policy IS DISTINCT FROM OLD.reclaim_policy THEN 'reclaim_policy'
    END;
    IF problem IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'AP422',
            MESSAGE = problem || ': is immutable; delete the claim and make another';
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER agent_claims_immutable BEFORE UPDATE OF namespace, name, uid, created_at, pool,
    agent_id, instructions, join_url, timeout, on_empty, reclaim_policy ON agent_claims
    FOR EACH ROW EXECUTE FUNCTION agent_claims_immutable();

-- Named to run after agent_claims_immutable.
CREATE FUNCTION agent_claims_written() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    said boolean := (NEW.phase, NEW.instance, NEW.instance_url, NEW.attempt_by, NEW.attempt_at,
        NEW.invite_url, NEW.conversation_id, NEW.joined, NEW.bound_at, NEW.ready_at, NEW.conditions)
        IS DISTINCT FROM (OLD.phase, OLD.instance, OLD.instance_url, OLD.attempt_by, OLD.attempt_at,
        OLD.invite_url, OLD.conversation_id, OLD.joined, OLD.bound_at, OLD.ready_at, OLD.conditions);
    problem text;
BEGIN
    NEW.generation := OLD.generation;
    NEW.version := OLD.version;
    IF NOT said AND (NEW.labels, NEW.annotations, NEW.managed_by)
            IS NOT DISTINCT FROM (OLD.labels, OLD.annotations, OLD.managed_by) THEN
        RETURN OLD;
    END IF;
    problem := CASE
        WHEN said AND OLD.phase IN ('Ready', 'Failed')
            THEN 'phase: a claim that ended does not change; delete it to release it'
        WHEN (NEW.phase IN ('Pending', 'Bound', 'Ready', 'Failed')) IS NOT TRUE
            THEN 'phase: must be Pending, Bound, Ready or Failed'
        WHEN NEW.phase = 'Bound' AND NEW.instance IS NULL
            THEN 'instance: must be named while phase is Bound'
        WHEN NEW.labels <> '{}' AND NOT agent_is_map(NEW.labels) OR NEW.labels IS NULL
            THEN 'labels: must be an object of at most 64 strings'
        WHEN NEW.annotations <> '{}' AND NOT agent_is_map(NEW.annotations)
                OR NEW.annotations IS NULL
            THEN 'annotations: must be an object of at most 64 strings'
    END;
    IF problem IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'AP422', MESSAGE = problem;
    END IF;
    NEW.version := OLD.version + 1;
    RETURN NEW;
END $$;

CREATE TRIGGER agent_claims_written BEFORE UPDATE ON agent_claims
    FOR EACH ROW EXECUTE FUNCTION agent_claims_written();

-- ---------------------------------------------------------------- agent_instances

CREATE FUNCTION agent_instances_change_problem(old agent_instances, new agent_instances)
RETURNS text LANGUAGE sql IMMUTABLE RETURN CASE
    WHEN (new.namespace, new.name) IS DISTINCT FROM (old.namespace, old.name)
        THEN 'name: is immutable; leave it'
    WHEN (new.uid, new.created_at) IS DISTINCT FROM (old.uid, old.created_at)
        THEN 'uid: uid and created_at are the store''s own; leave them'
    WHEN (new.pool, new.service_name, new.railway_endpoint, new.railway_project_id,
            new.railway_environment_id)
            IS DISTINCT FROM (old.pool, old.service_name, old.railway_endpoint,
            old.railway_project_id, old.railway_environment_id)
        THEN 'pool: the spec of an instance is immutable but for its claim; leave it'
    WHEN (new.template_hash, new.key_id) IS DISTINCT FROM (old.template_hash, old.key_id)
            AND old.phase <> 'Provisioning'
        THEN 'template_hash: says what the instance was made of; only one being made may change it'
    WHEN old.claim_uid IS NOT NULL AND (new.claim_name, new.claim_uid, new.claim_reclaim_policy)
            IS DISTINCT FROM (old.claim_name, old.claim_uid, old.claim_reclaim_policy)
        THEN 'claim_uid: is set once, never cleared or changed; delete the claim to release it'
    WHEN old.claim_uid IS NULL AND new.claim_uid IS NOT NULL
            AND (old.phase <> 'Idle' OR old.barred IS NOT NULL)
        THEN 'claim_uid: only an Idle instance that is not barred can be claimed; take another'
    WHEN old.phase = 'Gone' AND new.phase <> 'Gone'
        THEN 'phase: Gone is final; delete the row when no claim names it'
    WHEN old.phase = 'Retiring' AND new.phase NOT IN ('Retiring', 'Gone')
        THEN 'phase: Retiring is final: its service is being deleted; let it become Gone'
END;

CREATE FUNCTION agent_instances_guard() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    problem text;
BEGIN
    IF TG_OP = 'INSERT' THEN
        NEW.uid := gen_random_uuid()::text;
        NEW.generation := 1;
        NEW.version := 1;
        NEW.created_at := now();
    ELSE
        NEW.generation := OLD.generation;
        NEW.version := OLD.version;
        IF NEW IS NOT DISTINCT FROM OLD THEN
            RETURN OLD;
        END IF;
        problem := agent_instances_change_problem(OLD, NEW);
        NEW.version := OLD.version + 1;
        IF (NEW.claim_uid, NEW.template_hash, NEW.key_id)
                IS DISTINCT FROM (OLD.claim_uid, OLD.template_hash, OLD.key_id) THEN
            NEW.generation := OLD.generation + 1;
        END IF;
    END IF;
    problem := CASE
        WHEN problem IS NOT NULL
            THEN problem
        WHEN agent_is_name(NEW.name) IS NOT TRUE
            THEN 'name: must be lower-case letters, digits, - and ., at most 253'
        WHEN agent_is_name(NEW.pool) IS NOT TRUE
            THEN 'pool: must be the name of a pool'
        WHEN (NEW.phase IN ('Provisioning', 'Idle', 'Claimed', 'Failed', 'Retiring', 'Gone'))
                IS NOT TRUE
            THEN 'phase: must be Provisioning, Idle, Claimed, Failed, Retiring or Gone'
        WHEN num_nulls(NEW.claim_name, NEW.claim_uid, NEW.claim_reclaim_policy) NOT IN (0, 3)
            THEN 'claim_uid: goes together with claim_name and claim_reclaim_policy; set all three'
    END;
    IF problem IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'AP422', MESSAGE = problem;
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER agent_instances_guard BEFORE INSERT OR UPDATE ON agent_instances
    FOR EACH ROW EXECUTE FUNCTION agent_instances_guard();

CREATE FUNCTION agent_instances_keep() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.phase <> 'Gone' THEN
        RAISE EXCEPTION USING ERRCODE = 'AP422', MESSAGE =
            'phase: only a Gone instance may be deleted; let it retire, or delete its claim';
    END IF;
    RETURN OLD;
END $$;

CREATE TRIGGER agent_instances_keep BEFORE DELETE ON agent_instances
    FOR EACH ROW EXECUTE FUNCTION agent_instances_keep();
