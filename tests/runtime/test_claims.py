"""Claims of a team's members on a hub: who holds an item, who loses it, and what becomes of the block that had it."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, TypeVar, cast

import pytest

from orchestrator import Claim, Context, StreamTask, Task, Team, agent, task
from orchestrator.errors import ClaimLost, NotConnected, StoreUnavailable, TaskFailed
from orchestrator.runtime.claiming import StoreClaims
from orchestrator.runtime.courier import Courier, Link
from orchestrator.store.memory import MemoryLeases
from orchestrator.store.port import Lease
from orchestrator.testing import TestHub, virtual
from tests.runtime.in_memory import Log

T = TypeVar("T")

SECTIONS: Final = """
version: 1
{store}
agents:
  member: {{handler: app:Member, replicas: 3}}
teams:
  desk: {{members: [member], claims: {{ttl: 12s}}}}
"""
BEST_EFFORT: Final = SECTIONS.format(store="")
STRONG: Final = SECTIONS.format(store="store: 'memory:'")
TTL: Final = 12.0
KINDS = pytest.mark.parametrize("text", [BEST_EFFORT, STRONG], ids=["best-effort", "strong"])


class Work(Task[str]):
    """Hold each of the items, one within the other, and then wait; `fence` of the last one, or who is not it."""

    items: tuple[str, ...]
    seconds: float = 0.0


class Say(StreamTask[int]):
    prompt: str


@agent
class Member:
    desk: Team

    def __post_init__(self) -> None:
        self.inside: list[str] = []
        self.log: list[str] = []

    @task
    async def work(self, job: Work, ctx: Context) -> str:
        return await self.nested(job.items, job.seconds)

    async def nested(self, items: tuple[str, ...], seconds: float, fence: int = 0) -> str:
        if not items:
            await asyncio.sleep(seconds)
            return str(fence)
        async with self.desk.claim(items[0]) as claim:
            if claim is None:
                return "somebody else"
            self.inside.append(items[0])
            try:
                return await self.nested(items[1:], seconds, claim.fence)
            except BaseException as raised:
                self.log.append(f"{items[0]}: {type(raised).__name__}")
                raise
            finally:
                self.inside.remove(items[0])

    @task
    async def say(self, ask: Say) -> AsyncIterator[int]:
        async with self.desk.claim(ask.prompt) as claim:
            assert claim is not None
            self.inside.append(ask.prompt)
            try:
                for number in range(100):
                    await asyncio.sleep(1.0)
                    yield number
            finally:
                self.inside.remove(ask.prompt)


def desk(text: str, **options: Any) -> TestHub:
    return TestHub(text, handlers={"member": Member}, **options)


def work(hub: TestHub, peer: str, *items: str, seconds: float = 0.0) -> asyncio.Task[str]:
    return asyncio.create_task(hub.run(peer, Work(items=items, seconds=seconds), timeout=3_000))


def holders(hub: TestHub, item: str = "x") -> list[str]:
    return [peer for peer in ("member.1", "member.2", "member.3") if item in hub.agent(peer).inside]


async def held(hub: TestHub, peer: str, item: str = "x", *, seconds: float = 1_000.0) -> asyncio.Task[str]:
    """Have a member hold an item; returns when it does."""
    working = work(hub, peer, item, seconds=seconds)
    async with asyncio.timeout(10):
        while item not in hub.agent(peer).inside:  # noqa: ASYNC110 - of virtual time, looking takes none
            await asyncio.sleep(0.01)
    return working


async def dropped(*tasks: asyncio.Task[str]) -> None:
    for one in tasks:
        one.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


# -- both kinds


@pytest.mark.nodes("nats")
@KINDS
@virtual
async def test_of_all_who_claim_an_item_at_once_one_gets_it(text: str) -> None:
    async with desk(text) as hub:
        working = [work(hub, f"member.{n}", "x", seconds=1.0) for n in (1, 2, 3) for _ in range(2)]
        answers = await asyncio.gather(*working)
        assert answers.count("somebody else") == 5


@KINDS
@virtual
async def test_an_item_goes_from_hand_to_hand_with_growing_fences(text: str) -> None:
    async with desk(text) as hub:
        fences = [int(await hub.run(f"member.{turn % 3 + 1}", Work(items=("x",)))) for turn in range(7)]
        assert fences == sorted(set(fences))


@KINDS
@virtual
async def test_a_claim_lasts_for_as_long_as_its_block_and_its_connection_do(text: str) -> None:
    async with desk(text) as hub:
        working = await held(hub, "member.1", seconds=10 * TTL)
        for _ in range(9):
            await hub.advance(TTL)
            assert await hub.run("member.2", Work(items=("x",))) == "somebody else"
        assert int(await working) > 0
        assert int(await hub.run("member.2", Work(items=("x",)))) > 0


@KINDS
@virtual
async def test_the_claim_of_a_member_that_is_killed_ends(text: str) -> None:
    async with desk(text) as hub:
        before = int(await hub.run("member.1", Work(items=("x",))))
        working = await held(hub, "member.1")
        await hub.kill("member.1")
        assert await hub.run("member.2", Work(items=("x",))) == "somebody else"
        await hub.start("member.1")
        await hub.advance(TTL)
        assert int(await hub.run("member.1", Work(items=("x",)))) > before + 1
        await dropped(working)


@KINDS
@virtual
async def test_a_claim_survives_a_reconnect(text: str) -> None:
    async with desk(text) as hub:
        working = await held(hub, "member.1", seconds=20.0)
        hub.drop("member.1")
        for _ in range(18):
            assert await hub.run("member.2", Work(items=("x",))) == "somebody else"
            await hub.advance(0.5)
        assert int(await working) > 0


@KINDS
@virtual
async def test_a_block_that_is_cancelled_gives_its_claim_back(text: str) -> None:
    async with desk(text) as hub:
        member = hub.agent("member.1")
        blocked = asyncio.create_task(member.nested(("x", "y"), 60.0))
        await hub.advance(1.0)
        blocked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await blocked
        assert member.log == ["y: CancelledError", "x: CancelledError"]
        assert int(await hub.run("member.2", Work(items=("x", "y")))) > 0


@KINDS
@virtual
async def test_what_a_block_raises_comes_out_and_gives_its_claim_back(text: str) -> None:
    async with desk(text) as hub:
        with pytest.raises(LookupError, match="of my own"):
            async with hub.agent("member.1").desk.claim("x") as claim:
                assert claim is not None
                raise LookupError("of my own")
        assert int(await hub.run("member.2", Work(items=("x",)))) > 0


@KINDS
@virtual
async def test_teams_have_items_of_their_own(text: str) -> None:
    two = text + "  attic: {members: [other]}\n"
    two = two.replace("agents:\n", "agents:\n  other: {handler: app:Other}\n")

    @agent
    class Other:
        attic: Team

        @task
        async def work(self, job: Work) -> str:
            async with self.attic.claim(job.items[0]) as claim:
                return "somebody else" if claim is None else str(claim.fence)

    async with TestHub(two, handlers={"member": Member, "other": Other}) as hub:
        working = await held(hub, "member.1")
        assert int(await hub.run("other", Work(items=("x",)))) > 0
        await dropped(working)


# -- by messages


@virtual
async def test_of_two_that_could_not_hear_each_other_the_later_one_loses_the_item() -> None:
    async with desk(BEST_EFFORT) as hub:
        hub.partition("member.1", "member.2")
        first = await held(hub, "member.1")
        second = await held(hub, "member.2", seconds=500.0)
        await hub.advance(2 * TTL)
        assert holders(hub) == ["member.1", "member.2"]
        hub.heal()
        await hub.advance(TTL / 3 + 0.1)
        assert holders(hub) == ["member.1"]
        with pytest.raises(TaskFailed, match=r"member\.1 has held it for longer") as failed:
            await second
        assert failed.value.error_type == "ClaimLost"
        assert hub.agent("member.2").log == ["x: CancelledError"]
        assert await hub.run("member.2", Work(items=("x",))) == "somebody else"
        await dropped(first)


@virtual
async def test_a_holder_that_the_hub_has_not_heard_for_the_ttl_loses_the_item() -> None:
    async with desk(BEST_EFFORT) as hub:
        member = hub.agent("member.1")
        holding = asyncio.create_task(member.nested(("x",), 1_000.0))
        await hub.advance(1.0)
        began = hub.now
        hub.partition("member.1", "hub")
        with pytest.raises(ClaimLost, match="nothing of this agent for 12 s") as lost:
            await holding
        assert lost.value.item == "x"
        assert hub.now - began <= TTL
        hub.heal()


@virtual
async def test_a_claim_without_a_connection_is_an_error() -> None:
    async with desk(BEST_EFFORT) as hub:
        hub.drop("member.1")
        with pytest.raises(NotConnected):
            async with hub.agent("member.1").desk.claim("x"):
                pass


# -- in the store


@virtual
async def test_strong_claims_are_not_shared_by_members_that_do_not_hear_each_other() -> None:
    async with desk(STRONG) as hub:
        hub.partition("member.1", "member.2")
        hub.partition("member.1", "hub")
        holding = asyncio.create_task(hub.agent("member.1").nested(("x",), 3 * TTL))
        await hub.advance(1.0)
        assert await hub.agent("member.2").nested(("x",), 0.0) == "somebody else"
        hub.heal()
        assert int(await holding) > 0


@virtual
async def test_a_holder_that_the_store_does_not_answer_stops_before_anybody_else_begins() -> None:
    async with desk(STRONG) as hub:
        holding = await held(hub, "member.1")
        hub.partition("member.1", "store")
        while holders(hub) == ["member.1"]:
            assert await hub.agent("member.2").nested(("x",), 0.0) == "somebody else"
            await hub.advance(0.25)
        with pytest.raises(TaskFailed, match="the store has not renewed it within its 12 s"):
            await holding
        assert await hub.agent("member.2").nested(("x",), 0.0) == "somebody else"
        await hub.advance(TTL)
        assert int(await hub.agent("member.2").nested(("x",), 0.0)) > 1


@virtual
async def test_a_store_that_is_back_in_time_is_no_loss() -> None:
    async with desk(STRONG) as hub:
        holding = await held(hub, "member.1", seconds=4 * TTL)
        for _ in range(3):
            hub.partition("member.1", "store")
            await hub.advance(TTL / 2)
            hub.heal()
            await hub.advance(TTL / 2)
        assert int(await holding) > 0


@virtual
async def test_a_claim_without_the_store_is_an_error() -> None:
    async with desk(STRONG) as hub:
        hub.partition("store", "member.1")
        with pytest.raises(StoreUnavailable):
            async with hub.agent("member.1").desk.claim("x"):
                pass


@virtual
async def test_a_claim_that_cannot_be_given_back_ends_by_itself_and_the_log_says_so() -> None:
    async with desk(STRONG) as hub:
        holding = await held(hub, "member.1", seconds=2.0)
        hub.partition("member.1", "store")
        assert int(await holding) > 0
        (record,) = [record for record in hub.log if record["level"] == "warning"]
        assert record["lease"] == "teams/desk/claims/x"
        assert await hub.agent("member.2").nested(("x",), 0.0) == "somebody else"
        await hub.advance(TTL)
        assert int(await hub.agent("member.2").nested(("x",), 0.0)) > 1


@virtual
async def test_a_program_that_claims_by_message_is_told_what_is_held_in_the_store() -> None:
    async with desk(STRONG) as hub:
        holding = await held(hub, "member.1")
        async with hub.user("cli", "watcher"):
            team = hub.agent("member.2").desk
            await team._courier.link.publish(team.channel, {"type": "claim", "itemId": "x", "from": "member.2"})
        async for message in hub.events("teams/desk/state"):
            if message.data["type"] == "reject":
                assert message.data == {"type": "reject", "itemId": "x", "from": "member.1", "winner": "member.1"}
                break
        await dropped(holding)


# -- losing a claim within other blocks


async def cut_off(hub: TestHub, peer: str) -> None:
    """Have a member's leases not renewed, for as long as they last."""
    hub.partition(peer, "store")
    await hub.advance(TTL)
    hub.heal()


