"""Who is present in the lobbies of a run: one view of several channels, a peer counted once."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

from orchestrator.cli.entering import nobody

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Iterable, Mapping, Sequence

    from orchestrator.cli.entering import Way
    from orchestrator.patterns.roster import Change, Peer
    from orchestrator.runtime.roster_view import RosterView
    from orchestrator.runtime.user import User

POOLS: Final = ""
"""Stands for a lobby where a peer is seen only in the pool of its agent."""
_WAITING: Final = 10_000
"""Changes that wait to be read; of more, the views themselves tell which were missed."""


@dataclass(frozen=True, slots=True)
class News:
    """Somebody came into a first lobby, or left the last."""

    kind: Literal["joined", "left"]
    peer: Peer
    lobby: str
    reason: str = ""


@dataclass(slots=True)
class Present:
    """Where each peer is, by its id. Pure: changes go in, news come out."""

    peers: dict[str, Peer] = field(default_factory=dict)
    lobbies: dict[str, set[str]] = field(default_factory=dict)

    def change(self, lobby: str, change: Change) -> News | None:
        """Take a change in one lobby; `None` = the peer is still, or was already, in another one."""

        from orchestrator.patterns.roster import Joined

        peer = change.peer
        where = self.lobbies.setdefault(peer.id, set())
        if isinstance(change, Joined):
            self.peers[peer.id] = peer
            where.add(lobby)
            return News("joined", peer, lobby) if len(where) == 1 else None
        where.discard(lobby)
        if where:
            return None
        del self.lobbies[peer.id]
        self.peers.pop(peer.id, None)
        return News("left", peer, lobby, change.reason)


def channels_of(found: Way, names: Sequence[str]) -> dict[str, str]:
    """Return the channels to look at, each with the lobby that it is: those of these lobbies or channels, or without names
    all lobbies, and the pools of agents that may be in none.

    Raises `Usage` for a name that is neither.
    """

    from orchestrator.protocol.limits import MAX_CHANNELS
    from orchestrator.topology.scopes import pool_channel

    if not names:
        pools = {pool_channel(agent): POOLS for agent in found.agents}
        all_of_them = {**{channel: lobby for lobby, channel in found.lobbies.items()}, **pools}
        return dict(list(all_of_them.items())[:MAX_CHANNELS])
    channels = {}
    for name in names:
        if name in found.lobbies:
            channels[found.lobbies[name]] = name
        elif found.topology is None or "/" in name or name in found.lobbies.values():
            channels[name] = name
        else:
            raise nobody(name, list(found.lobbies), "lobby")
    return channels


class Watch:
    """Who is present now, and what changes from now on."""

    def __init__(self) -> None:
        import asyncio

        self.present = Present()
        self._coming: asyncio.Queue[News | Exception | None] = asyncio.Queue(_WAITING)

    async def follow(self, lobby: str, view: RosterView) -> None:
        """Take the changes of one lobby until it ends."""
        try:
            async for change in view:
                if (news := self.present.change(lobby, change)) is not None:
                    await self._coming.put(news)
        except Exception as error:  # noqa: BLE001 - whoever reads the news is told
            await self._coming.put(error)
        else:
            await self._coming.put(None)

    async def news(self) -> AsyncIterator[News]:
        """Yield what changes until the connection is closed. Raises what ended it for good."""
        while (item := await self._coming.get()) is not None:
            if isinstance(item, Exception):
                raise item
            yield item


@asynccontextmanager
async def watching(user: User, channels: Mapping[str, str]) -> AsyncIterator[Watch]:
    """Look at channels, by lobby, while the block runs. Raises `NotAuthorized` for one that the token does not let us see."""

    import asyncio

    from orchestrator.patterns.roster import Joined

    async with AsyncExitStack() as stack:
        entering = [stack.enter_async_context(user.presence(channel)) for channel in channels]
        views = await asyncio.gather(*entering, return_exceptions=True)
        watch = Watch()
        followed: list[tuple[str, RosterView]] = []
        for lobby, view in zip(channels.values(), views, strict=True):
            if isinstance(view, BaseException):
                raise view
            followed.append((lobby, view))
            for peer in view:
                watch.present.change(lobby, Joined(peer))
        following = [asyncio.create_task(watch.follow(*each), name=f"presence in {each[0]}") for each in followed]
        try:
            yield watch
        finally:
            for task in following:
                task.cancel()
            await asyncio.gather(*following, return_exceptions=True)


def ordered(peers: Iterable[Peer]) -> list[Peer]:
    """Return peers by agent and replica, users behind them."""
    return sorted(peers, key=lambda peer: (not peer.agent, peer.agent, peer.replica or 0, peer.id))


def left_because(news: News) -> str:
    return _REASONS.get(news.reason, news.reason)


_REASONS: Final = {
    "left": "it said goodbye",
    "lost": "its connection was lost",
    "draining": "the hub was shut down",
    "replaced": "another process took its place",
}
