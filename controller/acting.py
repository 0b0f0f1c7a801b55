"""Carries one instance forward on Railway: one request after the other, each result on record at once."""

import logging
from collections.abc import Callable
from math import inf

from api.records import NotFound, Records, RecordsError
from api.types import (
    AgentInstance,
    AgentPool,
    ClaimPhase,
    InstancePhase,
    Key,
    key_of,
    pool_key,
)
from controller import lifecycle, naming, template
from controller.course import CREATES, Course, Verb, own_course
from controller.environment import NO_CAPACITY_AGAIN_S, Environment
from controller.railway import Gone, Make, NoCapacity, NotReady, RailwayError, RateLimited, Refused
from controller.railway.budget import Lane
from controller.storetime import StoreTime
from controller.template import Recipe

log = logging.getLogger(__name__)

NOT_READY_AGAIN_S = 5.0  # Railway's own advice for a domain that cannot be made yet.
WRITE_TRIES = 3


class Actor:
    """`act(key)`: one pass over one instance; how soon to come again, or None until somebody rings.

    `course_of(pool)`: how its instances come to be now; None while nothing may be created.
    `is_urgent(pool)`: whether claims wait for what is created there.
    """

    def __init__(
        self,
        records: Records,
        environment: Environment,
        recipe: Recipe,
        *,
        time: StoreTime,
        course_of: Callable[[AgentPool], Course | None],
        is_urgent: Callable[[Key], bool],
    ) -> None:
        self._records = records
        self._environment = environment
        self._recipe = recipe
        self._time = time
        self._course_of = course_of
        self._is_urgent = is_urgent
        self._unnameable: set[str] = set()

    async def act(self, key: Key) -> float | None:
        try:
            instance = await self._records.instance(key)
        except NotFound:
            return None
        pool = await self._pool(instance)
        try:
            return await self._advance(instance, pool)
        except (RateLimited, NotReady, NoCapacity) as error:  # The pool's status says why.
            log.debug("later: %s", error, extra={"instance": key.name})
            return _again_after_s(error)
        except Refused as error:
            return await self._refused(key, error)
        except RailwayError as error:
            log.warning("%s: %s", type(error).__name__, error, extra={"instance": key.name})
            return None  # The next look shows what became of it, and rings.

    def wants_name(self, instance: AgentInstance) -> bool:
        """Claimed, and still under the name it was made with."""
        service = self._environment.sight.service(instance)
        return (
            instance.spec.claim_ref is not None
            and instance.status.phase not in (InstancePhase.RETIRING, InstancePhase.GONE)
            and instance.metadata.name not in self._unnameable
            and service is not None
            and service.name == instance.spec.service_name
            and self._environment.sight.shows_writes(instance)
        )

    async def _pool(self, instance: AgentInstance) -> AgentPool | None:
        try:
            return await self._records.pool(pool_key(instance))
        except NotFound:
            return None

    async def _advance(self, instance: AgentInstance, pool: AgentPool | None) -> float | None:
        """As far as this instance can go now without another look."""
        course = self._course_of(pool) if pool else None
        while True:
            sight, now = self._environment.sight, self._time.now()
            verb = lifecycle.next_act(instance, sight, self._own(course, instance), now)
            if verb is None:
                if self.wants_name(instance):
                    await self._rename(instance)
                return None
            until = inf
            if verb in CREATES:
                until = self._environment.begins(instance)
                if not await self._stands(instance):
                    return 0.0  # It changed before that: look again.
                if not await self._has_room(instance):
                    return None  # It keeps its place, until there is room for it.
            current = await self._current(instance, pool, verb)
            own = self._own(course, current) if current else None
            written = current and await self._perform(verb, current, pool, own, until)
            if written is None:
                return 0.0  # It changed meanwhile: look again.
            if verb is Verb.DELETE:
                return None
            instance = written

    async def _stands(self, instance: AgentInstance) -> bool:
        """Whether it is on record as we have read it."""
        try:
            return await self._records.instance(key_of(instance)) == instance
        except NotFound:
            return False

    def _own(self, course: Course | None, instance: AgentInstance) -> Course | None:
        return own_course(course, instance, self._environment.sight.service(instance))

    async def _has_room(self, instance: AgentInstance) -> bool:
        """Whether its service still fits: maxTotal may have sunk, or an orphan shown, since the intent."""
        if (pool := await self._pool(instance)) is None:
            return False
        orphans = len(self._environment.orphans(pool_key(instance), pool.spec.name_prefix))
        return await self._records.before(instance) + orphans < pool.spec.max_total

    async def _current(
        self, instance: AgentInstance, pool: AgentPool | None, verb: Verb
    ) -> AgentInstance | None:
        """The record names what is about to be sent: the template and the secret of now."""
        if pool is None or verb not in (Verb.CREATE_WHOLE, Verb.PATCH):
            return instance
        now = {
            "template_hash": template.template_hash(pool, self._recipe),
            "key_id": template.key_id(self._recipe.secret),
        }
        spec = instance.spec.model_copy(update=now)
        return instance if spec == instance.spec else await self._write(instance, spec=spec)

    async def _perform(
        self,
        verb: Verb,
        instance: AgentInstance,
        pool: AgentPool | None,
        course: Course | None,
        until: float,
    ) -> AgentInstance | None:
        make = await self._make(pool, instance, verb) if pool else None
        urgent = verb is Verb.DELETE or self._is_urgent(pool_key(instance))
        lane = Lane.URGENT if urgent else Lane.CREATE
        extra = {"instance": instance.metadata.name}
        try:
            found = await self._environment.perform(verb, instance, make, lane, until)
        except Gone:
            if verb is not Verb.DELETE:
                raise
            return instance
        log.info("railway: %s", verb, extra=extra)
        if course is None:
            return instance
        return await self._write_down(instance, verb, course, found)

    async def _make(self, pool: AgentPool, instance: AgentInstance, verb: Verb) -> Make | None:
        """What is sent, where that request sends it; Secrets are read now and kept nowhere."""
        if verb not in (Verb.CREATE_WHOLE, Verb.PATCH, Verb.UPDATE_SETTINGS):
            return None
        refs = template.secret_refs(pool) if verb is not Verb.UPDATE_SETTINGS else {}
        secrets = {}
        for variable, ref in refs.items():
            try:
                namespace = pool.metadata.namespace
                secrets[variable] = await self._records.secret(Key(namespace, ref.name), ref.key)
            except NotFound:
                said = f"template.env {variable}: the Secret {ref.name} has no {ref.key}: make it"
                log.warning(said, extra={"pool": pool.metadata.name})
                raise NotReady(said) from None
        return template.make(pool, instance, self._recipe, secrets)

    async def _write_down(
        self, instance: AgentInstance, verb: Verb, course: Course, found: dict[str, str]
    ) -> AgentInstance | None:
        """What was done goes on record, over what was seen meanwhile; else nothing more before a look."""
        made_of = instance.spec
        try:
            for _ in range(WRITE_TRIES):
                now = self._time.now()
                status = lifecycle.stepped(instance.status, verb, course, now, **found)
                if (written := await self._write(instance, status=status)) is not None:
                    return written
                instance = await self._records.instance(key_of(instance))
                own = self._own(course, instance)
                due = lifecycle.next_act(instance, self._environment.sight, own, now)
                if due is not verb or instance.spec != made_of:
                    break  # Somebody else has carried it on: nothing of that is undone.
        except RecordsError:
            self._environment.doubt(instance)
            raise
        self._environment.doubt(instance)
        return None

    async def _refused(self, key: Key, error: Refused) -> float | None:
        """Not again as it is: the instance has failed, and its pool counts it."""
        instance = await self._records.instance(key)
        log.warning("Railway refused: %s", error, extra={"instance": key.name})
        if instance.spec.claim_ref is None and instance.status.phase is InstancePhase.PROVISIONING:
            status = lifecycle.failed(
                instance.status, "Refused", self._time.now(), str(error)[:200]
            )
            await self._write(instance, status=status)
        return None

    async def _rename(self, instance: AgentInstance) -> None:
        """So that it can be found in Railway's dashboard; once, and only what nobody renamed."""
        ref = instance.spec.claim_ref
        assert ref is not None  # noqa: S101
        key = Key(instance.metadata.namespace, ref.name)
        claims = [c for c in await self._records.claims([key]) if c.metadata.uid == ref.uid]
        if not claims or claims[0].status.phase is not ClaimPhase.READY:
            return
        prefix = instance.spec.service_name.removesuffix(instance.metadata.name)
        name = naming.claimed_name(prefix, claims[0].spec.agent_id, instance.metadata.name)
        if name == instance.spec.service_name:
            self._unnameable.add(instance.metadata.name)
            return
        extra = {"instance": instance.metadata.name, "claim": ref.name}
        try:
            await self._environment.rename(instance, name)
            log.info("railway: renamed to %s", name, extra=extra)
        except (RateLimited, NotReady):
            raise
        except RailwayError:
            self._unnameable.add(instance.metadata.name)  # A name is not worth asking twice.
            raise

    async def _write(self, instance: AgentInstance, **changed: object) -> AgentInstance | None:
        new = instance.model_copy(update=changed)
        return (await self._records.write_instances([new]))[0]


def _again_after_s(error: RailwayError) -> float:
    if isinstance(error, RateLimited):
        return error.after_s
    return NOT_READY_AGAIN_S if isinstance(error, NotReady) else NO_CAPACITY_AGAIN_S
