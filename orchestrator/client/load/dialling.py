"""Connections to a server, as many as a workload wants, and all of them closed in the end."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Final, Protocol

import msgspec
from msgspec import UNSET

from orchestrator.client.budget import Budget
from orchestrator.client.load.peer import HubPeer
from orchestrator.errors import ConnectionProblem, HubUnreachable
from orchestrator.protocol.limits import RATE_PER_SECOND, WELCOME_TIMEOUT

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable

    from msgspec import Raw, UnsetType

    from orchestrator.client.load.peer import LoadPeer
    from orchestrator.client.url import Origin

TOGETHER: Final = 50
"""Connections that are opened at the same time, where nobody asks for another number."""


class Dialler(Protocol):
    """Opens connections to one server. `lost` may be replaced by whoever wants to know that one has ended."""

    lost: Callable[[str], None]

    async def open(self, name: str) -> LoadPeer:
        """Return a connection that has been let in under a name. Raises `ConnectionProblem`."""

    def budget(self) -> Budget:
        """Return a fresh budget, as each connection has one, without its burst: what is measured is what lasts."""

    def rate(self) -> float:
        """Return how many messages a second one connection may go on sending."""

    async def close(self) -> None:
        """Close every connection."""


class HubDialler:
    def __init__(
        self,
        origin: Origin,
        credential: Callable[[str], str],
        tls: ssl.SSLContext | None = None,
        *,
        rosters: bool = True,
    ) -> None:
        """`credential` makes the token for a name. `rosters`: the hub tells everybody in a channel of the others."""
        self.lost: Callable[[str], None] = _nobody_asks
        self._origin, self._credential, self._tls, self._rosters = origin, credential, tls, rosters
        self._host = str(origin).partition("://")[2].encode()
        self._peers: list[HubPeer] = []
        self._rate: Raw | UnsetType = UNSET
        self._credentials: dict[str, str] = {}

    def prepare(self, names: Iterable[str]) -> None:
        """Make the credentials of names beforehand, so that it takes no time when they connect."""
        self._credentials.update((name, self._credential(name)) for name in names)

    async def open(self, name: str) -> HubPeer:
        credential = self._credentials.pop(name, None) or self._credential(name)
        target = self._origin.endpoint("token", credential).removeprefix(str(self._origin)).encode()
        peer = HubPeer(self._host, target, lambda why: self.lost(why), rosters=self._rosters)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(WELCOME_TIMEOUT):
                await loop.create_connection(lambda: peer, self._origin.host, self._origin.port, ssl=self._tls)
                self._peers.append(peer)
                welcome = await peer.welcome
        except TimeoutError:
            raise HubUnreachable(str(self._origin), 1, f"no welcome came within {WELCOME_TIMEOUT:g} s") from None
        except OSError as error:
            raise HubUnreachable(str(self._origin), 1, error.strerror or str(error)) from None
        self._rate = welcome.rate
        return peer

    def budget(self) -> Budget:
        return Budget(self.rate(), 1)

    def rate(self) -> float:
        if self._rate is UNSET:
            return RATE_PER_SECOND
        told = msgspec.json.decode(self._rate)
        return math.inf if told == "unlimited" else float(told["per_second"])

    async def close(self) -> None:
        peers, self._peers = self._peers, []
        for peer in peers:
            peer.close()


async def opened(dialler: Dialler, names: Iterable[str], together: int = TOGETHER) -> list[LoadPeer]:
    """Open a connection under each name, in their order. Raises `ConnectionProblem` for the first that fails."""
    waiting = list(enumerate(names))[::-1]
    found: dict[int, LoadPeer] = {}

    async def work() -> None:
        while waiting:
            place, name = waiting.pop()
            found[place] = await dialler.open(name)

    try:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(min(together, len(waiting))):
                tasks.create_task(work())
    except* ConnectionProblem as group:
        first: BaseException = group
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        raise first from None
    return [found[place] for place in sorted(found)]


def _nobody_asks(_why: str) -> None:
    """Before a workload has begun, whoever opens a connection is told by an exception."""