@virtual
async def test_nested_claims_are_lost_from_the_outside_in_and_leave_as_the_one_that_began_first() -> None:
    async with desk(STRONG) as hub:
        member = hub.agent("member.1")
        holding = asyncio.create_task(member.nested(("outer", "inner"), 1_000.0))
        await hub.advance(1.0)
        await cut_off(hub, "member.1")
        with pytest.raises(ClaimLost) as lost:
            await holding
        assert lost.value.item == "outer"
        assert member.inside == []


@virtual
async def test_a_claim_that_is_lost_within_another_leaves_the_outer_one_alone() -> None:
    async with desk(STRONG) as hub:
        team = hub.agent("member.1").desk
        async with team.claim("outer") as outer:
            assert outer is not None
            with pytest.raises(ClaimLost):
                async with team.claim("inner") as inner:
                    assert inner is not None
                    await hub._store.leases.release("teams/desk/claims/inner", (await _lease(hub, "inner")).holder)  # type: ignore[union-attr]
                    await asyncio.sleep(60.0)
            here = asyncio.current_task()
            assert here is not None
            assert here.cancelling() == 0
            await asyncio.sleep(10 * TTL)
            assert (await _lease(hub, "outer")).fence == outer.fence


async def _lease(hub: TestHub, item: str) -> Any:
    assert hub._store is not None
    return await hub._store.leases.get(f"teams/desk/claims/{item}")


