"""The pool `default` as the seed's variables declare it: written when they change, not at every start.

An UPDATE or an `apply` in between survives restarts; a changed variable wins. The annotation keeps a
hash of the values that were declared last.
"""

import hashlib
import json
import logging

from api.records import AlreadyExists, Conflict, NotFound, Records
from api.records.moving import is_arriving
from api.settings import SettingError
from api.types import DEFAULT_POOL, MANAGED_BY, AgentPool, Key, Meta, PoolSpec, Template, key_of
from controller.settings import ControllerSettings

log = logging.getLogger(__name__)

DECLARED_HASH = "pool.convos.org/declared-hash"
TRIES = 5
_MEND = "start again once `agent-pool apply` has ended, or run it again if it was cut off"


def declared(settings: ControllerSettings) -> AgentPool | None:
    """The pool that the variables describe; None where they name no source."""
    source = settings.source()
    if source is None:
        return None
    min_idle, max_total, _ = settings.pool_size()
    spec = PoolSpec(min_idle=min_idle, max_total=max_total, template=Template(source=source))
    values = json.dumps(
        [min_idle, max_total, source.wire()],
        sort_keys=True,
    )
    mark = hashlib.sha256(values.encode()).hexdigest()[:16]
    meta = Meta(
        name=DEFAULT_POOL,
        namespace=settings.namespace,
        labels={MANAGED_BY: "settings"},
        annotations={DECLARED_HASH: mark},
    )
    return AgentPool(metadata=meta, spec=spec)


async def declare(records: Records, settings: ControllerSettings) -> None:
    """Create or change the pool `default` if what the variables say is new."""
    _, _, warning = settings.pool_size()
    if warning:
        log.warning(warning)
    wanted = declared(settings)
    if wanted is None:
        return
    for _ in range(TRIES):
        try:
            await _write(records, wanted)
        except (Conflict, AlreadyExists, NotFound):
            continue  # Another process declares the same: look again.
        return


async def _write(records: Records, wanted: AgentPool) -> None:
    extra = {"pool": wanted.metadata.name}
    there = await _existing(records, key_of(wanted))
    if there is None:
        await records.create_pool(wanted)
        log.info("pool created from the variables", extra=extra)
        return
    mark = wanted.metadata.annotations[DECLARED_HASH]
    if there.metadata.annotations.get(DECLARED_HASH) == mark:
        log.info("the variables have not changed: the pool on record holds", extra=extra)
        return
    if is_arriving(there):
        said = "are new, but the pool `default` is being moved in"
        raise SettingError("POOL_MIN_IDLE, POOL_MAX_TOTAL, RAILWAY_SOURCE_*", f"{said}; {_MEND}")
    await records.replace_pool(_merged(there, wanted))
    log.info("the variables have changed: they win over the pool on record", extra=extra)


async def _existing(records: Records, key: Key) -> AgentPool | None:
    try:
        return await records.pool(key)
    except NotFound:
        return None


def _merged(there: AgentPool, wanted: AgentPool) -> AgentPool:
    """What the variables speak of changes; what they do not know (env, policies) stays."""
    template = there.spec.template.model_copy(update={"source": wanted.spec.template.source})
    sizes = {"min_idle": wanted.spec.min_idle, "max_total": wanted.spec.max_total}
    spec = there.spec.model_copy(update={**sizes, "template": template})
    annotations = {**there.metadata.annotations, **wanted.metadata.annotations}
    meta = there.metadata.model_copy(update={"annotations": annotations})
    return there.model_copy(update={"spec": spec, "metadata": meta})
