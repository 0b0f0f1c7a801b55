"""One Railway environment: what looks and failures say of it, who owns what, and what is held back."""

import asyncio
from collections.abc import Callable

import pytest

from api.types import Key
from controller.course import Verb
from controller.environment import NO_CAPACITY_AGAIN_S, Environment
from controller.railway import (
    Allowance,
    Gone,
    NameTaken,
    NoCapacity,
    NotAuthorized,
    NotReady,
    RailwayError,
    RateLimited,
    Refused,
    Service,
    Unclear,
)
from controller.railway.budget import Lane
from controller.storetime import StoreTime
from tests.builders import NOW, an_instance
from tests.controller.parts import a_service, seconds
from tests.controller.world import SmallRailway, now
from tests.virtual_time import in_virtual_time

POOL = Key("default", "default")
NEW = an_instance(name="anew1234")


def an_environment(
    railway: SmallRailway, may_act: Callable[[], bool] = lambda: True
) -> Environment:
    time = StoreTime(now)
    time.saw(NOW)
    return Environment(
        railway, owner_id="us", time=time, clock=now, scheme="https", may_act=may_act
    )


async def create(environment: Environment) -> dict[str, str]:
    return await environment.perform(Verb.CREATE_EMPTY, NEW, None, Lane.CREATE)


async def look(environment: Environment) -> None:
    await environment.look(NOW + seconds(now()))


def weather(environment: Environment) -> tuple[bool | None, str]:
    return environment.weather.reachable, environment.weather.reason


# ---------------------------------------------------------------- looking


@in_virtual_time
async def test_two_looks_are_kept_and_the_token_is_probed_once() -> None:
    railway = SmallRailway({"a": Service("a", "one")})
    environment = an_environment(railway)
    assert weather(environment) == (None, "NotLookedYet")
    await look(environment)
    first = environment.sight.latest
    await look(environment)
    assert environment.sight.before is first
    assert railway.sent == ["probe", "observe", "observe"]
    assert weather(environment) == (True, "Observed")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (Unclear("504"), "NoAnswer"),
        (RateLimited("429", 30.0), "RateLimited"),
        (NotAuthorized("Not Authorized"), "NotAuthorized"),
        (Gone("Project not found"), "Gone"),
        (Refused("no"), "Refused"),
        (NotReady("connection refused"), "Unreachable"),
    ],
)
def test_a_look_that_failed_says_so_and_leaves_what_was_seen(
    error: RailwayError, reason: str
) -> None:
    @in_virtual_time
    async def case() -> None:
        railway = SmallRailway({"a": Service("a", "one")})
        environment = an_environment(railway)
        await look(environment)
        sight, railway.errors = environment.sight, [error]
        with pytest.raises(RailwayError):
            await look(environment)
        assert environment.sight is sight
        assert weather(environment) == (False, reason)

    case()


@in_virtual_time
async def test_told_to_wait_nothing_at_all_is_sent_before_that() -> None:
    railway = SmallRailway(errors=[RateLimited("429", 30.0)])
    environment = an_environment(railway)
    for _ in range(2):
        with pytest.raises(RateLimited):
            await look(environment)
    assert railway.sent == ["probe"]


@in_virtual_time
async def test_whoever_leads_no_longer_sends_nothing_even_in_the_middle_of_a_pass() -> None:
    railway = SmallRailway()
    environment = an_environment(railway, may_act=lambda: now() < 4.0)
    await look(environment)
    await asyncio.sleep(10)  # Stopped, between reading a record and sending what it asks for.
    for sends in (create, look):
        with pytest.raises(NotReady):
            await sends(environment)
    assert railway.sent == ["probe", "observe"]


@in_virtual_time
async def test_a_look_knows_since_when_this_process_has_looked() -> None:
    environment = an_environment(SmallRailway())
    for _ in range(3):
        await look(environment)
        assert environment.sight.since == NOW
        await asyncio.sleep(5)


# ---------------------------------------------------------------- owners


@in_virtual_time
async def test_a_service_without_a_record_is_ours_only_by_its_mark() -> None:
    marks = {"a": "us/default/default", "b": "them/default/default", "c": "us/default/other"}
    services = {k: Service(k, f"convos-agent-{k}", has_source=True) for k in (*marks, "d")}
    services["e"] = Service("e", "convos-agent-e")  # Empty: it may be ours, and not marked yet.
    railway = SmallRailway(services, marks)
    environment = an_environment(railway)
    await look(environment)
    await environment.learn_owners([])
    assert [s.id for s in environment.orphans(POOL, "convos-agent-")] == ["a", "e"]
    await environment.learn_owners([])
    assert railway.sent.count("owner_of") == 5