@virtual
async def test_a_cancellation_of_its_own_goes_before_the_loss_of_the_claim() -> None:
    async with desk(STRONG) as hub:
        member = hub.agent("member.1")
        reached = asyncio.Event()

        async def block() -> None:
            async with member.desk.claim("x"):
                try:
                    await asyncio.sleep(1_000)
                except asyncio.CancelledError:
                    reached.set()
                    await asyncio.sleep(5)  # cleaning up, when the other cancellation comes
                    raise

        blocked = asyncio.create_task(block())
        await hub.advance(1.0)
        hub.partition("member.1", "store")
        await reached.wait()
        blocked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await blocked
        hub.heal()


@virtual
async def test_a_timeout_around_a_claim_stays_a_timeout() -> None:
    async with desk(STRONG) as hub:
        team = hub.agent("member.1").desk
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                async with team.claim("x"):
                    await asyncio.sleep(60)
        async with team.claim("x") as claim:
            assert claim is not None


@virtual
async def test_a_block_that_goes_on_regardless_ends_in_the_loss_all_the_same() -> None:
    async with desk(STRONG) as hub:
        team, went_on = hub.agent("member.1").desk, False
        hub.partition("member.2", "store")
        with pytest.raises(ClaimLost):
            async with team.claim("x") as claim:
                assert claim is not None
                hub.partition("member.1", "store")
                with suppress(asyncio.CancelledError):
                    await asyncio.sleep(1_000)
                went_on = True
        assert went_on
        await asyncio.sleep(1.0)  # nothing of the cancellation is left
        hub.heal()


