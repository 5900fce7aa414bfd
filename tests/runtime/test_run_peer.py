"""A run as a peer of a real hub: dashboards find it, are told of it, and ask it for what they may."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random
from typing import Any

from orchestrator.client.connection import Client
from orchestrator.client.events import DirectReceived, PresenceReceived
from orchestrator.hub.server import Server
from orchestrator.patterns.parts import Assembly, Joined, is_part
from orchestrator.protocol.dashboard import RUNS
from orchestrator.protocol.tokens import Claims, Grants, mint
from orchestrator.runtime.control import Figures, TaskNews
from orchestrator.runtime.gathered import Gathered
from orchestrator.runtime.operator_wire import ReplicaView, RunView
from orchestrator.runtime.recent import Recent
from orchestrator.runtime.records import Record, Source
from orchestrator.runtime.run_desk import RunDesk
from orchestrator.runtime.run_peer import MAX_WATCHERS, RunPeer
from orchestrator.store.opening import MemoryStore
from orchestrator.topology.plan import Plan
from tests.hub.sockets import KEY, server
from tests.runtime.plans import SMALL, planned
from tests.runtime.test_run_desk import Run


class Dashboard:
    """A client that gathers what a run tells it."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.run = ""
        self._joins = Assembly()
        self._came: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._found = asyncio.Event()

    async def follow(self) -> None:
        async for event in self.client.events():
            match event:
                case PresenceReceived(joined=joined):
                    for present in joined:
                        self.run = present.peer_id
                        self._found.set()
                case DirectReceived(sender=sender, data=data) if is_part(data):
                    for outcome in self._joins.receive(sender, None, data, time.monotonic()):
                        assert isinstance(outcome, Joined)
                        self._came.put_nowait(json.loads(bytes(outcome.data)))
                case DirectReceived(data=data):
                    self._came.put_nowait(json.loads(bytes(data)))

    async def watch(self) -> None:
        await self.client.subscribe(RUNS)
        await self._found.wait()
        await self.client.send(self.run, {"type": "watch"})

    async def told(self, kind: str) -> dict[str, Any]:
        """Return the next message of a kind; others before it are passed over."""
        while (message := await self._came.get())["type"] != kind:
            continue
        return message

    async def until(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Return the next update that has what is looked for."""
        while not wanted(update := await self.told("run-update")):
            continue
        return update

    async def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        await self.client.send(self.run, {"type": "run-request", "id": "r1", "do": do, "arguments": arguments})
        return await self.told("run-answer")


class Rig:
    """A run that is told here what happens in it."""

    def __init__(self, hub: Server, plan: Plan) -> None:
        self.hub, self.plan = hub, plan
        self.gathered, self.recent, self.watched = Gathered(), Recent(), [False]
        self.states = {replica.peer_id: "ready" for replica in plan.replicas}
        store = MemoryStore(lambda: 100.0, Random(1))
        self._change = asyncio.Event()
        self.peer = RunPeer(
            url=hub.url,
            key=KEY,
            tls=None,
            plan=lambda: self.plan,
            view=self.view,
            changed=self.changed,
            gathered=self.gathered,
            watch=self.watched.append,
            recent=self.recent,
            desk=RunDesk(lambda: store, Run(), self.recent),
        )

    def view(self) -> RunView:
        rows: Any = [
            ReplicaView(replica.agent, replica.peer_id, "here", self.states[replica.peer_id])  # type: ignore[arg-type]
            for replica in self.plan.replicas
        ]
        return RunView(self.plan.name, "topology.yaml", 7, self.hub.url, 5.0, True, tuple(rows))

    async def changed(self) -> None:
        self._change.clear()
        await self._change.wait()

    def stands(self, peer: str, state: str) -> None:
        self.states[peer] = state
        self._change.set()

    @asynccontextmanager
    async def dashboard(self, sub: str = "cli/dashboard-1") -> AsyncIterator[Dashboard]:
        grants = Grants(observe=("**",), presence=("**",), send=("(run)/*",))
        token = mint(KEY, Claims(sub=sub, exp=int(time.time()) + 60, instance="i", grants=grants))
        async with Client(self.hub.url, token=token) as client:
            dashboard = Dashboard(client)
            following = asyncio.create_task(dashboard.follow())
            try:
                yield dashboard
            finally:
                await client.close()
                await following


@asynccontextmanager
async def running(text: str = SMALL) -> AsyncIterator[Rig]:
    async with asyncio.timeout(20), server() as hub:
        rig = Rig(hub, planned(text))
        leaving = asyncio.Event()
        serving = asyncio.create_task(rig.peer.run(leaving))
        try:
            yield rig
        finally:
            leaving.set()
            await serving


async def test_a_dashboard_finds_the_run_and_is_told_what_it_is_and_how_it_stands() -> None:
    async with running() as rig, rig.dashboard() as dashboard:
        rig.recent.put(Source("run"), Record(1.0, "info", "it began"))
        await dashboard.watch()
        outline = await dashboard.told("run-outline")
        assert {agent["name"]: agent["replicas"] for agent in outline["agents"]} == {
            "boss": ["boss"],
            "helper": ["helper.1", "helper.2"],
        }
        assert outline["admin"] is True
        whole = await dashboard.told("run-update")
        assert whole["whole"] is True
        assert [replica["state"] for replica in whole["replicas"]] == ["ready"] * 3
        assert [line["event"] for line in whole["log"]] == ["it began"]


async def test_what_happens_is_told_to_everybody_who_looks_on() -> None:
    async with running() as rig, rig.dashboard() as one, rig.dashboard("cli/dashboard-2") as other:
        for dashboard in (one, other):
            await dashboard.watch()
            await dashboard.told("run-update")
        rig.stands("helper.2", "waiting")
        rig.gathered.heard("boss", "boss", Figures(flows=(("helper", "task", 3),)))
        rig.gathered.heard("helper.1", "helper", Figures(tasks=(TaskNews("t1", "Shout", "failed", 2.0, "boss"),)))
        rig.recent.put(Source("helper.1", "helper", 1), Record(2.0, "error", "handler failed"))
        for dashboard in (one, other):
            seen: dict[str, Any] = {}
            while len(seen) < 4:
                update = await dashboard.told("run-update")
                seen |= {name: update[name] for name in ("replicas", "flows", "tasks", "log") if name in update}
            assert [(each["peer"], each["state"]) for each in seen["replicas"]] == [("helper.2", "waiting")]
            assert seen["flows"] == [["boss", "helper", "task", 3]]
            assert [(each["id"], each["from"]) for each in seen["tasks"]] == [("t1", "boss")]
            assert [each["event"] for each in seen["log"]] == ["handler failed"]


async def test_figures_come_often_only_while_somebody_looks_on() -> None:
    async with running() as rig:
        async with rig.dashboard() as dashboard:
            await dashboard.watch()
            await dashboard.told("run-update")
            assert rig.watched[-1] is True
            await dashboard.client.send(dashboard.run, {"type": "unwatch"})
            await dashboard.ask("log")  # which it has taken after that
            assert rig.watched[-1] is False


async def test_a_dashboard_that_left_without_a_word_is_forgotten_with_the_next_update() -> None:
    async with running() as rig:
        async with rig.dashboard("cli/dashboard-2") as other:
            await other.watch()
            await other.told("run-update")
        async with rig.dashboard() as dashboard:
            await dashboard.watch()
            await dashboard.told("run-update")
            rig.stands("helper.1", "waiting")
            await dashboard.told("run-update")
            await dashboard.client.send(dashboard.run, {"type": "unwatch"})
            await dashboard.ask("log")
            assert rig.watched[-1] is False


async def test_one_that_asks_again_is_told_everything_again() -> None:
    async with running() as rig, rig.dashboard() as dashboard:
        await dashboard.watch()
        await dashboard.told("run-update")
        rig.stands("helper.1", "failed")
        await dashboard.client.send(dashboard.run, {"type": "watch"})
        await dashboard.told("run-outline")
        whole = await dashboard.until(lambda update: update.get("whole", False))
        assert {each["peer"]: each["state"] for each in whole["replicas"]}["helper.1"] == "failed"


async def test_another_plan_is_outlined_anew() -> None:
    async with running() as rig, rig.dashboard() as dashboard:
        await dashboard.watch()
        await dashboard.told("run-update")
        rig.plan = planned(SMALL.replace("replicas: 2", "replicas: 3"))
        rig.stands("helper.3", "starting")
        outline = await dashboard.told("run-outline")
        assert outline["agents"][1]["replicas"] == ["helper.1", "helper.2", "helper.3"]


async def test_a_run_of_five_hundred_is_told_in_parts() -> None:
    async with running(SMALL.replace("replicas: 2", "replicas: 500")) as rig, rig.dashboard() as dashboard:
        await dashboard.watch()
        whole = await dashboard.until(lambda update: update.get("whole", False))
        assert len(whole["replicas"]) == 501


async def test_changes_are_for_the_built_in_user() -> None:
    async with running() as rig:
        async with rig.dashboard("reader/alice") as reader:
            await reader.watch()
            assert "admin" not in await reader.told("run-outline")
            assert "whoever holds the run's key" in (await reader.ask("restart", names=["helper"]))["error"]
            assert (await reader.ask("tasks"))["result"]["tasks"] == []
        async with rig.dashboard() as operator:
            await operator.watch()
            assert (await operator.ask("restart", names=["helper"]))["result"] == {"done": "restarted"}


async def test_what_is_no_request_is_passed_over() -> None:
    async with running() as rig, rig.dashboard() as dashboard:
        await dashboard.client.subscribe(RUNS)
        await dashboard.watch()
        for message in ({"type": "watchh"}, ["watch"], {"type": "run-request", "do": "tasks"}, None, "x" * 1000):
            await dashboard.client.send(dashboard.run, message)
        assert (await dashboard.ask("tasks"))["result"]["tasks"] == []


async def test_those_who_left_without_a_word_take_nobodys_place() -> None:
    async with running() as rig:
        for number in range(MAX_WATCHERS):
            async with rig.dashboard(f"cli/dashboard-{number}") as gone:
                await gone.watch()
                await gone.told("run-update")
        async with rig.dashboard("cli/last") as dashboard:
            await dashboard.watch()
            await dashboard.told("run-outline")


async def test_another_plan_is_outlined_to_all_whoever_comes_first() -> None:
    async with running() as rig, rig.dashboard() as one, rig.dashboard("cli/dashboard-2") as other:
        await one.watch()
        await one.told("run-update")
        rig.plan = planned(SMALL.replace("replicas: 2", "replicas: 3"))
        rig.states["helper.3"] = "starting"
        await other.watch()
        await other.told("run-outline")
        outline = await one.told("run-outline")
        assert outline["agents"][1]["replicas"] == ["helper.1", "helper.2", "helper.3"]


async def test_what_a_newcomer_is_told_at_first_is_not_told_to_it_again() -> None:
    async with running() as rig, rig.dashboard() as one, rig.dashboard("cli/dashboard-2") as other:
        await one.watch()
        await one.told("run-update")
        rig.recent.put(Source("run"), Record(1.0, "info", "before"))
        await other.watch()
        assert [line["event"] for line in (await other.told("run-update"))["log"]] == ["before"]
        rig.recent.put(Source("run"), Record(2.0, "info", "after"))
        for dashboard in (one, other):
            events = []
            while "after" not in events:
                events += [line["event"] for line in (await dashboard.told("run-update")).get("log", ())]
            assert events == (["before", "after"] if dashboard is one else ["after"])