@in_virtual_time
async def test_an_orphan_is_reported_once_and_counted_also_where_its_pool_is_no_more(
    caplog: pytest.LogCaptureFixture,
) -> None:
    marks = {"a": "us/default/gone", "b": "them/default/gone"}
    railway = SmallRailway({k: Service(k, f"convos-agent-{k}") for k in (*marks, "c")}, marks)
    environment = an_environment(railway)
    for _ in range(2):
        await look(environment)
        await environment.learn_owners([])
    assert environment.orphan_counts() == {"default/gone": 1}
    (line,) = [r for r in caplog.records if r.levelname == "WARNING"]
    assert "convos-agent-a (a)" in line.getMessage()


@in_virtual_time
async def test_until_its_owner_is_read_a_service_counts_by_its_prefix() -> None:
    railway = SmallRailway({k: Service(k, k) for k in ("convos-agent-x", "postgres")})
    environment = an_environment(railway)
    await look(environment)
    railway.errors = [Unclear("504")]
    await environment.learn_owners([])
    assert [s.id for s in environment.orphans(POOL, "convos-agent-")] == ["convos-agent-x"]


@in_virtual_time
async def test_what_a_record_explains_is_no_orphan_whatever_it_is_called() -> None:
    known = an_instance(name="k", service_id="svc-k")
    services = {"svc-k": Service("svc-k", "renamed"), "new": a_service(NEW, id="new")}
    railway = SmallRailway(services, dict.fromkeys(services, "us/default/default"))
    environment = an_environment(railway)
    await look(environment)
    await environment.learn_owners([known, NEW])
    assert environment.orphans(POOL, "convos-agent-") == []


@in_virtual_time
async def test_owners_that_the_budget_cannot_pay_for_keep_nobody_from_looking() -> None:
    railway = SmallRailway({"a": Service("a", "convos-agent-a")})
    railway.allowance = Allowance(limit=100, remaining=30, reset_in_s=3000.0)
    environment = an_environment(railway)
    await look(environment)
    await environment.learn_owners([])
    await look(environment)
    assert "owner_of" not in railway.sent


# ---------------------------------------------------------------- acting


@pytest.mark.parametrize(
    ("error", "doubtful"),
    [
        (None, False),
        (Unclear("504"), True),
        (NameTaken("exists"), True),
        (NotAuthorized("Not Authorized"), True),
        (RateLimited("429", 1.0), False),
        (NotReady("try again"), False),
        (Refused("no"), False),
    ],
)
def test_where_the_effect_may_have_happened_nothing_more_is_sent_before_a_look(
    error: RailwayError | None, doubtful: bool
) -> None:
    @in_virtual_time
    async def case() -> None:
        environment = an_environment(SmallRailway(errors=[error]))
        if error is None:
            assert await create(environment) == {"service_id": "svc-convos-agent-anew1234"}
        else:
            with pytest.raises(type(error)):
                await create(environment)
        assert environment.sight.doubtful(NEW) == doubtful
        assert NEW.metadata.name in environment.sight.wrote

    case()


@in_virtual_time
async def test_that_creates_are_held_back_is_said_at_once_and_not_after_the_next_look() -> None:
    railway = SmallRailway()
    environment = an_environment(railway)
    await look(environment)
    railway.allowance = Allowance(limit=100, remaining=20, reset_in_s=3000.0)
    await create(environment)
    assert environment.weather.message == ""
    with pytest.raises(RateLimited):
        await create(environment)
    assert "budget of 100 is nearly spent" in environment.weather.message
    assert weather(environment) == (True, "Observed")
    assert railway.sent.count("create_empty") == 1


@in_virtual_time
async def test_a_delete_is_remembered_apart_from_other_writes() -> None:
    railway = SmallRailway({"svc": Service("svc", "one")})
    environment, made = an_environment(railway), an_instance(service_id="svc")
    await environment.rename(made, "two")
    assert not environment.sight.deleted(made)
    await environment.perform(Verb.DELETE, made, None, Lane.URGENT)
    assert environment.sight.deleted(made)


@in_virtual_time
async def test_without_room_creates_are_tried_now_and_then_and_the_status_does_not_flap() -> None:
    railway = SmallRailway(errors=[None, None, NoCapacity("plan limit")])
    environment = an_environment(railway)
    await look(environment)
    for _ in range(3):
        with pytest.raises(NoCapacity):
            await create(environment)
        await look(environment)
        assert weather(environment) == (True, "NoCapacity")
    assert railway.sent.count("create_empty") == 1


@in_virtual_time
async def test_room_that_was_found_again_clears_the_status() -> None:
    environment = an_environment(SmallRailway(errors=[NoCapacity("plan limit")]))
    with pytest.raises(NoCapacity):
        await create(environment)
    await asyncio.sleep(NO_CAPACITY_AGAIN_S)
    await create(environment)
    await look(environment)
    assert weather(environment) == (True, "Observed")


@in_virtual_time
async def test_what_is_done_but_not_on_record_is_in_doubt() -> None:
    environment = an_environment(SmallRailway())
    environment.doubt(NEW)
    assert environment.sight.doubtful(NEW)
