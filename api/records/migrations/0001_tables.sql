-- The three kinds as rows, events, leases, and the installation. One column for each field, in its own words.
--
-- spec and status stand side by side; users write the spec's columns, the controller the status's.
-- uid, generation, version and created_at are the store's own: triggers (0002) set and keep them, as
-- the identity `seq` keeps itself; it orders claims and instances.
-- text stands for text: its bounds are rules of 0002, which can say what to mend; a CHECK here is only
-- the last line of defence, for what no user meets.

CREATE TABLE agent_pools (
    namespace              text        NOT NULL DEFAULT 'default',
    name                   text        NOT NULL,
    uid                    text        NOT NULL,
    generation             bigint      NOT NULL DEFAULT 1,
    version                bigint      NOT NULL DEFAULT 1,
    labels                 jsonb       NOT NULL DEFAULT '{}',
    annotations            jsonb       NOT NULL DEFAULT '{}',
    managed_by             text,       -- The label app.kubernetes.io/managed-by.
    created_at             timestamptz NOT NULL DEFAULT now(),
    -- spec
    min_idle               integer     NOT NULL DEFAULT 3,
    max_total              integer     NOT NULL DEFAULT 10,
    repo                   text,       -- template.source.repo.name; exactly one of repo and image.
    branch                 text,
    root_directory         text,
    image                  text,
    env                    jsonb       NOT NULL DEFAULT '[]',
    port                   integer     NOT NULL DEFAULT 8080,
    healthcheck_path       text,
    name_prefix            text        NOT NULL DEFAULT 'convos-agent-',
    provision_timeout      interval    NOT NULL DEFAULT '15 minutes',
    claim_timeout          interval    NOT NULL DEFAULT '10 minutes',
    failed_claim_ttl       interval    NOT NULL DEFAULT '24 hours',
    reclaim_policy         text        NOT NULL DEFAULT 'Retain',
    max_unavailable        integer     NOT NULL DEFAULT 1, -- rollout.maxUnavailable
    paused                 boolean     NOT NULL DEFAULT false,
    railway_project_id     text,
    railway_environment_id text,
    railway_token_from     jsonb,
    -- status
    observed_generation    bigint      NOT NULL DEFAULT 0,
    provisioning           integer     NOT NULL DEFAULT 0,
    idle                   integer     NOT NULL DEFAULT 0,
    claimed                integer     NOT NULL DEFAULT 0,
    failed                 integer     NOT NULL DEFAULT 0,
    total                  integer     NOT NULL DEFAULT 0,
    waiting                integer     NOT NULL DEFAULT 0,
    outdated               integer     NOT NULL DEFAULT 0,
    selector               text        NOT NULL DEFAULT '',
    conditions             jsonb       NOT NULL DEFAULT '[]',
    PRIMARY KEY (namespace, name)
);

CREATE TABLE agent_claims (
    seq             bigint      GENERATED ALWAYS AS IDENTITY,
    namespace       text        NOT NULL DEFAULT 'default',
    name            text        NOT NULL,
    uid             text        NOT NULL,
    generation      bigint      NOT NULL DEFAULT 1,
    version         bigint      NOT NULL DEFAULT 1,
    labels          jsonb       NOT NULL DEFAULT '{}',
    annotations     jsonb       NOT NULL DEFAULT '{}',
    managed_by      text,
    created_at      timestamptz NOT NULL DEFAULT now(),
    -- spec
    pool            text        NOT NULL DEFAULT 'default',
    agent_id        text        NOT NULL,
    instructions    text        NOT NULL,
    join_url        text,
    timeout         interval,
    on_empty        text        NOT NULL DEFAULT 'Wait',
    reclaim_policy  text        NOT NULL DEFAULT 'Retain',
    -- status
    phase           text        NOT NULL DEFAULT 'Pending',
    instance        text,
    instance_url    text,
    attempt_by      text,
    attempt_at      timestamptz,
    invite_url      text,
    conversation_id text,
    joined          boolean,
    bound_at        timestamptz,
    ready_at        timestamptz,
    conditions      jsonb       NOT NULL DEFAULT '[]',
    PRIMARY KEY (namespace, name),
    CHECK ((attempt_by IS NULL) = (attempt_at IS NULL)),
    CHECK (phase <> 'Bound' OR instance IS NOT NULL)
);

