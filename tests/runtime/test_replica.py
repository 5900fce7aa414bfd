"""Replicas beside each other: coordinators and workers, teams, lobbies and users, over connections that break."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from typing import Any, cast

import pytest
from pydantic import BaseModel, Field, field_validator

from orchestrator import (
    Event,
    Joined,
    Left,
    Presence,
    StreamTask,
    Task,
    Team,
    Workers,
    agent,
    every,
    on_disconnect,
    on_event,
    on_presence,
    task,
)
from orchestrator.agents.context import Context, Disconnected
from orchestrator.errors import (
    HandlerError,
    NotAuthorized,
    NotConnected,
    StreamBroken,
    TaskCancelled,
    TaskFailed,
    TaskTimeout,
    WorkerLost,
)
from orchestrator.patterns.claim import RETURN_SECONDS
from tests.runtime.in_memory import Message, Neighbourhood, quiet, skipping


class Double(Task[int]):
    number: int


class Place(BaseModel):
    zip_code: str = Field(alias="zipCode")


class Locate(Task[Place]):
    street_name: str = Field(alias="streetName")


class Hold(Task[str]):
    """Waits for the gate of its worker."""


class Safe(Task[str]):
    """Like `Hold`, and harmless to do twice."""


class Count(StreamTask[int]):
    upto: int


class Trickle(StreamTask[str]):
    """Yields its words, and waits for the gate before each but the first."""

    prompt: str


@agent
class Boss:
    workers: Workers

    def __post_init__(self) -> None:
        self.disconnects: list[Disconnected] = []

    @task
    async def trickle(self, job: Trickle) -> AsyncIterator[str]:
        async for word in self.workers.stream(job):
            yield word

    @on_disconnect
    async def gone(self, disconnected: Disconnected) -> None:
        self.disconnects.append(disconnected)


@agent
class Helper:
    def __post_init__(self) -> None:
        self.gate, self.begun, self.ran = asyncio.Event(), asyncio.Event(), list[str]()

    @task
    async def double(self, job: Double) -> int:
        if job.number < 0:
            raise ValueError("negative")
        self.ran.append(f"double {job.number}")
        return 2 * job.number

    @task
    async def locate(self, job: Locate) -> Place:
        return Place(zipCode=job.street_name.upper())

    @task
    async def hold(self, job: Hold, ctx: Context) -> str:
        return await self._held("hold")

    @task(idempotent=True)
    async def safe(self, job: Safe) -> str:
        return await self._held("safe")

    @task
    async def count(self, job: Count) -> AsyncIterator[int]:
        for number in range(job.upto):
            yield number

    @task
    async def trickle(self, job: Trickle) -> AsyncIterator[str]:
        try:
            for number, word in enumerate(job.prompt.split()):
                if number:
                    self.begun.set()
                    await self.gate.wait()
                yield word
        finally:
            self.ran.append("closed")

    async def _held(self, name: str) -> str:
        self.ran.append(name)
        self.begun.set()
        await self.gate.wait()
        return name


POOL = """
version: 1
coordinators:
  boss: {handler: "app:Boss", workers: [helper]}
workers:
  helper: {handler: "app:Helper", replicas: 2, concurrency: 2}
