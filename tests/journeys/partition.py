"""Three machines, each with a hub and a server of NATS, of which one after the other is cut off from the others.

The main of a process that has a network of its own. Each machine is a further network, with two ways out of it: one to the
other machines, which is what is cut, and one by which this process reaches hub and server at all times.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import sys
import tempfile
import time
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import structlog
from aiohttp import ClientSession

from orchestrator.client.connection import Client
from orchestrator.errors import StoreUnavailable
from orchestrator.hub import key_file
from orchestrator.protocol.tokens import Claims, mint
from orchestrator.store.nats import nats_store
from orchestrator.store.shared import Needs
from tests.brokers import nats_binary
from tests.journeys.clustering import QUICK, Change, Member
from tests.journeys.splitter import splitter
from tests.store.asking import Recorder, ask_on
from tests.store.linearizable import violations

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

MACHINES: Final = (1, 2, 3)
EACH: Final = 4
"""Members at each hub."""
CUT_FOR: Final = 15.0
"""Seconds: long enough that both sides give up the other."""
OPERATIONS: Final = 20_000
CONFIG: Final = """\
server_name: "n{number}"
listen: "0.0.0.0:4222"
ping_interval: "1s"
ping_max: 3
jetstream: {{ store_dir: "{folder}/jetstream", sync_interval: always }}
cluster {{
  name: "c", listen: "10.77.1.{number}:6222", no_advertise: true, ping_interval: "1s", ping_max: 3
  routes: [ "nats://10.77.1.1:6222", "nats://10.77.1.2:6222", "nats://10.77.1.3:6222" ]
}}
"""


async def ip(*words: str) -> None:
    process = await asyncio.create_subprocess_exec("ip", *words)
    if await process.wait() != 0:
        raise RuntimeError(f"ip {' '.join(words)} failed")


def network_of(pid: int | str) -> Path:
    return Path(f"/proc/{pid}/ns/net").readlink()


@asynccontextmanager
async def process(*command: str, log: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    with log.open("ab") as file:
        started = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, stderr=file)
    try:
        yield started
    finally:
        if started.returncode is None:
            started.kill()
        await started.wait()


class Machine:
    def __init__(self, number: int, folder: Path, keys: Path) -> None:
        self.number, self.folder, self.keys = number, folder, keys
        self.address = f"10.77.2.{number}"
        self.url = ""
        """Where clients reach the hub: on this machine, as they insist on without encryption."""

    def inside(self, *command: str) -> tuple[str, ...]:
        return ("nsenter", "--target", str(self._pid), "--net", *command)

    async def begin(self, stack: AsyncExitStack) -> None:
        self.folder.mkdir()
        log = self.folder / "log"
        holder = await stack.enter_async_context(process("unshare", "--net", "sleep", "infinity", log=log))
        self._pid = holder.pid
        while network_of(self._pid) == network_of("self"):  # noqa: ASYNC110  # nobody else tells
            await asyncio.sleep(0.01)
        for bridge, network, name in (("data", "10.77.1", "eth0"), ("desk", "10.77.2", "eth1")):
            outer = f"{bridge}{self.number}"
            await ip("link", "add", outer, "type", "veth", "peer", "name", name, "netns", str(self._pid))
            await ip("link", "set", outer, "master", bridge, "up")
            await self._in(*("ip", "addr", "add", f"{network}.{self.number}/24", "dev", name))
            await self._in("ip", "link", "set", name, "up")
        await self._in("ip", "link", "set", "lo", "up")
        settings = self.folder / "nats.conf"
        settings.write_text(CONFIG.format(number=self.number, folder=self.folder))
        server = self.inside(str(nats_binary()), "--config", str(settings), "--log", str(log))
        await stack.enter_async_context(process(*server, log=log))

    async def _in(self, *command: str) -> None:
        process = await asyncio.create_subprocess_exec(*self.inside(*command))
        if await process.wait() != 0:
            raise RuntimeError(f"{' '.join(command)} failed")

    async def begin_hub(self, stack: AsyncExitStack) -> None:
        hub = await stack.enter_async_context(
            process(
                *self.inside(sys.executable, "-m", "orchestrator", "hub", "serve", "--insecure", "--json"),
                *("--listen", f"{self.address}:7700", "--keys", str(self.keys), "--connects-per-minute", "0"),
                *("--backplane", "nats://127.0.0.1:4222/partition", "--node-name", f"n{self.number}"),
                log=self.folder / "hub.log",
            )
        )
        assert hub.stdout is not None
        if not await hub.stdout.readline():
            raise RuntimeError((self.folder / "hub.log").read_text())
        split = await stack.enter_async_context(splitter())
        split.targets["hub"] = (self.address, 7700)
        self.url = split.url

    async def cut(self) -> float:
        await ip("link", "set", f"data{self.number}", "down")
        return time.monotonic()

    async def heal(self) -> float:
        await ip("link", "set", f"data{self.number}", "up")
        return time.monotonic()


class World:
    def __init__(self, machines: list[Machine], members: dict[int, list[Member]], rest: ClientSession) -> None:
        self.machines, self.members, self._rest = machines, members, rest
        secret = key_file.load(machines[0].keys).secret_keys[0]
        self._headers = {"Authorization": f"Bearer {secret.id}:{secret.secret}"}

    def names(self, *numbers: int) -> set[str]:
        return {member.name for number in numbers for member in self.members[number]}

    async def roster(self, machine: Machine) -> tuple[set[str], bool]:
        url = f"http://{machine.address}:7700/v1/channels/lobby/peers"
        async with self._rest.get(url, headers=self._headers) as answer:
            told = await answer.json()
        return {entry["peerId"] for entry in told["peers"]}, told["stale"]

    async def sees(self, numbers: tuple[int, ...], of: tuple[int, ...], since: float, seconds: float) -> float:
        """Wait until those machines, and their members, list just the members of these; return the seconds since then."""
        wanted = self.names(*of)
        while True:
            rosters = [await self.roster(machine) for machine in self.machines if machine.number in numbers]
            seen = [
                member.rosters.get("lobby", set()) | {member.name}
                for number in numbers
                for member in self.members[number]
            ]
            if all(listed == wanted and not stale for listed, stale in rosters) and all(one == wanted for one in seen):
                return time.monotonic() - since
            if time.monotonic() - since > seconds:
                raise RuntimeError(f"after {seconds} s {rosters} and {seen} instead of {wanted}")
            await asyncio.sleep(0.05)

    def forget(self) -> None:
        for member in self.everybody():
            member.changes.clear()

    def everybody(self) -> list[Member]:
        return [member for some in self.members.values() for member in some]

    def contradictions(self) -> list[str]:
        """Return what members were told that does not alternate: of each peer, first that it left and then that it came."""
        found = []
        for member in self.everybody():
            by_peer: dict[str, list[Change]] = {}
            for change in member.changes.get("lobby", ()):
                by_peer.setdefault(change.peer, []).append(change)
            for peer, changes in by_peer.items():
                told = [change.what for change in changes]
                if told != ["lost", "joined"]:
                    found.append(f"{member.name} was told of {peer}: {told}")
        return found


async def main(folder: Path, operations: int) -> dict[str, Any]:
    for bridge in ("data", "desk"):
        await ip("link", "add", bridge, "type", "bridge")
        await ip("link", "set", bridge, "up")
    await ip("link", "set", "lo", "up")
    await ip("addr", "add", "10.77.2.254/24", "dev", "desk")
    keys = folder / "keys.yaml"
    with key_file.changed(keys) as content:
        content.secret_keys.append(key_file.SecretEntry("sk_id_cut", "sk_secret_" + "c" * 32, rate="unlimited"))
    key = key_file.load(keys).secret_keys[0].key()
    async with AsyncExitStack() as stack:
        machines = [Machine(number, folder / f"n{number}", keys) for number in MACHINES]
        for machine in machines:
            await machine.begin(stack)
        stores = [nats_store(f"nats://{machine.address}:4222", namespace="cut", needs=Needs()) for machine in machines]
        for store in stores:
            stack.push_async_callback(store.close)
            async with asyncio.timeout(30):
                while True:
                    try:
                        await store.open()
                        break
                    except StoreUnavailable:
                        await asyncio.sleep(0.2)  # the servers tell nobody when they have agreed
        for machine in machines:
            await machine.begin_hub(stack)
        rest = await stack.enter_async_context(ClientSession())
        members: dict[int, list[Member]] = {}
        for machine in machines:
            names = [f"m{machine.number}.{n}" for n in range(EACH)]
            tokens = [mint(key, Claims(sub=name, exp=int(time.time()) + 3600, rate="unlimited")) for name in names]
            members[machine.number] = [
                Member(Client(machine.url, token=token, reconnect=QUICK), name)
                for name, token in zip(names, tokens, strict=True)
            ]
        world = World(machines, members, rest)
        await asyncio.gather(*(member.begin("lobby") for member in world.everybody()))
        for member in world.everybody():
            stack.push_async_callback(member.end)
        await world.sees(MACHINES, MACHINES, time.monotonic(), 10.0)
        return await partitions(world, stores, operations)


async def partitions(world: World, stores: list[Any], operations: int) -> dict[str, Any]:
    recorders = [Recorder() for _ in stores]
    over = False
    cuts: list[dict[str, float]] = []
    contradictions: list[str] = []
    granted = 0

    def go_on() -> bool:
        return not over or sum(recorder.answered for recorder in recorders) < operations

    async with asyncio.TaskGroup() as group:
        for number, store in enumerate(stores):
            for client in range(6):
                name = f"c{number}.{client}"
                group.create_task(ask_on(recorders[number], store.leases, name, random.Random(name), go_on))
        for machine in world.machines:
            world.forget()
            others = tuple(number for number in MACHINES if number != machine.number)
            cut = await machine.cut()
            began = len(recorders[machine.number - 1].history)
            apart = [await world.sees(numbers, numbers, cut, CUT_FOR) for numbers in (others, (machine.number,))]
            await asyncio.sleep(max(0.0, cut + CUT_FOR - time.monotonic()))  # so long it is cut off
            minority = recorders[machine.number - 1].history[began:]
            granted += sum(
                one.kind in ("acquire", "renew") and one.told is not None and one.asked > cut for one in minority
            )
            healed = await machine.heal()
            whole = await world.sees(MACHINES, MACHINES, healed, 30.0)
            contradictions += world.contradictions()
            answered = recorders[machine.number - 1].answered
            while recorders[machine.number - 1].answered < answered + 20:  # noqa: ASYNC110  # a recorder tells nobody
                await asyncio.sleep(0.05)
            claims = time.monotonic() - healed
            cuts.append({"apart_s": round(max(apart), 2), "whole_s": round(whole, 2), "claims_s": round(claims, 2)})
        over = True
    history = [one for recorder in recorders for one in recorder.history]
    return {
        "cuts": cuts,
        "granted_in_minority": granted,
        "operations": sum(one.answered < math.inf for one in history),
        "unanswered": sum(one.answered == math.inf for one in history),
        "violations": violations(history),
        "contradictions": contradictions,
        "refuted": sum("is not what it says" in (one.folder / "hub.log").read_text() for one in world.machines),
    }


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    with tempfile.TemporaryDirectory() as name:
        json.dump(asyncio.run(main(Path(name), int(sys.argv[1]))), sys.stdout)
