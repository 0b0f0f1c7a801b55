"""Sudden acts of anybody, right in the middle of what others do: to records, to Railway, to clocks."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextvars import Context
from typing import Any

from api.records import Outcome, RecordsError, Thing
from api.records.memory_tables import Tables
from api.types import (
    AgentPool,
    ClaimPhase,
    InstancePhase,
    ReclaimPolicy,
    Source,
    Template,
)
from controller.railway.simulator.holdings import Refusal
from controller.sizing import failed_claim
from tests.history.facts import BACKUP
from tests.storm.processes import ACTOR
from tests.storm.stage import REPO, Stage

BACKUPS_SHARE = 0.2  # Of the seeds in which an old backup is put back, once.
LATE_SHARE = 0.5  # Of the seeds in which somebody comes when all is at rest.
FREE = (InstancePhase.PROVISIONING, InstancePhase.IDLE)
Edit = Callable[[AgentPool], dict[str, Any]]


class Hands:
    """`meddle()` is one act. `pools`: what is applied again, where somebody deleted it."""

    def __init__(self, stage: Stage, pools: dict[str, AgentPool]) -> None:
        self._stage, self._store, self._pools = stage, stage.store, pools
        self._dice = stage.chance("meddle")
        self._late = stage.chance("late")
        self._backup: Tables | None = None
        self._restores = self._dice.random() < BACKUPS_SHARE
        self._acts: Sequence[Callable[[], None]] = (
            *(self._edit_pool,) * 2,
            self._drop_pool,
            *(self._release,) * 2,
            *(self._touch_service,) * 3,
            *(self._use_agent,) * 2,
            self._push,
            self._copy,
            *(self._edit_row,) * 2,
            self._store.sever,
            self._stage.set_the_clock,
            self._go_back,
        )

    def meddle(self) -> None:
        """Somebody does something right now, whoever is in the middle of what."""
        token = ACTOR.set("somebody")
        try:
            self._dice.choice(self._acts)()
        except (RecordsError, Refusal):
            pass
        finally:
            ACTOR.reset(token)

    def apply_again(self) -> None:
        """The pools that are not there any more."""
        there = {pool.metadata.name for pool in self._store.tables.pools.values()}
        for name, pool in self._pools.items():
            if name not in there:
                self._store.create(pool, ordered=True)

    def visit_late(self) -> bool:
        """Somebody does something when all has come to rest, which must be seen all the same; or nobody."""
        dice, there = self._late, list(self._store.tables.instances.values())
        alive = [i for i in there if i.status.phase in (InstancePhase.IDLE, InstancePhase.CLAIMED)]
        if dice.random() >= LATE_SHARE or not alive or not self._stage.fate.befalls("visit"):
            return False
        instance = dice.choice(sorted(alive, key=lambda each: each.metadata.name))
        ref = instance.spec.claim_ref
        token = ACTOR.set("somebody")
        try:
            if ref is not None and dice.random() < 0.5:
                claims = self._store.tables.claims.values()
                for claim in [c for c in claims if c.metadata.uid == ref.uid]:
                    self._store.delete(claim, unchanged=False)
            else:
                self._act("delete-service", service=instance.status.service_id)
        except Refusal:  # It is gone already.
            return False
        finally:
            ACTOR.reset(token)
        return True

    # ---------------------------------------------------------------- pools

    def _edit_pool(self) -> None:
        if (pool := self._one_of(self._store.tables.pools.values())) is not None:
            changed = self._dice.choice(self._edits())(pool)
            spec = pool.spec.model_copy(update=changed)
            self._store.replace_pool(pool.model_copy(update={"spec": spec}))

    def _edits(self) -> Sequence[Edit]:
        dice = self._dice
        image = f"agents/convos:{dice.random()}"
        return (
            lambda pool: {"min_idle": dice.randint(0, pool.spec.max_total)},
            lambda pool: {"max_total": pool.spec.min_idle + dice.randint(0, 8)},
            lambda _: {"template": Template(source=Source(image=image))},
            lambda _: {"reclaim_policy": dice.choice(list(ReclaimPolicy))},
            lambda pool: {"paused": not pool.spec.paused},
        )

    def _drop_pool(self) -> None:
        """Deleted, and soon applied again."""
        if (pool := self._one_of(self._store.tables.pools.values())) is not None:
            self._store.delete(pool, unchanged=False)
            after_s = self._dice.uniform(0, 40)
            asyncio.get_running_loop().call_later(after_s, self.apply_again, context=Context())

    # ---------------------------------------------------------------- claims and instances

    def _release(self) -> None:
        """Of any claim, mostly of one that is just being handed over."""
        claims = list(self._store.tables.claims.values())
        bound = [c for c in claims if c.status.phase is ClaimPhase.BOUND]
        if (claim := self._one_of(bound or claims)) is not None:
            self._store.delete(claim, unchanged=False)

    def _edit_row(self) -> None:
        """At psql, within the rules: take an instance out of offer, or give a claim up."""
        if self._dice.random() < 0.3:
            self._give_up_claim()
            return
        free = (i for i in self._store.tables.instances.values() if i.spec.claim_ref is None)
        instance = self._one_of(i for i in free if i.status.phase in FREE)
        if instance is not None:
            change: dict[str, Any] = self._dice.choice(
                (
                    {"barred": "ByHand"},
                    {"phase": InstancePhase.FAILED},
                    {"phase": InstancePhase.RETIRING},
                )
            )
            status = instance.status.model_copy(update=change)
            self._store.write_instance(instance.model_copy(update={"status": status}))

    def _give_up_claim(self) -> None:
        open_ones = (c for c in self._store.tables.claims.values() if not c.ended)
        if (claim := self._one_of(open_ones)) is not None:
            status = failed_claim(claim, "GivenUp", "by hand", self._store.clock())
            self._store.settle(Outcome(claim, status))

    # ---------------------------------------------------------------- Railway and agents

    def _touch_service(self) -> None:
        there = self._store.tables.instances.values()
        instance = self._one_of(i for i in there if i.status.service_id)
        if instance is None:
            return
        doing = ("delete-service", "restart-agent", "crash-agent", "sleep-agent", "deploy-service")
        self._act(self._dice.choice(doing), service=instance.status.service_id)

    def _use_agent(self) -> None:
        """A stranger does, of an idle one."""
        there = self._store.tables.instances.values()
        idle = (i for i in there if i.status.phase is InstancePhase.IDLE and i.status.service_id)
        if (instance := self._one_of(i for i in idle if i.spec.claim_ref is None)) is not None:
            self._act("use-agent", service=instance.status.service_id)

    def _push(self) -> None:
        self._act("push-repo", repo=REPO)

    def _copy(self) -> None:
        """In Railway's dashboard a service is duplicated, our mark and all."""
        pool, name = self._dice.choice(sorted(self._pools)), f"copy-{self._dice.getrandbits(24):x}"
        mark = f"{self._store.installation.owner_id}/default/{pool}"
        self._stage.witness.copies[name] = pool
        image, variables = "agents/convos:1", {"POOL_OWNER": mark}
        self._act("create-service", name=name, image=image, variables=variables)

    def _act(self, act: str, **fields: Any) -> None:
        self._stage.witness.happened(act, *(str(v)[-8:] for v in fields.values()))
        self._stage.acts.do({"act": act, **fields})
        self._stage.writer.commit(op=act)

    # ---------------------------------------------------------------- backups

    def _go_back(self) -> None:
        """Take a backup; the next time put it back, once, with every process stopped as one must."""
        if not self._restores:
            return
        if self._backup is None:
            self._backup = self._store.backup()
            self._stage.witness.happened("backup taken")
            return
        self._restores = False
        for process in self._stage.processes():
            if not process.dead:
                self._stage.weather.kill(process)
        self._stage.witness.happened("backup put back")
        token = ACTOR.set(BACKUP)
        self._store.restore(self._backup)
        ACTOR.reset(token)

    def _one_of(self, things: Iterable[Thing]) -> Thing | None:
        """By the dice, from the things in the order of their names."""
        ranked = sorted(things, key=lambda thing: thing.metadata.name)
        return self._dice.choice(ranked) if ranked else None