"""
ONE = POOL.replace("replicas: 2, ", "")


def pool(text: str = POOL) -> Any:
    return Neighbourhood.of(text, Boss=Boss, Helper=Helper)


def workers(around: Neighbourhood) -> Workers:
    return cast("Workers", around.running["boss"].agent.workers)


class TestWorkers:
    @skipping
    async def test_a_task_is_answered(self) -> None:
        async with pool() as around:
            assert await workers(around).run(Double(number=4)) == 8

    @skipping
    async def test_fields_travel_by_their_aliases(self) -> None:
        async with pool() as around:
            assert (await workers(around).run(Locate(streetName="elm"))).zip_code == "ELM"
            [sent] = around.hub.said("task")
            assert sent.data["payload"] == {"streetName": "elm"}

    @skipping
    async def test_map_reaches_all_workers_and_answers_every_task_once(self) -> None:
        async with pool() as around:
            answers = [answer async for answer in workers(around).map([Double(number=n) for n in range(20)])]
            assert sorted(answers) == [2 * n for n in range(20)]
            assert all(around.running[peer].agent.ran for peer in ("helper.1", "helper.2"))

    @skipping
    async def test_an_ordered_map_keeps_the_order_of_its_tasks(self) -> None:
        async with pool() as around:
            tasks = [Double(number=n) for n in range(20)]
            assert [n async for n in workers(around).map(tasks, ordered=True, limit=3)] == [2 * n for n in range(20)]

    @skipping
    async def test_the_first_failure_of_a_map_is_raised_and_the_rest_is_cancelled(self) -> None:
        async with pool() as around:
            with pytest.raises(TaskFailed, match="ValueError: negative"):
                async for _ in workers(around).map([Hold(), Double(number=-1), Hold()]):
                    pass
            await around.hub.heard("task-cancel", 2)

    @skipping
    async def test_a_map_without_room_for_a_task_is_refused(self) -> None:
        async with pool() as around:
            with pytest.raises(ValueError, match="at least 1, not 0"):
                await anext(workers(around).map([Double(number=1)], limit=0))

    @skipping
    async def test_a_task_whose_worker_does_not_end_in_time_is_timed_out_and_stopped(self) -> None:
        async with pool() as around:
            with pytest.raises(TaskTimeout, match="Hold did not end within 2 s"):
                await workers(around).run(Hold(), timeout=2.0)
            await around.hub.heard("task-cancel")

    @skipping
    async def test_a_caller_that_is_cancelled_cancels_its_task(self) -> None:
        async with pool(ONE) as around:
            call = asyncio.create_task(workers(around).run(Hold()))
            await around.running["helper"].agent.begun.wait()
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            await around.hub.heard("task-cancel")

    @skipping
    async def test_a_cancelled_handle_says_so(self) -> None:
        async with pool(ONE) as around:
            handle = workers(around).submit(Hold())
            handle.cancel()
            with pytest.raises(TaskCancelled):
                await handle.result()

    @skipping
    async def test_an_idempotent_task_of_a_worker_that_is_gone_is_done_by_another(self) -> None:
        async with pool() as around:
            call = asyncio.create_task(workers(around).run(Safe()))
            first = (await around.hub.heard("task-accepted")).sender
            around.running[first].link.cut()
            second = (await around.hub.heard("task-accepted", 2)).sender
            assert second != first
            around.running[second].agent.gate.set()
            assert await call == "safe"

    @skipping
    async def test_any_other_task_of_a_worker_that_is_gone_is_lost(self) -> None:
        async with pool() as around:
            call = asyncio.create_task(workers(around).run(Hold()))
            first = (await around.hub.heard("task-accepted")).sender
            around.running[first].link.cut()
            with pytest.raises(WorkerLost, match=first):
                await call

    @skipping
    async def test_a_worker_that_comes_back_in_time_keeps_its_task(self) -> None:
        async with pool(ONE) as around:
            call = asyncio.create_task(workers(around).run(Hold()))
            helper = around.running["helper"]
            await helper.agent.begun.wait()
            helper.link.cut()
            await asyncio.sleep(1.0)
            helper.link.restore()
            await asyncio.sleep(10.0)
            helper.agent.gate.set()
            assert await call == "hold"
            assert helper.agent.ran == ["hold"]

    @skipping
    async def test_a_task_whose_offer_was_not_answered_is_kept_by_the_worker_that_took_it(self) -> None:
        """The coordinator cannot know; it asks when it is back, sooner than the next sign of life is due."""
        async with pool(ONE) as around:
            boss, helper = around.running["boss"], around.running["helper"]
            around.hub.rule = lambda message: "unanswered" if message.data["type"] == "task" else "carried"
            call = asyncio.create_task(workers(around).run(Hold()))
            await helper.agent.begun.wait()
            boss.link.cut()
            boss.link.restore()
            await asyncio.sleep(20.0)
            helper.agent.gate.set()
            assert await call == "hold"

    @skipping
    async def test_an_outcome_that_was_lost_with_the_coordinators_connection_is_asked_for(self) -> None:
        async with pool(ONE) as around:
            boss, helper = around.running["boss"], around.running["helper"]
            around.hub.rule = lambda message: "lost" if message.data["type"] == "task-result" else "carried"
            call = asyncio.create_task(workers(around).run(Hold(), timeout=100.0))
            await helper.agent.begun.wait()
            helper.agent.gate.set()
            await around.hub.heard("task-result")
            around.hub.rule = lambda _message: "carried"
            boss.link.cut()
            boss.link.restore()
            async with asyncio.timeout(10.0):
                assert await call == "hold"
            assert helper.agent.ran == ["hold"]

    @skipping
    async def test_an_offer_that_was_lost_is_found_out_about_and_made_again(self) -> None:
        async with pool(ONE) as around:
            around.hub.rule = lambda message: "lost" if message.data.get("attempt") == 1 else "carried"
            async with asyncio.timeout(20.0):
                assert await workers(around).run(Double(number=1), timeout=100.0) == 2

    @skipping
    async def test_what_is_handed_out_without_a_connection_waits_for_it(self) -> None:
        async with pool(ONE) as around:
            boss = around.running["boss"]
            boss.link.cut()
            call = asyncio.create_task(workers(around).run(Double(number=1)))
            await asyncio.sleep(5.0)
            assert not around.hub.said("task")
            boss.link.restore()
            assert await call == 2

    @skipping
    async def test_when_the_connection_is_over_every_call_ends(self) -> None:
        async with pool(ONE) as around:
            boss = around.running["boss"]
            call = asyncio.create_task(workers(around).run(Hold()))
            await around.running["helper"].agent.begun.wait()
            boss.link.end()
            with pytest.raises(NotConnected, match="revoked"):
                await call
            with pytest.raises(NotConnected, match="revoked"):
                await workers(around).run(Hold())
            assert [gone.will_reconnect for gone in boss.agent.disconnects] == [True, False]

    @skipping
    async def test_a_worker_that_was_away_when_its_task_was_cancelled_stops_when_it_is_back(self) -> None:
        async with pool(ONE) as around:
            helper = around.running["helper"]
            chunks = workers(around).stream(Trickle(prompt="a b c"))
            assert await anext(chunks) == "a"
            await helper.agent.begun.wait()
            helper.link.cut(noticed=False)
            await cast("Any", chunks).aclose()
            await quiet()
            helper.link.restore()
            assert await helper.replica.drain(10.0)
            assert helper.agent.ran == ["closed"]


class TestStreams:
    @skipping
    async def test_chunks_come_in_order_each_once(self) -> None:
        async with pool() as around:
            assert [n async for n in workers(around).stream(Count(upto=2_000))] == [*range(2_000)]

    @skipping
    async def test_leaving_the_loop_stops_the_producer(self) -> None:
        async with pool(ONE) as around:
            chunks = workers(around).stream(Trickle(prompt="a b c"))
            async with aclosing(cast("Any", chunks)):
                assert await anext(chunks) == "a"
            await around.hub.heard("task-cancel")
            assert await around.running["helper"].replica.drain(1.0)
            assert around.running["helper"].agent.ran == ["closed"]

    @skipping
    async def test_a_slow_consumer_holds_up_the_producer_from_the_first_chunk(self) -> None:
        async with pool(ONE) as around:
            chunks = workers(around).stream(Count(upto=10_000), timeout=500.0)
            assert await anext(chunks) == 0
            await asyncio.sleep(60.0)
            assert len(around.hub.said("completion-chunk")) < 1_000
            assert [n async for n in chunks] == [*range(1, 10_000)]

    @pytest.mark.parametrize("who", ["boss", "helper"])
    @pytest.mark.parametrize("noticed", [True, False])
    def test_a_stream_survives_that_either_end_reconnects(self, who: str, noticed: bool) -> None:
        @skipping
        async def check() -> None:
            async with pool(ONE) as around:
                got: list[int] = []
                async for number in workers(around).stream(Count(upto=3_000), timeout=300.0):
                    got.append(number)
                    if number in (100, 700, 1_500):
                        around.running[who].link.cut(noticed=noticed)
                        await asyncio.sleep(0.5)
                        around.running[who].link.restore()
                assert got == [*range(3_000)]

        check()

    @skipping
    async def test_what_was_used_while_the_connection_was_away_lets_the_producer_go_on(self) -> None:
        """The reader empties its queue without a connection; the acknowledgements of that are never made."""
        async with pool(ONE) as around:
            boss = around.running["boss"]
            chunks = workers(around).stream(Count(upto=5_000), timeout=300.0)
            got = [await anext(chunks)]
            await asyncio.sleep(30.0)  # the producer has used its credit
            boss.link.cut(noticed=False)
            waiting = len(around.hub.said("completion-chunk"))
            got += [await anext(chunks) for _ in range(waiting - 2)]
            boss.link.restore()
            got += [number async for number in chunks]
            assert got == [*range(5_000)]

    @skipping
    async def test_a_stream_of_which_nothing_arrived_is_asked_for_again(self) -> None:
        async with pool(ONE) as around:
            boss = around.running["boss"]
            around.hub.rule = lambda message: "lost" if message.data["type"] == "completion-chunk" else "carried"
            chunks = workers(around).stream(Count(upto=3), timeout=300.0)
            reading = asyncio.create_task(_all(chunks))
            await around.hub.heard("completion-chunk", done=True)
            around.hub.rule = lambda _message: "carried"
            boss.link.cut()
            boss.link.restore()
            async with asyncio.timeout(10.0):
                assert await reading == [0, 1, 2]

    @skipping
    async def test_a_stream_whose_worker_is_gone_is_broken_with_what_arrived(self) -> None:
        async with pool(ONE) as around:
            chunks = workers(around).stream(Trickle(prompt="a b c"))
            assert await anext(chunks) == "a"
            around.running["helper"].link.cut()
            with pytest.raises(StreamBroken) as broken:
                await anext(chunks)
            assert broken.value.received == ("a",)

    @skipping
    async def test_a_worker_that_ends_breaks_its_stream(self) -> None:
        async with pool(ONE) as around:
            chunks = workers(around).stream(Trickle(prompt="a b c"))
            assert await anext(chunks) == "a"
            assert not await around.running["helper"].replica.drain(0.0)
            await around.running["helper"].close()
            with pytest.raises(StreamBroken, match="the agent stopped"):
                await anext(chunks)


async def _all(chunks: AsyncIterator[int]) -> list[int]:
    return [chunk async for chunk in chunks]


# -- teams and lobbies


class Opened(Event):
    item: str

    @field_validator("item")
    @classmethod
    def _never_x(cls, item: str) -> str:
        if item == "x":
            raise RuntimeError("a validator of the user's own")
        return item


@agent
class Member:
    desk: Team

    def __post_init__(self) -> None:
        self.opened: asyncio.Queue[str] = asyncio.Queue()

    @on_event
    async def heard(self, opened: Opened) -> None:
        self.opened.put_nowait(opened.item)


@agent
class Watcher:
    lobby: Presence

    def __post_init__(self) -> None:
        self.seen: asyncio.Queue[Joined | Left] = asyncio.Queue()

    @on_presence
    async def changed(self, change: Joined | Left) -> None:
        self.seen.put_nowait(change)


TEAM = """
version: 1
agents:
  member: {handler: "app:Member", replicas: 3}
  watcher: {handler: "app:Watcher"}