@virtual
async def test_what_a_block_raises_instead_of_its_cancellation_passes() -> None:
    async with desk(STRONG) as hub:
        team = hub.agent("member.1").desk
        with pytest.raises(LookupError):
            async with team.claim("x"):
                hub.partition("member.1", "store")
                try:
                    await asyncio.sleep(1_000)
                except asyncio.CancelledError:
                    raise LookupError("while it cleaned up") from None
        await asyncio.sleep(1.0)
        hub.heal()


@virtual
async def test_a_stream_whose_claim_is_lost_breaks_and_its_block_is_left() -> None:
    async with desk(STRONG) as hub:
        read: list[int] = []

        async def reading() -> None:
            async for number in hub.stream("member.1", Say(prompt="x")):
                read.append(number)

        stream = asyncio.create_task(reading())
        await hub.advance(3.0)
        hub.partition("member.1", "store")
        with pytest.raises(Exception, match="x") as broken:
            await stream
        assert "ClaimLost" in str(broken.value)
        assert len(read) >= 3
        assert hub.agent("member.1").inside == []
        hub.heal()


@virtual
async def test_a_topology_with_a_store_may_ask_for_best_effort() -> None:
    async with desk(STRONG.replace("ttl: 12s", "ttl: 12s, consistency: best-effort")) as hub:
        hub.partition("member.1", "store")
        assert int(await hub.run("member.1", Work(items=("x",)))) > 0


