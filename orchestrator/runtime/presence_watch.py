"""Sees programs arrive at the hub that do not say themselves when they are ready: commands, and what runs elsewhere.

A channel is watched until those who are awaited on it have been seen, and no longer: whoever watches an inbox is sent
what is published to it, and counts among its receivers.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from typing import TYPE_CHECKING, Final

import structlog

from orchestrator.client.connection import Client
from orchestrator.client.events import Connected, Disconnected, PresenceReceived
from orchestrator.client.policy import ReconnectPolicy
from orchestrator.errors import AckTimeout, ConnectionLost, ConnectionProblem, NotConnected
from orchestrator.protocol.codes import Action
from orchestrator.protocol.limits import MAX_CHANNEL_CLAIMS, MAX_CHANNELS
from orchestrator.protocol.tokens import Claims, Grants, SecretKey, mint

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable, Mapping

    from orchestrator.client.events import ClientEvent

WATCHER: Final = "(run)"
"""How the peer id of a watch begins: no agent's or user's does, since names hold no parentheses."""
TOKEN_LIFE: Final = 900.0


class Awaited:
    """Who is awaited on which channel, and which channels are to be watched therefore: a value, without a connection."""

    def __init__(self, channels: Mapping[str, str]) -> None:
        """`channels` gives the channel of each peer that may ever be awaited."""
        self._channels = dict(channels)
        self._peers: dict[str, set[str]] = {}

    @property
    def channels(self) -> tuple[str, ...]:
        """The channels to be watched: those that were asked for first, as many as one connection may hold."""
        return tuple(self._peers)[:MAX_CHANNELS]

    def add(self, peer: str) -> bool:
        """Await a peer; return whether it has a channel to be seen on."""
        channel = self._channels.get(peer)
        if channel is not None:
            self._peers.setdefault(channel, set()).add(peer)
        return channel is not None

    def discard(self, peer: str) -> bool:
        """Await a peer no longer; return whether it was awaited."""
        channel = self._channels.get(peer, "")
        peers = self._peers.get(channel, set())
        if peer not in peers:
            return False
        peers.remove(peer)
        if not peers:
            del self._peers[channel]
        return True

    def on(self, channel: str) -> frozenset[str]:
        return frozenset(self._peers.get(channel, ()))


class PresenceWatch:
    """One connection of the run itself. `seen` is called with each awaited peer that is there, once."""

    def __init__(
        self,
        url: str,
        key: SecretKey,
        channels: Mapping[str, str],
        seen: Callable[[str], None],
        *,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`channels` gives the channel of each peer that may be awaited."""
        self._tls = tls
        self._url, self._key, self._seen = url, key, seen
        self._awaited = Awaited(channels)
        self._claimed = claimed(channels.values())
        self._instance = secrets.token_hex(8)  # two runs against one hub are two watchers
        self._changed = asyncio.Event()
        self._online = asyncio.Event()
        self._log = structlog.get_logger("orchestrator.presence")

    def expect(self, peer: str) -> None:
        """Watch for a peer that is about to come; for one that has no channel nothing is done."""
        if self._awaited.add(peer):
            self._changed.set()

    def forget(self, peer: str) -> None:
        if self._awaited.discard(peer):
            self._changed.set()

    async def run(self) -> None:
        """Watch until this is cancelled. Raises `ConnectionProblem` when nothing can be seen any more."""
        policy = ReconnectPolicy(initial=0.2, max_attempts=None)
        client = Client(self._url, token_provider=self._token, reconnect=policy, tls=self._tls, daemon=True)
        async with client, asyncio.TaskGroup() as tasks:
            holding = tasks.create_task(self._hold(client), name="watched channels")
            async for event in client.events():
                self._follow(event)
            holding.cancel()
        if client.failure is not None:
            raise client.failure

    def _follow(self, event: ClientEvent) -> None:
        match event:
            case Connected():
                self._online.set()
            case Disconnected():
                self._online.clear()
            case PresenceReceived(channel=channel, joined=joined):
                self._there(self._awaited.on(channel) & {present.peer_id for present in joined})

    def _there(self, peers: Iterable[str]) -> None:
        for peer in sorted(peers):
            self.forget(peer)
            self._seen(peer)

    async def _hold(self, client: Client) -> None:
        """Subscribe to what is to be watched, and unsubscribe from what is not, whenever that changes."""
        held: set[str] = set()
        while True:
            await self._changed.wait()
            self._changed.clear()
            wanted = self._awaited.channels
            for channel in sorted(held.difference(wanted)):
                held.remove(channel)
                with contextlib.suppress(ConnectionProblem):  # the client has forgotten it even so
                    await client.unsubscribe(channel)
            for channel in wanted:
                if channel not in held:
                    held.add(channel)
                    await self._subscribe(client, channel)

    async def _subscribe(self, client: Client, channel: str) -> None:
        """Subscribe, however often the connection ends meanwhile."""
        while True:
            await self._online.wait()
            try:
                await client.subscribe(channel)
            except (NotConnected, ConnectionLost, AckTimeout):
                await asyncio.sleep(0)  # the connection is about to say so itself
            except ConnectionProblem as error:
                self._log.warning("a program cannot be seen, and counts as ready", channel=channel, reason=str(error))
                self._there(self._awaited.on(channel))
                return
            else:
                return

    async def _token(self) -> str:
        claims = Claims(
            sub=f"{WATCHER}/{self._instance}",
            exp=int(time.time() + TOKEN_LIFE),
            channels=self._claimed,
            permissions=frozenset({Action.SUBSCRIBE, Action.PRESENCE}),
            peer_metadata={"kind": "run"},
            grants=Grants(observe=self._claimed, presence=self._claimed),
            instance=self._instance,
            rate="unlimited",
        )
        return mint(self._key, claims)


def claimed(channels: Iterable[str]) -> tuple[str, ...]:
    """Return the channels of a watcher's token: all that there are, where they are more than a token can name."""
    unique = tuple(dict.fromkeys(channels))
    return unique if len(unique) <= MAX_CHANNEL_CLAIMS else ("**",)