teams:
  desk: {members: [member]}
presence:
  lobby: {members: [member], watchers: [watcher]}
"""


def team() -> Any:
    return Neighbourhood.of(TEAM, Member=Member, Watcher=Watcher)


def desks(around: Neighbourhood) -> list[Team]:
    return [around.running[f"member.{number}"].agent.desk for number in (1, 2, 3)]


class TestTeams:
    @skipping
    async def test_an_event_reaches_all_other_members(self) -> None:
        async with team() as around:
            await desks(around)[0].publish(Opened(item="a"))
            assert [await around.running[f"member.{n}"].agent.opened.get() for n in (2, 3)] == ["a", "a"]

    @skipping
    async def test_an_event_that_its_own_type_chokes_on_is_logged_and_the_next_one_is_heard(self) -> None:
        async with team() as around:
            member = around.running["member.2"]
            notice = {"type": "event", "event": "Opened", "payload": {"item": "x"}}
            await around.running["member.1"].link.publish("teams/desk/state", notice)
            await desks(around)[0].publish(Opened(item="b"))
            assert await member.agent.opened.get() == "b"
            assert member.log.said("handler failed")[0]["error"] == "RuntimeError: a validator of the user's own"

    @skipping
    async def test_of_all_members_that_claim_an_item_one_gets_it(self) -> None:
        async with team() as around:
            held = 0

            async def attempt(desk: Team) -> bool:
                nonlocal held
                async with desk.claim("a") as claim:
                    if claim is None:
                        return False
                    held += 1
                    assert held == 1
                    await asyncio.sleep(1.0)
                    held -= 1
                    return True

            assert sorted(await asyncio.gather(*map(attempt, desks(around)))) == [False, False, True]
            assert await attempt(desks(around)[2])

    @skipping
    async def test_a_claim_that_is_won_as_its_claimant_is_cancelled_is_given_back(self) -> None:
        async with team() as around:
            desk = cast("Any", desks(around)[0])

            async def attempt() -> None:
                async with desk.claim("a"):
                    await asyncio.sleep(60.0)

            claiming = asyncio.create_task(attempt())
            await around.hub.heard("claim")
            desk.tick(asyncio.get_running_loop().time() + 1.0)  # won: its claimant has not been woken yet
            claiming.cancel()
            with pytest.raises(asyncio.CancelledError):
                await claiming
            await quiet()
            async with desks(around)[1].claim("a") as claim:
                assert claim is not None

    @skipping
    async def test_a_bid_that_the_hub_refuses_is_an_error(self) -> None:
        async with team() as around:
            around.hub.rule = lambda _message: NotAuthorized("action_not_permitted", "", "desk")
            with pytest.raises(NotAuthorized):
                async with desks(around)[0].claim("a"):
                    pass

    @skipping
    async def test_a_bid_without_a_connection_is_an_error(self) -> None:
        async with team() as around:
            around.running["member.1"].link.cut()
            with pytest.raises(NotConnected):
                async with desks(around)[0].claim("a"):
                    pass

    @skipping
    async def test_a_bid_is_void_when_the_connection_ends_before_it_is_decided(self) -> None:
        async with team() as around:
            link = around.running["member.1"].link
            claiming = asyncio.create_task(_claimed(desks(around)[0]))
            await quiet()
            link.cut()
            with pytest.raises(NotConnected):
                await claiming

    @skipping
    async def test_an_item_that_was_released_while_its_holder_was_away_is_free(self) -> None:
        """The hub may not have told the others that it was away."""
        async with team() as around:
            link, done = around.running["member.1"].link, asyncio.Event()
            holding = asyncio.create_task(_claimed(desks(around)[0], done))
            await asyncio.sleep(1.0)
            link.cut(noticed=False)
            done.set()
            assert await holding
            link.restore()
            await quiet()
            assert await _claimed(desks(around)[1])

    @skipping
    async def test_an_item_whose_release_was_missed_is_free(self) -> None:
        async with team() as around:
            link, done = around.running["member.2"].link, asyncio.Event()
            holding = asyncio.create_task(_claimed(desks(around)[0], done))
            await asyncio.sleep(1.0)
            link.cut(noticed=False)
            done.set()
            assert await holding
            link.restore()
            await quiet()
            assert await _claimed(desks(around)[1])

    @skipping
    async def test_after_the_hub_came_back_an_item_that_is_held_is_not_won_again(self) -> None:
        async with team() as around:
            links, done = [around.running[f"member.{n}"].link for n in (1, 2, 3)], asyncio.Event()
            holding = asyncio.create_task(_claimed(desks(around)[0], done))
            await asyncio.sleep(1.0)
            for link in links:
                link.cut(noticed=False)
            links[1].restore()
            other = asyncio.create_task(_claimed(desks(around)[1]))
            await asyncio.sleep(1.0)
            links[0].restore()
            assert not await other
            done.set()
            assert await holding

    @skipping
    async def test_an_item_of_a_member_that_is_gone_is_free(self) -> None:
        async with team() as around:
            holding = asyncio.create_task(_claimed(desks(around)[0], asyncio.Event()))
            await asyncio.sleep(1)  # it has it by then
            assert not await _claimed(desks(around)[1])
            around.running["member.1"].link.cut()
            await quiet()
            assert not await _claimed(desks(around)[2])  # it may be back at once
            await asyncio.sleep(RETURN_SECONDS)
            assert await _claimed(desks(around)[2])
            holding.cancel()
            await asyncio.gather(holding, return_exceptions=True)


async def _claimed(desk: Team, until: asyncio.Event | None = None) -> bool:
    async with desk.claim("a") as claim:
        if claim is not None and until is not None:
            await until.wait()
        return claim is not None


class TestLobbies:
    @skipping
    async def test_a_watcher_sees_who_comes_and_goes_and_why(self) -> None:
        async with team() as around:
            watcher = around.running["watcher"].agent
            seen = {(await watcher.seen.get()).peer.id for _ in range(3)}
            assert seen == {"member.1", "member.2", "member.3"} == {*watcher.lobby.peers}
            around.running["member.2"].link.cut()
            left = await watcher.seen.get()
            assert (left.peer.id, cast("Left", left).reason) == ("member.2", "lost")

    @skipping
    async def test_iterating_gives_what_happens_from_then_on(self) -> None:
        async with team() as around:
            lobby = around.running["watcher"].agent.lobby
            changes = aiter(lobby)
            change = asyncio.ensure_future(anext(changes))
            await asyncio.sleep(0)
            around.running["member.3"].link.cut()
            assert isinstance(await change, Left)
            await cast("Any", changes).aclose()


# -- the life of one agent


@agent
class Patient:
    """Yields each word after the first once its gate is open."""

    def __post_init__(self) -> None:
        self.gate = asyncio.Event()

    @task
    async def trickle(self, ask: Trickle) -> AsyncIterator[str]:
        first, *others = ask.prompt.split()
        yield first
        await self.gate.wait()
        for word in others:
            yield word


class TestLife:
    @skipping
    async def test_an_agent_whose_constructor_fails_is_not_torn_down(self) -> None:
        @agent
        class Broken:
            def __post_init__(self) -> None:
                raise ValueError("no model")

            def teardown(self) -> None:
                raise AssertionError("there is nothing to tear down")

        around = Neighbourhood('{version: 1, agents: {broken: {handler: "app:Broken"}}}', Broken=Broken)
        broken = around.prepare("broken")
        with pytest.raises(ValueError, match="no model"):
            await broken.replica.start()
        await broken.close()

    @skipping
    async def test_a_teardown_that_fails_is_logged_and_the_end_goes_on(self) -> None:
        @agent
        class Broken:
            async def teardown(self) -> None:
                raise ValueError("already closed")

        async with Neighbourhood.of('{version: 1, agents: {broken: {handler: "app:Broken"}}}', Broken=Broken) as around:
            broken = around.running["broken"]
            await broken.close()
            assert broken.log.said("teardown failed")[0]["error"] == "ValueError: already closed"

    @skipping
    async def test_what_is_asked_before_setup_is_over_waits_for_it(self) -> None:
        gate, order = asyncio.Event(), list[str]()

        @agent
        class Slow:
            async def setup(self) -> None:
                await gate.wait()
                order.append("set up")

            @task
            async def trickle(self, ask: Trickle) -> AsyncIterator[str]:
                order.append("asked")
                yield ask.prompt

        around = Neighbourhood('{version: 1, agents: {slow: {handler: "app:Slow"}}}', Slow=Slow)
        slow = around.prepare("slow")
        starting = asyncio.create_task(slow.replica.start())
        async with around.user() as user:
            answer = asyncio.create_task(user.ask("slow", "hello"))
            await around.hub.heard("ask")
            gate.set()
            assert await answer == "hello"
        await starting
        assert order == ["set up", "asked"]
        await around.close()

    @skipping
    async def test_a_start_waits_for_a_connection_that_is_lost_meanwhile(self) -> None:
        gate, begun = asyncio.Event(), asyncio.Event()

        @agent
        class Slow:
            async def setup(self) -> None:
                begun.set()
                await gate.wait()

            @task
            async def double(self, job: Double) -> int:
                return 2 * job.number

        text = """