# -- twenty who want a thousand items, over a link to the store that loses requests and answers


class LossyLeases:
    """The way of one member to the store: slow, and now and then without an answer, done or not."""

    def __init__(self, leases: MemoryLeases, rng: random.Random) -> None:
        self._leases, self._rng = leases, rng
        self.capabilities = leases.capabilities
        self.out_until = 0.0

    async def acquire(self, name: str, holder: str, ttl: float) -> Lease | None:
        return await self._carried(lambda: self._leases.acquire(name, holder, ttl))

    async def renew(self, name: str, holder: str, ttl: float) -> Lease | None:
        return await self._carried(lambda: self._leases.renew(name, holder, ttl))

    async def release(self, name: str, holder: str) -> None:
        await self._carried(lambda: self._leases.release(name, holder))

    async def get(self, name: str) -> Lease | None:
        return await self._carried(lambda: self._leases.get(name))

    async def _carried(self, ask: Callable[[], Awaitable[T]]) -> T:
        rng, loop = self._rng, asyncio.get_running_loop()
        await asyncio.sleep(rng.expovariate(20.0))
        if rng.random() < 0.02:
            self.out_until = loop.time() + rng.uniform(0.0, 15.0)
        if loop.time() < self.out_until:
            raise StoreUnavailable("the request was lost")
        answer = await ask()
        await asyncio.sleep(rng.expovariate(20.0))
        if rng.random() < 0.02:
            raise StoreUnavailable("the answer was lost")
        return answer


class Watched:
    """Who is within the block of which item, at every instant, and the fences with which they entered."""

    def __init__(self) -> None:
        self.inside: dict[str, str] = {}
        self.fences: dict[str, list[int]] = {}
        self.violations: list[str] = []
        self.lost = 0

    @contextmanager
    def within(self, member: str, claim: Claim) -> Iterator[None]:
        fences = self.fences.setdefault(claim.item, [0])
        if claim.fence <= fences[-1]:
            self.violations.append(f"{member} entered {claim.item} with fence {claim.fence} after {fences[-1]}")
        if claim.item in self.inside:
            self.violations.append(f"{member} entered {claim.item}, where {self.inside[claim.item]} still is")
        fences.append(claim.fence)
        self.inside[claim.item] = member
        try:
            yield
        finally:
            if self.inside.pop(claim.item, None) != member:
                self.violations.append(f"{member} left {claim.item}, where it was not")


UNHEARD: Final = Courier(cast("Link", None))
"""Nobody claims by message here, so nobody is told anything."""


@pytest.mark.parametrize("items", [50, pytest.param(1_000, marks=pytest.mark.bars)])
@virtual
async def test_twenty_claimants_over_a_lossy_link_have_one_holder_at_every_instant(items: int) -> None:
    rng, watched = random.Random(items), Watched()
    leases = MemoryLeases(asyncio.get_running_loop().time)
    ids = itertools.count()

    async def member(name: str) -> None:
        way = LossyLeases(leases, random.Random(f"{items}/{name}"))
        claims = StoreClaims(
            name, "desk", "teams/desk/state", 6.0, UNHEARD, way, new_id=lambda: str(next(ids)), log=Log()
        )
        wanted = [f"item {number}" for number in range(items)]
        random.Random(f"{items}/{name}/order").shuffle(wanted)
        await asyncio.gather(*(attempts(name, claims, wanted[number::5]) for number in range(5)))

    async def attempts(name: str, claims: StoreClaims, wanted: list[str]) -> None:
        for item in wanted:
            while not await attempted(name, claims, item):
                pass

    async def attempted(name: str, claims: StoreClaims, item: str) -> bool:
        try:
            async with claims.claim(item) as claim:
                if claim is not None:
                    with watched.within(name, claim):
                        await asyncio.sleep(rng.choice((0.0, 0.1, rng.expovariate(1 / 4))))
        except StoreUnavailable:
            await asyncio.sleep(1.0)
            return False
        except ClaimLost:
            watched.lost += 1
        return True

    await asyncio.gather(*(member(f"m{number:02}") for number in range(20)))
    assert watched.violations == []
    assert len(watched.fences) == items
    assert watched.lost > 0
