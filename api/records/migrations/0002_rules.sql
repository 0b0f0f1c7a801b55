-- The rules of the kinds, as api/types.py has them, for whoever writes: a program or a person at psql.
--
-- A broken rule is raised with SQLSTATE AP422 and a message `column: mend` that never holds a value.
-- Each guard is one CASE, first broken rule first: one expression costs far less than a call for each.
-- A write that repeats what is there keeps its version, and therefore rings no bell (0003).

CREATE FUNCTION agent_is_name(t text) RETURNS boolean LANGUAGE sql IMMUTABLE
    RETURN length(t) <= 253 AND t ~ '^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$';

CREATE FUNCTION agent_is_plain(t text) RETURNS boolean LANGUAGE sql IMMUTABLE
    RETURN t !~ '[\u0001-\u0008\u000b\u000c\u000e-\u001f\u007f]';

CREATE FUNCTION agent_is_duration(i interval) RETURNS boolean LANGUAGE sql IMMUTABLE
    RETURN i BETWEEN interval '1 second' AND interval '365 days';

CREATE FUNCTION agent_is_map(m jsonb) RETURNS boolean LANGUAGE sql IMMUTABLE
    RETURN CASE jsonb_typeof(m) WHEN 'object' THEN
        NOT jsonb_path_exists(m, '$.* ? (@.type() <> "string")')
        AND (SELECT count(*) FROM jsonb_object_keys(m)) <= 64
    ELSE false END;

-- ---------------------------------------------------------------- template.env

-- What is wrong with one variable, after its path; NULL: nothing.
CREATE FUNCTION agent_env_var_problem(e jsonb) RETURNS text LANGUAGE sql IMMUTABLE RETURN CASE
    WHEN jsonb_typeof(e) <> 'object'
        THEN ': must be an object with name and value or valueFrom'
    WHEN e - '{name,value,valueFrom}'::text[] <> '{}'
        THEN ': knows only name, value and valueFrom; remove the rest'
    WHEN (length(e->>'name') <= 128 AND e->>'name' ~ '^[A-Za-z_][A-Za-z0-9_]*$') IS NOT TRUE
        THEN '.name: must be letters, digits and _, at most 128, no digit first'
    WHEN e->>'name' ~ '^(POOL_|RAILWAY_)' OR e->>'name' IN ('PORT', 'SETUP_PASSWORD')
        THEN '.name: is reserved: POOL_*, RAILWAY_*, PORT and SETUP_PASSWORD are ours; rename it'
    WHEN (e->>'value' IS NULL) = (e->>'valueFrom' IS NULL)
        THEN ': must have exactly one of value and valueFrom'
    WHEN jsonb_typeof(e->'value') <> 'string' AND jsonb_typeof(e->'value') <> 'null'
        THEN '.value: must be a string; put it in quotes'
    WHEN length(e->>'value') > 32768
        THEN '.value: must be at most 32768 characters'
    WHEN e->>'value' IS NOT NULL
        THEN NULL
    WHEN jsonb_typeof(e->'valueFrom') <> 'object'
        THEN '.valueFrom: must be an object with env'
    WHEN e->'valueFrom'->>'secretKeyRef' IS NOT NULL
        THEN '.valueFrom.secretKeyRef: Kubernetes only; use valueFrom.env'
    WHEN (e->'valueFrom') - '{env,secretKeyRef}'::text[] <> '{}'
        THEN '.valueFrom: knows only env; remove the rest'
    WHEN (length(e->'valueFrom'->>'env') <= 128
            AND e->'valueFrom'->>'env' ~ '^INSTANCE_[A-Za-z0-9_]+$') IS NOT TRUE
        THEN '.valueFrom.env: must name an INSTANCE_* variable of the controller'
END;

CREATE FUNCTION agent_env_problem(env jsonb) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    problem text;
BEGIN
    IF env = '[]' THEN
        RETURN NULL;
    ELSIF (jsonb_typeof(env) = 'array') IS NOT TRUE OR jsonb_array_length(env) > 100 THEN
        RETURN 'env: must be a list of at most 100 objects with name and value or valueFrom';
    END IF;
    SELECT format('env[%s]%s', nr - 1, agent_env_var_problem(e)) INTO problem
        FROM jsonb_array_elements(env) WITH ORDINALITY AS one(e, nr)
        WHERE agent_env_var_problem(e) IS NOT NULL
        ORDER BY nr LIMIT 1;
    IF problem IS NULL
            AND (SELECT count(DISTINCT e->>'name') < count(*) FROM jsonb_array_elements(env) AS e)
    THEN
        RETURN 'env: names a variable more than once; keep one';
    END IF;
    RETURN problem;
END $$;

-- ---------------------------------------------------------------- agent_pools

