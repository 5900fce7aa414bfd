"""One replica of a topology within a test, from its start to its end or its death."""

from __future__ import annotations

import asyncio
import itertools
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from orchestrator.client.policy import ReconnectPolicy
from orchestrator.errors import ConnectionProblem, NotConnected
from orchestrator.protocol.tokens import mint
from orchestrator.runtime.replica import Replica
from orchestrator.runtime.subscription import Message
from orchestrator.runtime.user import User

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine

    from orchestrator.agents.describe import AgentCode
    from orchestrator.client.connection import Client
    from orchestrator.protocol.tokens import Claims, SecretKey
    from orchestrator.runtime.feed import Feed
    from orchestrator.testing.network import Network
    from orchestrator.testing.store import WayToStore
    from orchestrator.topology import replica as topology

StandIn: TypeAlias = "Callable[[User, AsyncIterator[Message]], Coroutine[Any, Any, None]]"
"""Plays a program: it is given its connection, and what comes for it, on its inbox and directly."""

INBOX: Final = 1_000
"""Messages that wait for a stand-in; while they do, the next ones wait in its subscriptions."""


def token_source(
    network: Network, key: SecretKey, claims: Callable[[int], Claims], life: float
) -> Callable[[], Awaitable[str]]:
    """Return a token provider; `claims` is asked with the Unix seconds of the token's end."""

    async def token() -> str:
        return mint(key, claims(int(network.wall() + life)))

    return token


class VirtualUser(User):
    """A user whose clock is virtual, and whose questions have the same ids whenever the same is asked."""

    def __init__(self, client: Client, network: Network) -> None:
        super().__init__(client)
        self._network = network
        self._mark = f"{network.dice(network.next_number()).getrandbits(32):08x}"
        self._numbers = itertools.count(1)

    def _wall_offset(self) -> float:
        return self._network.wall_offset

    def _new_id(self) -> str:
        return f"{self._mark}{next(self._numbers):012x}"


class Following:
    """A user, from its first welcome on."""

    def __init__(self, client: Client, network: Network) -> None:
        self._client, self._network = client, network
        self._user: VirtualUser | None = None
        self._task: asyncio.Task[None] | None = None

    async def begin(self) -> VirtualUser:
        await self._client.connect()
        user = self._user = VirtualUser(self._client, self._network)
        self._task = asyncio.create_task(user._follow(), name="user")
        await user._welcomed.wait()
        return user

    async def end(self) -> None:
        try:
            if self._user is not None:
                await self._user.close()
        finally:
            if self._task is not None:
                await self._task


class Life(ABC):
    """One start of one replica."""

    def __init__(self, peer: str, network: Network, client: Client) -> None:
        self.peer = peer
        self._network, self._client = network, client

    @abstractmethod
    async def start(self) -> None:
        """Connect, and return when the replica is ready. Raises what its constructor or `setup` raises."""

    @abstractmethod
    async def kill(self) -> None:
        """End it without a goodbye."""

    @abstractmethod
    async def close(self) -> None:
        """Cancel what it works on and end it."""


class MortalReplica(Replica):
    """A replica that may end without its `teardown`."""

    killed = False

    async def _torn_down(self) -> None:
        if not self.killed:
            await super()._torn_down()


class AgentLife(Life):
    """A replica with a handler."""

    def __init__(
        self,
        planned: topology.Replica,
        code: AgentCode,
        network: Network,
        client: Client,
        log: Any,
        store: WayToStore | None = None,
    ) -> None:
        super().__init__(planned.peer_id, network, client)
        self.store = store
        numbers, mark = itertools.count(1), network.next_number()
        self.replica = MortalReplica(
            planned,
            code,
            client,
            wall_offset=network.wall_offset,
            new_id=lambda: f"{planned.peer_id}-{mark}-{next(numbers)}",
            log=log,
            store=store,
            uniform=network.dice(mark).uniform,
        )
        self._following: asyncio.Task[None] | None = None
        self._closed = False

    async def start(self) -> None:
        try:
            await self._client.connect()
            following = self._following = asyncio.create_task(self.replica.run(), name=self.peer)
            starting = asyncio.create_task(self.replica.start(), name=f"start of {self.peer}")
            try:
                await asyncio.wait((starting, following), return_when=asyncio.FIRST_COMPLETED)
                if not starting.done():
                    following.result()
                    raise self._client.failure or NotConnected(f"{self.peer} was closed while it was starting")
                starting.result()
            finally:
                starting.cancel()
                await asyncio.gather(starting, return_exceptions=True)
        except BaseException:
            await self.close()
            raise

    async def kill(self) -> None:
        self.replica.killed = True
        if self.store is not None:
            self.store.cut = True  # nobody gives back what a killed process holds, nor ends what it has begun
        if self.replica.workload.leasing is not None:
            self.replica.workload.leasing.hurry(0)
        self._network.sever(self.peer, told=False)
        await asyncio.gather(self._client.close(), self.replica.close())
        await self._followed()

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        try:
            await self.replica.close()
        finally:
            await self._client.close()
            await self._followed()

    async def _followed(self) -> None:
        """Wait for the end of what follows the connection, and raise what it failed with."""
        if self._following is not None:
            await self._following


class StandInLife(Life):
    """A replica without a handler, played by a function of the test."""

    def __init__(self, planned: topology.Replica, play: StandIn, network: Network, client: Client) -> None:
        super().__init__(planned.peer_id, network, client)
        self._inbox, self._play = planned.inbox, play
        self._connection = Following(client, network)
        self._messages: asyncio.Queue[Message] = asyncio.Queue(INBOX)
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        user = await self._connection.begin()
        feeds: list[Feed[Message]] = [user.directs()]
        if self._inbox is not None:
            feeds.append(user.subscribe(self._inbox))
        for feed in feeds:
            await feed.__aenter__()
            self._tasks.append(asyncio.create_task(self._collect(feed), name=f"inbox of {self.peer}"))
        self._tasks.append(asyncio.create_task(self._play(user, self._incoming()), name=self.peer))

    async def kill(self) -> None:
        self._network.sever(self.peer, told=False)
        await self._client.close()
        await self._end()

    async def close(self) -> None:
        await self._end()

    async def _end(self) -> None:
        for task in self._tasks:
            task.cancel()
        ended = await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._connection.end()
        for outcome in ended:
            if isinstance(outcome, Exception):
                raise outcome

    async def _collect(self, feed: Feed[Message]) -> None:
        with suppress(ConnectionProblem):
            async for message in feed:
                await self._messages.put(message)

    async def _incoming(self) -> AsyncIterator[Message]:
        while True:
            yield await self._messages.get()


def reconnects(planned: topology.Replica) -> ReconnectPolicy:
    return ReconnectPolicy(cap=planned.reconnect.max_delay, max_attempts=planned.reconnect.max_attempts)


async def all_done(work: list[Awaitable[None]]) -> None:
    """Await all of it, and raise the first failure only when everything has ended."""
    for outcome in await asyncio.gather(*work, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome
