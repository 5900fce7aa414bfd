"""A topology in one process: it is asked, watched, cut, killed and parted, and no real time passes."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import structlog

from orchestrator import Message, Task, User
from orchestrator.errors import (
    DispatchError,
    HandlerError,
    NotAuthorized,
    NoWorkerAvailable,
    TaskFailed,
    TopologyError,
    WorkerLost,
)
from orchestrator.testing import Refusal, TestHub, virtual
from tests.testing.hub_agents import (
    DESK,
    DESK_HANDLERS,
    HANDLERS,
    TOPOLOGY,
    Boss,
    Count,
    Delegate,
    Helper,
    Open,
    Say,
    Shout,
    Slow,
    Threaded,
    Unused,
)

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "testing.md").read_text(encoding="utf-8")


def newsroom(**options: Any) -> TestHub:
    return TestHub(TOPOLOGY, handlers=HANDLERS, **options)


async def until(fact: Any) -> None:
    """Let time pass until something is so."""
    async with asyncio.timeout(120):
        while not fact():  # noqa: ASYNC110 - of virtual time, looking takes none
            await asyncio.sleep(0.01)


def working(hub: TestHub) -> str:
    """Return the helper that has begun something."""
    (peer,) = [f"helper.{n}" for n in (1, 2, 3) if hub.agent(f"helper.{n}").begun]
    return peer


# -- asking


@virtual
async def test_a_task_a_stream_and_a_question_are_answered() -> None:
    async with newsroom() as hub:
        assert await hub.run("helper", Shout(word="hi")) == "HI"
        assert [number async for number in hub.stream("helper.2", Count(upto=3))] == [0, 1, 2]
        assert [chunk async for chunk in hub.stream("boss", Say(prompt="a b"))] == ["A ", "B "]
        assert await hub.ask("boss", "from one process") == "FROM ONE PROCESS "
        assert hub.refused == []


@virtual
async def test_a_failure_is_typed_and_logged() -> None:
    class Broken(Helper):
        async def _work(self, task_id: str, seconds: float) -> str:
            raise ValueError("no luck")

    async with TestHub(TOPOLOGY, handlers={**HANDLERS, "helper": Broken}) as hub:
        with pytest.raises(TaskFailed, match="no luck"):
            await hub.run("helper.1", Slow(seconds=1))
        assert any(record.get("peer") == "helper.1" for record in hub.log)


@virtual
async def test_several_users_ask_at_once() -> None:
    async with newsroom() as hub, hub.user("reader", "alice") as alice, hub.user("reader", "bob") as bob:
        assert alice.peer_id == "reader/alice"
        a, b = await asyncio.gather(alice.ask("boss", "a"), bob.ask("boss", "b"))
        assert (a, b) == ("A ", "B ")


# -- time


@virtual
async def test_time_passes_when_it_is_told_to() -> None:
    async with newsroom() as hub:
        before = hub.now
        await hub.advance(1_000)
        assert hub.now == pytest.approx(before + 1_000)
        assert await hub.ask("boss", "still here", timeout=1) == "STILL HERE "


@virtual
async def test_a_handler_in_a_thread_takes_no_time() -> None:
    async with newsroom() as hub:
        before = hub.now
        assert await hub.run("helper", Threaded(real_seconds=0.05), timeout=0.02) == 7
        assert hub.now - before < 0.02
        (slept,) = [record for record in hub.log if record["event"] == "slept"]
        assert before < slept["at"] <= hub.now


# -- who is there


@virtual
async def test_nobody_able_is_an_error_at_once() -> None:
    async with newsroom(only=["boss"]) as hub:
        await hub.advance(5)  # until then they might be about to come back
        before = hub.now
        with pytest.raises(TaskFailed, match="NoWorkerAvailable"):
            await hub.run("boss", Delegate(seconds=1))
        with pytest.raises(NoWorkerAvailable):
            await hub.run("helper", Slow(seconds=1))
        assert hub.now - before < 0.1
        await hub.start("helper.3")
        assert await hub.run("boss", Delegate(seconds=1)) == "done"


@virtual
async def test_what_is_started_can_be_looked_at() -> None:
    async with newsroom(only=["helper.1"]) as hub:
        assert isinstance(hub.agent("helper.1"), Helper)
        with pytest.raises(LookupError, match="not running"):
            hub.agent("helper.2")
        with pytest.raises(LookupError, match="did you mean 'helper"):
            hub.agent("helpr")
        with pytest.raises(LookupError, match="did you mean 'reader'"):
            async with hub.user("readr"):
                pass


@virtual
async def test_a_program_is_played_by_a_stand_in() -> None:
    text = TOPOLOGY.replace("handler: app:Helper, replicas: 3", "command: [node, helper.js], handles: [Shout]")
    heard: list[str] = []

    async def helper(user: User, inbox: AsyncIterator[Message]) -> None:
        async for message in inbox:
            heard.append(message.data["type"])
            word = message.data["payload"]["word"]
            await user.send(message.sender, {"type": "task-result", "taskId": message.data["taskId"], "result": word})

    async with TestHub(text, handlers={"boss": Boss}, stand_ins={"helper": helper}) as hub:
        assert await hub.ask("boss", "as it is") == "as it is "
        assert heard == ["task"] * 3
    async with TestHub(text, handlers={"boss": Boss}) as hub:
        with pytest.raises(TaskFailed, match="NoWorkerAvailable"):
            await hub.ask("boss", "as it is")
    with pytest.raises(LookupError, match="give it a stand-in"):
        async with TestHub(text, handlers={"boss": Boss}, only=["helper"]):
            pass


@virtual
async def test_what_a_stand_in_raises_comes_out_at_the_end() -> None:
    async def helper(user: User, inbox: AsyncIterator[Message]) -> None:
        raise ValueError("a mistake in the test")

    text = TOPOLOGY.replace("handler: app:Helper, replicas: 3", "external: true, handles: [Shout]")
    with pytest.raises(ValueError, match="a mistake in the test"):
        async with TestHub(text, handlers={"boss": Boss}, stand_ins={"helper": helper}):
            pass


# -- cut and killed


@virtual
async def test_a_stream_survives_cuts_on_either_side() -> None:
    async with newsroom() as hub, hub.user("cli", "reader") as user:

        async def cut() -> None:
            for name in ("helper.1", "cli/reader") * 3:
                await hub.advance(6)
                hub.drop(name)

        cutting = asyncio.create_task(cut())
        read = [number async for number in user.stream("helper.1", Count(upto=2_000, pause=0.02))]
        assert cutting.done()
        assert read == list(range(2_000))


@virtual
async def test_whoever_is_cut_comes_back() -> None:
    async with newsroom() as hub:
        hub.drop("helper")
        with pytest.raises(LookupError, match="not connected"):
            hub.drop("helper")
        await hub.advance(5)
        assert await hub.run("boss", Delegate(seconds=1)) == "done"


@virtual
async def test_a_task_that_may_be_repeated_outlives_its_worker() -> None:
    async with newsroom() as hub:
        asked = asyncio.create_task(hub.run("boss", Delegate(seconds=5)))
        await hub.advance(1)
        victim = working(hub)
        helper = hub.agent(victim)
        await hub.kill(victim)
        assert (len(helper.cancelled), helper.ended) == (1, [])
        assert await asked == "done"


@virtual
async def test_a_task_that_must_not_be_repeated_ends_in_worker_lost() -> None:
    async with newsroom() as hub:
        asked = asyncio.create_task(hub.run("boss", Delegate(seconds=5, once=True)))
        await hub.advance(1)
        await hub.kill(working(hub))
        with pytest.raises(TaskFailed, match=WorkerLost.__name__):
            await asked


@virtual
async def test_a_killed_replica_comes_back_when_it_is_started() -> None:
    async with newsroom(only=["boss", "helper.1"]) as hub:
        before = hub.agent("helper.1")
        await hub.kill("helper")
        await hub.advance(300)
        with pytest.raises(NoWorkerAvailable):
            await hub.run("helper.1", Shout(word="hi"))
        await hub.start("helper.1")
        assert hub.agent("helper.1") is not before
        assert await hub.ask("boss", "hi") == "HI "


@virtual
async def test_cancelling_the_caller_cancels_the_worker() -> None:
    async with newsroom() as hub:
        asked = asyncio.create_task(hub.run("helper.1", Slow(seconds=1_000)))
        await until(lambda: hub.agent("helper.1").begun)
        asked.cancel()
        await until(lambda: hub.agent("helper.1").cancelled)
        assert hub.now < 5


@virtual
async def test_the_end_of_the_block_ends_everybody_in_peace() -> None:
    async with newsroom() as hub:
        helper = hub.agent("helper.1")
        asked = asyncio.create_task(hub.run("helper.1", Slow(seconds=1_000)))
        await until(lambda: helper.begun)
    assert (len(helper.cancelled), helper.ended) == (1, ["teardown"])
    with pytest.raises(Exception, match=r"cancel|closed"):
        await asked
    assert len(asyncio.all_tasks()) == 1


# -- parted


@virtual
async def test_messages_between_two_who_are_parted_are_lost() -> None:
    async with TestHub(DESK, handlers=DESK_HANDLERS) as hub:
        hub.partition("caller", "listener.1")
        assert await hub.run("caller", Open(upto=2)) == 2
        hub.heal()
        assert await hub.run("caller", Open(upto=1)) == 1
        await hub.advance(0.1)
        assert (hub.agent("listener.1").heard, hub.agent("listener.2").heard) == ([0], [0, 1, 0])


@virtual
async def test_a_connection_may_be_half_open_for_a_while() -> None:
    async with TestHub(DESK, handlers=DESK_HANDLERS) as hub:
        hub.partition("listener.1", "hub")
        await hub.run("caller", Open(upto=2))
        await hub.advance(5)
        assert hub.agent("listener.1").heard == []
        hub.heal()
        await hub.advance(0.1)
        assert hub.agent("listener.1").heard == [0, 1]


@virtual
async def test_heartbeats_find_a_half_open_connection() -> None:
    async with TestHub(DESK, handlers=DESK_HANDLERS) as hub:
        hub.partition("hub", "listener.1")
        await hub.advance(200)
        await hub.run("caller", Open(upto=1))
        hub.heal()
        await hub.advance(60)
        await hub.run("caller", Open(upto=2))
        await hub.advance(0.1)
        assert hub.agent("listener.1").heard == [0, 1]


@virtual
async def test_who_takes_nothing_in_is_a_slow_consumer() -> None:
    async with TestHub(DESK, handlers=DESK_HANDLERS) as hub:
        hub.partition("listener.1", "hub")
        assert await hub.run("caller", Open(upto=60, padding=60_000)) == 60
        hub.heal()
        await hub.advance(30)
        assert any(record.get("reason") == "slow consumer" for record in hub.log)
        await hub.run("caller", Open(upto=1))
        await hub.advance(0.1)
        assert len(hub.agent("listener.2").heard) == 61
        assert hub.agent("listener.1").heard[-1] == 0
        assert len(hub.agent("listener.1").heard) < 61


@virtual
async def test_connections_outlive_their_tokens() -> None:
    async with TestHub(DESK.replace("agents:", "hub: {token_ttl: 1m}\nagents:", 1), handlers=DESK_HANDLERS) as hub:
        for _ in range(100):
            assert await hub.run("caller", Open(upto=1), timeout=1) == 1
            await hub.advance(7)
        assert hub.agent("listener.1").heard == [0] * 100
        assert not [record for record in hub.log if "lost" in record["event"]]


@pytest.mark.parametrize("seed", range(12))
def test_after_any_trouble_everybody_is_there_again(seed: int) -> None:
    dice = random.Random(seed)
    peers = ["boss", "helper.1", "helper.2", "helper.3", "cli/test-hub"]

    @virtual
    async def trouble() -> None:
        async with newsroom(seed=seed, jitter=0.02) as hub:
            asked = []
            for _ in range(40):
                await hub.advance(dice.uniform(0, 3))
                asked.append(asyncio.create_task(hub.ask("boss", "a b c", timeout=60)))
                match dice.randrange(5):
                    case 0:
                        with suppress(LookupError):  # it is about to come back
                            hub.drop(dice.choice(peers))
                    case 1:
                        hub.partition(dice.choice(peers), "hub")
                    case 2:
                        hub.partition(*dice.sample(peers, 2))
                    case 3:
                        hub.heal()
                    case _:
                        victim = dice.choice(peers[1:4])
                        await hub.kill(victim)
                        hub.heal()  # whoever is parted from the hub cannot be started
                        await hub.start(victim)
            hub.heal()
            answers = await asyncio.gather(*asked, return_exceptions=True)
            assert all(answer == "A B C " or isinstance(answer, DispatchError) for answer in answers)
            await hub.advance(120)
            assert await hub.ask("boss", "all of us", timeout=1) == "ALL OF US "
            assert len(hub._network._wires) == len(peers)

    trouble()


# -- seen


@virtual
async def test_published_events_are_seen_from_the_start_and_as_they_come() -> None:
    async with TestHub(DESK, handlers=DESK_HANDLERS) as hub:
        await hub.run("caller", Open(upto=2))
        later = asyncio.create_task(hub.run("caller", Open(upto=1)))
        seen = []
        async for message in hub.events("teams/desk/*"):
            if message.data["type"] == "event":
                seen.append((message.channel, message.sender, message.data["payload"]["number"]))
            if len(seen) == 3:
                break
        await later
        assert seen == [("teams/desk/state", "caller", number) for number in (0, 1, 0)]


@virtual
async def test_events_end_with_the_block() -> None:
    async def read(hub: TestHub) -> list[Message]:
        return [message async for message in hub.events("no/such/channel")]

    async with TestHub(DESK, handlers=DESK_HANDLERS) as hub:
        reading = asyncio.create_task(read(hub))
        await hub.advance(1)
    assert await reading == []


@virtual
async def test_what_a_token_does_not_allow_is_refused_and_seen() -> None:
    async with newsroom() as hub, hub.user("reader", "eve") as eve:
        with pytest.raises(NotAuthorized):
            await eve.publish("tasks/helper.1", {"type": "task"})
        with pytest.raises(NotAuthorized):
            await eve.send("helper.1", {"type": "task"})
        assert [(it.peer, it.action, it.target) for it in hub.refused] == [
            ("reader/eve", "publish", "tasks/helper.1"),
            ("reader/eve", "send", "helper.1"),
        ]
        assert all(isinstance(refusal, Refusal) for refusal in hub.refused)
        assert [message async for message in _so_far(hub, "tasks/helper.1")] == []


async def _so_far(hub: TestHub, channel: str) -> AsyncIterator[Message]:
    """Yield what was published until now."""
    reading = hub.events(channel)
    while True:
        try:
            yield await asyncio.wait_for(anext(reading), 0.01)
        except TimeoutError:
            return


# -- mistakes


@virtual
async def test_mistakes_are_told_before_anything_runs() -> None:
    with pytest.raises(TopologyError, match="helpr"):
        async with TestHub(TOPOLOGY.replace("[helper]", "[helpr]"), handlers=HANDLERS):
            pass
    unusable = TestHub(TOPOLOGY, handlers={**HANDLERS, "helper": Unused})
    for _ in range(2):
        with pytest.raises(HandlerError, match="no agent"):
            await unusable.__aenter__()
    with pytest.raises(LookupError, match="did you mean 'helper'"):
        async with TestHub(TOPOLOGY, handlers={"helpe": Helper}):
            pass


@virtual
async def test_what_setup_raises_ends_the_start() -> None:
    class Faulty(Helper):
        async def setup(self) -> None:
            raise ValueError("no model")

    with pytest.raises(ValueError, match="no model"):
        async with TestHub(TOPOLOGY, handlers={**HANDLERS, "helper": Faulty}):
            pass
    assert len(asyncio.all_tasks()) == 1


@virtual
async def test_a_hub_is_entered_once_at_a_time() -> None:
    async with newsroom() as hub:
        with pytest.raises(RuntimeError, match="entered already"):
            async with hub:
                pass
    async with hub:
        assert await hub.ask("boss", "again") == "AGAIN "


# -- the same again


async def story(seed: int) -> list[tuple[Any, ...]]:
    """Return who published what when, through cuts and a death, where the seed decides the delays."""
    async with newsroom(seed=seed, jitter=0.01) as hub:
        for number in range(5):
            hub.drop(f"helper.{number % 3 + 1}")
            tasks: list[Task[str]] = [Slow(seconds=1), Delegate(seconds=2)]
            await asyncio.gather(
                hub.run("helper", tasks[0]), hub.run("boss", tasks[1]), hub.ask("boss", "a b c"), return_exceptions=True
            )
        await hub.kill("helper.1")
        await hub.ask("boss", "d e")
        seen = [(m.channel, m.sender, m.data["type"], m.data.get("taskId")) async for m in _so_far(hub, "**")]
        return [*seen, *((record["at"], record["event"]) for record in hub.log), (hub.now,)]


def test_the_same_seed_tells_the_same_story() -> None:
    tell = virtual(story)
    first = tell(1)
    assert tell(1) == first
    assert tell(2) != first


async def test_in_an_event_loop_of_another_kind_time_passes() -> None:
    async with newsroom(only=["boss", "helper.1"]) as hub:
        assert await hub.ask("boss", "for real") == "FOR REAL "


def test_what_is_captured_does_not_depend_on_how_logging_is_configured() -> None:
    tell = virtual(story)
    first = tell(1)
    before, was = structlog.get_config(), structlog.is_configured()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    try:
        assert tell(1) == first
        assert structlog.get_config()["wrapper_class"] is not before["wrapper_class"]
    finally:
        structlog.configure(**before)
        if not was:
            structlog.reset_defaults()


@pytest.mark.one_hub("the other process has one hub")
@pytest.mark.parametrize("hash_seed", ["1", pytest.param("2", marks=pytest.mark.bars)])
def test_another_process_tells_the_same_story(hash_seed: str) -> None:
    code = (
        "from orchestrator.testing import virtual; from tests.testing.test_hub import story; print(virtual(story)(1))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == str(virtual(story)(1))


def test_it_needs_neither_a_test_framework_nor_what_serves_sockets() -> None:
    code = "import sys; from orchestrator.testing import *; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "orchestrator" in loaded
    assert not loaded & {"pytest", "_pytest", "hypothesis", "picows", "aiohttp", "uvloop"}


SHIPPED = [
    ("dispatch", "boss", "4 7 15 60"),
    ("team", "foreman", "bricks mortar windows roof"),
    ("presence", "doorkeeper", "guest"),
    ("stream", "teller", "a tale"),
]


@pytest.mark.parametrize(("name", "agent", "question"), SHIPPED)
def test_the_topologies_that_are_shipped_run_on_it(name: str, agent: str, question: str) -> None:
    @virtual
    async def asked() -> None:
        async with TestHub(ROOT / "topologies" / f"{name}.yaml") as hub:
            assert await hub.ask(agent, question)
            assert hub.refused == []
            assert [record for record in hub.log if record["level"] == "error"] == []

    asked()


# -- the document


@pytest.mark.parametrize("name", sorted(name for name in vars(TestHub) if not name.startswith("_")))
def test_what_a_hub_can_do_is_documented(name: str) -> None:
    assert getattr(TestHub, name).__doc__
    assert f"hub.{name}" in DOCUMENT