version: 1
coordinators: {boss: {handler: "app:Boss", workers: [slow]}}
workers: {slow: {handler: "app:Slow"}}
"""
        around = Neighbourhood(text, Boss=Boss, Slow=Slow)
        slow = around.prepare("slow")
        starting = asyncio.create_task(slow.replica.start())
        await begun.wait()
        slow.link.cut()
        gate.set()
        await quiet()
        assert not starting.done()
        slow.link.restore()
        await starting
        assert set(slow.link.channels) >= {"tasks/slow", "pools/slow"}
        await around.close()

    @skipping
    async def test_an_end_does_not_wait_for_callers_once_the_connection_is_over_for_good(self) -> None:
        async with (
            Neighbourhood.of('{version: 1, agents: {slow: {handler: "app:Patient"}}}', Patient=Patient) as around,
            around.user() as user,
        ):
            slow = around.running["slow"]
            async with aclosing(cast("Any", user.stream("slow", "one two"))) as answer:
                assert await anext(answer) == "one"
                slow.link.end()
                await quiet()
                slow.agent.gate.set()
                began = asyncio.get_running_loop().time()
                assert await slow.replica.drain(10.0)
                assert asyncio.get_running_loop().time() - began < 1.0

    @skipping
    async def test_a_timer_whose_handler_was_cancelled_from_within_goes_on(self) -> None:
        turns: asyncio.Queue[int] = asyncio.Queue()

        @agent
        class Clock:
            @every("10s")
            async def turn(self) -> None:
                turns.put_nowait(1)
                inner = asyncio.ensure_future(asyncio.sleep(1.0))
                inner.cancel()
                await inner

        async with Neighbourhood.of('{version: 1, agents: {clock: {handler: "app:Clock"}}}', Clock=Clock) as around:
            assert [await turns.get() for _ in range(3)] == [1, 1, 1]
            assert around.running["clock"].log.said("handler failed")

    @skipping
    async def test_an_agent_without_its_relation_is_told_which(self) -> None:
        around = Neighbourhood(TEAM, Member=Member, Watcher=Watcher)
        replicas = tuple(replace(replica, lobbies=()) for replica in around.plan.replicas)
        around.plan = replace(around.plan, replicas=replicas)
        watcher = around.prepare("watcher")
        with pytest.raises(HandlerError, match=r"Watcher\.lobby: the topology gives this agent no such presence"):
            await watcher.replica.start()
        await watcher.close()


# -- users


class TestUsers:
    @skipping
    async def test_a_question_in_words_is_answered_through_coordinator_and_worker(self) -> None:
        async with pool(ONE) as around, around.user() as user:
            around.running["helper"].agent.gate.set()
            assert await user.ask("boss", "a b c") == "abc"

    @skipping
    async def test_a_task_of_a_user_is_answered(self) -> None:
        async with pool(ONE) as around, around.user() as user:
            assert await user.run("helper", Double(number=3)) == 6

    @skipping
    async def test_leaving_an_answer_stops_all_that_works_on_it_at_once(self) -> None:
        async with pool(ONE) as around, around.user() as user:
            answer = cast("Any", user.stream("boss", "a b c"))
            assert await anext(answer) == "a"
            await answer.aclose()
            assert around.hub.said("task-cancel") or await around.hub.heard("task-cancel")
            await around.hub.heard("task-cancel", 2)
            assert await around.running["helper"].replica.drain(1.0)

    @skipping
    async def test_two_users_are_answered_each_for_themselves(self) -> None:
        async with pool(ONE) as around, around.user("reader/a") as one, around.user("reader/b") as other:
            around.running["helper"].agent.gate.set()
            assert [*await asyncio.gather(one.ask("boss", "x y"), other.ask("boss", "z"))] == ["xy", "z"]

    @skipping
    async def test_a_question_survives_that_the_user_reconnects(self) -> None:
        async with pool(ONE) as around, around.user() as user:
            answer = cast("Any", user.stream("boss", "a b c"))
            assert await anext(answer) == "a"
            around.hub.links["reader/alice"].cut()
            around.running["helper"].agent.gate.set()
            await asyncio.sleep(1.0)
            around.hub.links["reader/alice"].restore()
            assert [word async for word in answer] == ["b", "c"]

    @skipping
    async def test_the_tail_of_an_answer_that_was_lost_is_asked_for(self) -> None:
        async with pool(ONE) as around, around.user() as user:
            answer = cast("Any", user.stream("helper", "a b c"))
            assert await anext(answer) == "a"

            def lost(message: Message) -> Any:
                return "lost" if message.target == "reader/alice" else "carried"

            around.hub.rule = lost
            around.running["helper"].agent.gate.set()
            await around.hub.heard("completion-chunk", done=True)
            around.hub.rule = lambda _message: "carried"
            async with asyncio.timeout(30.0):
                assert [word async for word in answer] == ["b", "c"]

    @skipping
    async def test_after_the_end_of_the_connection_every_question_ends_at_once(self) -> None:
        async with pool(ONE) as around, around.user() as user:
            answer = cast("Any", user.stream("boss", "a b c"))
            assert await anext(answer) == "a"
            around.hub.links["reader/alice"].end()
            with pytest.raises(NotConnected):
                await anext(answer)
            async with asyncio.timeout(10.0):
                for name in ("boss", "helper"):
                    with pytest.raises(NotConnected):
                        await user.ask(name, "why")

    @skipping
    async def test_a_question_that_cannot_be_written_fails_at_once(self) -> None:
        async with pool(ONE) as around, around.user() as user:
            async with asyncio.timeout(1.0):
                with pytest.raises(ValueError, match="half a surrogate pair"):
                    await user.ask("boss", "\ud800")

    @skipping
    async def test_an_answer_is_news_only_to_the_engine_that_asked(self) -> None:
        async with pool(ONE) as around, around.user() as user:
            around.running["helper"].agent.gate.set()
            await user.ask("boss", "a")
            noted: list[Any] = []
            cast("Any", user._desks["boss"])._log = _Noting(noted)
            assert await user.run("helper", Double(number=3)) == 6
            assert noted == []


class _Noting:
    def __init__(self, noted: list[Any]) -> None:
        self._noted = noted

    def log(self, _level: int, event: str, **fields: Any) -> None:
        self._noted.append((event, fields))