-- The queue, and what a pass must look at: never the claims that ended, however many are kept.
-- A `phase` in a predicate makes its change no HOT update. Here it changes with `instance`, which is
-- indexed anyway, and once more at the end of a claim, where that costs 3 of 20 us (measured).
-- Queries repeat the predicates literally.
CREATE INDEX agent_claims_pending ON agent_claims (namespace, pool, seq) WHERE phase = 'Pending';
CREATE INDEX agent_claims_open ON agent_claims (namespace, pool, seq)
    WHERE phase IN ('Pending', 'Bound');
-- The last line of defence of "an instance serves at most one claim".
CREATE UNIQUE INDEX agent_claims_instance ON agent_claims (namespace, instance)
    WHERE instance IS NOT NULL;
-- Newest first, for people. By time and not by seq, so that the queue's order has one index only.
CREATE INDEX agent_claims_created ON agent_claims (namespace, created_at);

CREATE TABLE agent_instances (
    seq                    bigint      GENERATED ALWAYS AS IDENTITY,
    namespace              text        NOT NULL DEFAULT 'default',
    name                   text        NOT NULL,
    uid                    text        NOT NULL,
    generation             bigint      NOT NULL DEFAULT 1,
    version                bigint      NOT NULL DEFAULT 1,
    labels                 jsonb       NOT NULL DEFAULT '{}',
    annotations            jsonb       NOT NULL DEFAULT '{}',
    managed_by             text,
    created_at             timestamptz NOT NULL DEFAULT now(),
    -- spec
    pool                   text        NOT NULL,
    service_name           text        NOT NULL,
    template_hash          text        NOT NULL,
    key_id                 text        NOT NULL,
    railway_endpoint       text        NOT NULL,
    railway_project_id     text        NOT NULL,
    railway_environment_id text        NOT NULL,
    claim_name             text,       -- The claimRef: set once, all three together.
    claim_uid              text,
    claim_reclaim_policy   text,
    -- status
    phase                  text        NOT NULL DEFAULT 'Provisioning',
    service_id             text,
    url                    text,
    deployment_id          text,
    deployment_status      text,
    ready_at               timestamptz,
    barred                 text,
    conditions             jsonb       NOT NULL DEFAULT '[]',
    PRIMARY KEY (namespace, name),
    CHECK ((claim_uid IS NULL) = (claim_name IS NULL)),
    CHECK ((claim_uid IS NULL) = (claim_reclaim_policy IS NULL)),
    CHECK ((deployment_id IS NULL) = (deployment_status IS NULL))
);

-- Who may be offered. Without `phase`, so that what is seen every few seconds stays a HOT update.
CREATE INDEX agent_instances_free ON agent_instances (namespace, pool, seq)
    WHERE claim_uid IS NULL;
CREATE INDEX agent_instances_pool ON agent_instances (namespace, pool);

CREATE TABLE agent_events (
    seq       bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    namespace text        NOT NULL,
    kind      text        NOT NULL,
    name      text        NOT NULL,
    type      text        NOT NULL,
    reason    text        NOT NULL,
    message   text        NOT NULL,
    count     integer     NOT NULL DEFAULT 1,
    first_at  timestamptz NOT NULL DEFAULT now(),
    last_at   timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX agent_events_of ON agent_events (namespace, kind, name, seq);

-- Who may act. `version` moves at every write; whoever watches judges by its own clock.
CREATE TABLE leases (
    name       text        PRIMARY KEY,
    holder     text        NOT NULL,
    version    bigint      NOT NULL DEFAULT 1,
    changed_at timestamptz NOT NULL DEFAULT now()
);

-- One row, made here once. The secret: SHA-256 over 366 bits of the server's strong randomness
-- (gen_random_uuid is in the core since 13; pgcrypto may not be installed).
CREATE TABLE installation (
    one             boolean     PRIMARY KEY DEFAULT true CHECK (one),
    owner_id        text        NOT NULL DEFAULT replace(gen_random_uuid()::text, '-', ''),
    instance_secret bytea       NOT NULL CHECK (octet_length(instance_secret) >= 32),
    created_at      timestamptz NOT NULL DEFAULT now()
);

INSERT INTO installation (instance_secret) VALUES (sha256(
    uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())
));