CREATE FUNCTION agent_pools_problem(p agent_pools) RETURNS text LANGUAGE sql IMMUTABLE RETURN CASE
    WHEN agent_is_name(p.name) IS NOT TRUE
        THEN 'name: must be lower-case letters, digits, - and ., at most 253'
    WHEN agent_is_name(p.namespace) IS NOT TRUE
        THEN 'namespace: must be lower-case letters, digits, - and ., at most 253'
    WHEN agent_is_map(p.labels) IS NOT TRUE
        THEN 'labels: must be an object of at most 64 strings'
    WHEN agent_is_map(p.annotations) IS NOT TRUE
        THEN 'annotations: must be an object of at most 64 strings'
    WHEN (p.min_idle BETWEEN 0 AND 10000) IS NOT TRUE
        THEN 'min_idle: must be between 0 and 10000'
    WHEN (p.max_total BETWEEN 0 AND 10000) IS NOT TRUE
        THEN 'max_total: must be between 0 and 10000'
    WHEN p.min_idle > p.max_total
        THEN 'min_idle: must not exceed max_total; raise max_total with it'
    WHEN (p.repo IS NULL) = (p.image IS NULL)
        THEN 'repo: give exactly one of repo and image'
    WHEN length(p.repo) > 200 OR p.repo !~ '^[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+$'
        THEN 'repo: must be owner/name, at most 200 characters'
    WHEN p.branch IS NOT NULL AND p.repo IS NULL
        THEN 'branch: goes only with repo; leave it out'
    WHEN length(p.branch) NOT BETWEEN 1 AND 255
        THEN 'branch: must be 1 to 255 characters'
    WHEN p.root_directory IS NOT NULL AND p.repo IS NULL
        THEN 'root_directory: goes only with repo; leave it out'
    WHEN length(p.root_directory) NOT BETWEEN 1 AND 255
        THEN 'root_directory: must be 1 to 255 characters'
    WHEN length(p.image) NOT BETWEEN 1 AND 512
        THEN 'image: must be 1 to 512 characters'
    WHEN agent_env_problem(p.env) IS NOT NULL
        THEN agent_env_problem(p.env)
    WHEN (p.port BETWEEN 1 AND 65535) IS NOT TRUE
        THEN 'port: must be between 1 and 65535'
    WHEN length(p.healthcheck_path) > 255 OR p.healthcheck_path !~ '^/\S*$'
        THEN 'healthcheck_path: must begin with / and hold no space, at most 255 characters'
    WHEN (length(p.name_prefix) <= 16 AND p.name_prefix ~ '^[a-z][-a-z0-9]*$') IS NOT TRUE
        THEN 'name_prefix: must be lower-case letters, digits and -, a letter first, at most 16'
    WHEN agent_is_duration(p.provision_timeout) IS NOT TRUE
        THEN 'provision_timeout: must be between 1 second and 365 days'
    WHEN agent_is_duration(p.claim_timeout) IS NOT TRUE
        THEN 'claim_timeout: must be between 1 second and 365 days'
    WHEN p.failed_claim_ttl IS DISTINCT FROM interval '24 hours'
        THEN 'failed_claim_ttl: not yet: this version does not act on it, so it must be left out'
    WHEN (p.reclaim_policy IN ('Retain', 'Delete')) IS NOT TRUE
        THEN 'reclaim_policy: must be Retain or Delete'
    WHEN p.max_unavailable IS DISTINCT FROM 1
        THEN 'max_unavailable: not yet: this version does not act on it, so it must be left out'
    WHEN p.paused IS NULL
        THEN 'paused: must be true or false'
    WHEN length(p.railway_project_id) NOT BETWEEN 1 AND 64
        THEN 'railway_project_id: must be 1 to 64 characters'
    WHEN length(p.railway_environment_id) NOT BETWEEN 1 AND 64
        THEN 'railway_environment_id: must be 1 to 64 characters'
    WHEN p.railway_token_from IS NOT NULL
        THEN 'railway_token_from: not yet: this version does not act on it, so it must be left out'
END;

-- What may never change, here and below: NULL where nothing of it did.
CREATE FUNCTION agent_pools_change_problem(old agent_pools, new agent_pools) RETURNS text
LANGUAGE sql IMMUTABLE RETURN CASE
    WHEN (new.namespace, new.name) IS DISTINCT FROM (old.namespace, old.name)
        THEN 'name: is immutable; make another pool'
    WHEN (new.uid, new.created_at) IS DISTINCT FROM (old.uid, old.created_at)
        THEN 'uid: uid and created_at are the store''s own; leave them'
    WHEN (new.railway_project_id, new.railway_environment_id)
            IS DISTINCT FROM (old.railway_project_id, old.railway_environment_id)
        THEN 'railway_project_id: the pool''s railway is immutable; make another pool'
END;

-- The spec of a pool as one value, to see whether it changed.
CREATE FUNCTION agent_pools_spec(p agent_pools) RETURNS record LANGUAGE sql IMMUTABLE RETURN ROW(
    p.min_idle, p.max_total, p.repo, p.branch, p.root_directory, p.image, p.env, p.port,
    p.healthcheck_path, p.name_prefix, p.provision_timeout, p.claim_timeout, p.failed_claim_ttl,
    p.reclaim_policy, p.max_unavailable, p.paused, p.railway_project_id,
    p.railway_environment_id, p.railway_token_from
);

CREATE FUNCTION agent_pools_guard() RETURNS trigger LANGUAGE plpgsql AS $$
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
        problem := agent_pools_change_problem(OLD, NEW);
        NEW.version := OLD.version + 1;
        IF agent_pools_spec(NEW) IS DISTINCT FROM agent_pools_spec(OLD) THEN
            NEW.generation := OLD.generation + 1;
        END IF;
    END IF;
    problem := coalesce(problem, agent_pools_problem(NEW));
    IF problem IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'AP422', MESSAGE = problem;
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER agent_pools_guard BEFORE INSERT OR UPDATE ON agent_pools
    FOR EACH ROW EXECUTE FUNCTION agent_pools_guard();
